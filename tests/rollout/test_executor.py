"""One action at a time: what is concluded from each answer, and what a stop or a doubtful delete leaves behind."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import RetryPolicy, Source, SourcesApi
from airflow_provider_cm.api.errors import (
    AuthenticationError,
    BadRequestError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TokenError,
)
from airflow_provider_cm.rollout import Action, Change, Outcome
from airflow_provider_cm.rollout import worker_pool as pools
from airflow_provider_cm.rollout.executor import Executor
from airflow_provider_cm.rollout.preconditions import Ending, verify
from airflow_provider_cm.rollout.rate_limit_pause import RateLimitPause
from airflow_provider_cm.rollout.worker_pool import WorkerPool
from tests.unit.rollout.support import POLICY, PROJECT, World, source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INBOX = source("inbox")
BEFORE = {"title": "", "description": "", "language": "en"}
CREATE = Action("create", PROJECT, "inbox", (Change("title", None, "new"),))
UPDATE = Action("update", PROJECT, "inbox", (Change("title", "", "new"),), source_id=INBOX.id)
DELETE = Action("delete", PROJECT, "inbox", (Change("language", "en", None),), source_id=INBOX.id)
LOST = OutcomeUnknownError("the response was lost")


class Scripted(SourcesApi):
    """Answers as a script says, without a server: an exception is raised, a function is called."""

    def __init__(
        self, api: SourcesApi, *, reads: Sequence[Any] = (), writes: Sequence[Any] = (), counts: Sequence[Any] = ()
    ) -> None:
        super().__init__(api.session)
        self.reads, self.writes, self.counts = list(reads), list(writes), list(counts)

    def _next(self, script: list[Any]) -> Any:
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    def get_by_id(self, source_id: str) -> Source:
        assert source_id == INBOX.id
        return self._next(self.reads)  # type: ignore[no-any-return]

    def delete(self, source_id: str, **_: Any) -> bool:
        assert source_id == INBOX.id
        return self._next(self.writes)  # type: ignore[no-any-return]

    def create(self, *_: Any, **__: Any) -> Source:
        return self._next(self.writes)  # type: ignore[no-any-return]

    update = create

    def message_count(self, *_: Any, **__: Any) -> int:
        return self._next(self.counts)  # type: ignore[no-any-return]


@pytest.fixture
def run(world: World) -> Callable[..., Ending]:
    """Carry one action out against a script; ``stop`` is an event, ``delete_nonempty`` is set by default."""

    def carry_out(
        action: Action, *, stop: threading.Event | None = None, nonempty: bool = True, **script: Any
    ) -> Ending:
        api = Scripted(world.api, **script)
        ending = Executor(api, delete_nonempty=nonempty, stop=stop).carry_out(action, INBOX)
        assert (api.reads, api.writes, api.counts) == ([], [], []), "all of the script was asked for"
        return ending

    return carry_out


def summary(ending: Ending) -> tuple[str, str, bool]:
    return ending.outcome.result, ending.sent, ending.outcome.transient


# A delete


def test_a_delete_in_doubt_is_sent_again_only_after_a_look(run: Callable[..., Ending]) -> None:
    assert summary(run(DELETE, reads=[INBOX], writes=[True])) == ("done", "perhaps", False)
    assert summary(run(DELETE, reads=[INBOX, INBOX], writes=[LOST, True])) == ("done", "perhaps", False)


def test_a_delete_that_the_client_confirmed_by_reading(run: Callable[..., Ending]) -> None:
    ending = run(DELETE, reads=[INBOX], writes=[False])
    assert summary(ending) == ("confirmed", "perhaps", False)


def test_what_is_gone_before_the_delete_was_sent_is_unchanged_and_after_a_lost_one_confirmed(
    run: Callable[..., Ending],
) -> None:
    gone = NotFoundError("404: no such source", status=404)
    before = run(DELETE, reads=[gone])
    assert summary(before) == ("unchanged", "no", False)
    assert "404: no such source" in before.outcome.message
    after = run(DELETE, reads=[INBOX, gone], writes=[LOST])
    assert summary(after) == ("confirmed", "perhaps", False)


@pytest.mark.parametrize(("writes", "sent"), [([], "no"), ([LOST], "perhaps")])
def test_what_has_changed_is_stale_and_in_doubt_it_may_be_ours(
    run: Callable[..., Ending], writes: list[Any], sent: str
) -> None:
    changed = replace(INBOX, language="de")
    reads = [*([INBOX] * len(writes)), changed]
    assert summary(run(DELETE, reads=reads, writes=writes)) == ("stale", sent, False)


def test_a_failure_after_a_lost_delete_may_hide_a_success(run: Callable[..., Ending]) -> None:
    refused = BadRequestError("400", status=400, attempts=1)
    assert summary(run(DELETE, reads=[INBOX], writes=[refused])) == ("failed", "refused", False)
    assert summary(run(DELETE, reads=[INBOX, INBOX], writes=[LOST, refused])) == ("failed", "perhaps", False)


def test_a_delete_that_stays_lost_is_unknown(run: Callable[..., Ending]) -> None:
    attempts = POLICY.max_attempts
    ending = run(DELETE, reads=[INBOX] * attempts, writes=[LOST] * attempts)
    assert summary(ending) == ("unknown", "perhaps", True)


@pytest.mark.parametrize(("lost", "expected"), [(False, ("skipped", "no", True)), (True, ("unknown", "perhaps", True))])
def test_a_stop_before_a_delete_begins_nothing_and_in_doubt_it_stays_unknown(
    run: Callable[..., Ending], lost: bool, expected: tuple[str, str, bool]
) -> None:
    stop = threading.Event()

    def count() -> int:
        stop.set()
        return 0

    def lose() -> bool:
        stop.set()
        raise LOST

    if lost:
        ending = run(DELETE, stop=stop, reads=[INBOX], writes=[lose])
    else:
        ending = run(DELETE, stop=stop, nonempty=False, counts=[count])
    assert summary(ending) == expected


@pytest.mark.parametrize(("lost", "sent"), [(False, "no"), (True, "perhaps")])
def test_what_can_never_be_read_right_before_its_delete_is_left_alone(world: World, lost: bool, sent: str) -> None:
    """The server asks another call to wait during each read, so what was read is old when the wait is over."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    policy = RetryPolicy(max_attempts=3, max_seconds=900, base=0.001, sleep=sleep, clock=lambda: now[0])
    session = world.api.session
    before, session.retry = session.retry, policy
    try:
        api = Scripted(world.api, writes=[LOST] if lost else [])
        executor = Executor(api, delete_nonempty=True)

        def read() -> Source:
            executor._pause.begin(5)
            return INBOX

        api.reads = [*([INBOX] if lost else []), *([read] * policy.max_attempts)]
        # The executor's own clients are copies made before.
        for each in (executor._sources, executor._once):
            each.reads, each.writes = api.reads, api.writes  # type: ignore[attr-defined]
        ending = executor.carry_out(DELETE, INBOX)
    finally:
        session.retry = before
    assert api.reads == api.writes == []
    assert summary(ending) == ("failed", sent, True)
    assert now[0] >= 5 * (policy.max_attempts - 1)


@pytest.mark.parametrize(
    ("answer", "transient"),
    [(7, False), (ServerError("503", transient=True, status=503), True), (PermissionDeniedError("403"), False)],
)
def test_what_is_kept_was_not_sent(run: Callable[..., Ending], answer: object, transient: bool) -> None:
    ending = run(DELETE, nonempty=False, counts=[answer])
    assert summary(ending) == ("skipped", "no", transient)
    assert type(ending.outcome.transient) is bool


# What an error means


@pytest.mark.parametrize(
    ("error", "result", "sent", "transient", "settled"),
    [
        (ConfigurationError("not allowed"), "failed", "no", False, False),
        (BadRequestError("400", status=400, attempts=1), "failed", "refused", False, False),
        (BadRequestError("400", status=400, attempts=2), "failed", "perhaps", False, False),
        (NotFoundError("404", status=404, attempts=1), "failed", "refused", False, False),
        (ConflictError("409", status=409, attempts=1), "failed", "refused", False, False),
        (ConflictError("found by reading", attempts=1), "failed", "perhaps", False, False),
        (ConflictError("an upsert", status=200, attempts=1), "failed", "perhaps", False, True),
        (ServerError("503", transient=True, status=503, attempts=3), "failed", "perhaps", True, False),
        (AuthenticationError("401", status=401), "failed", "perhaps", True, False),
        (TokenError("no token"), "failed", "perhaps", True, False),
        (PermissionDeniedError("403", status=403), "failed", "perhaps", False, False),
        (LOST, "unknown", "perhaps", True, False),
    ],
)
@pytest.mark.parametrize("action", [CREATE, UPDATE])
def test_what_an_error_says_of_a_write(
    run: Callable[..., Ending],
    action: Action,
    error: CommsMiningError,
    result: str,
    sent: str,
    transient: bool,
    settled: bool,
) -> None:
    ending = run(action, writes=[error])
    assert summary(ending) == (result, sent, transient)
    assert ending.settled is settled


@pytest.mark.parametrize(
    ("error", "stops", "renewable"),
    [
        (AuthenticationError("401"), True, True),
        (TokenError("no token"), True, True),
        (PermissionDeniedError("403"), True, False),
        (RateLimitedError("429", retry_after=POLICY.max_seconds), True, True),
        (RateLimitedError("429", retry_after=POLICY.max_seconds - 1), False, None),
        (RateLimitedError("429"), False, None),
        (ServerError("503", transient=True), False, None),
    ],
)
def test_what_stops_the_rest(world: World, error: CommsMiningError, stops: bool, renewable: bool | None) -> None:
    api = Scripted(world.api, writes=[error, replace(INBOX, title="new")])
    executor = Executor(api, delete_nonempty=True)
    assert executor.carry_out(CREATE, None).outcome.result == "failed"
    second = executor.carry_out(UPDATE, INBOX)
    if stops:
        assert summary(second) == ("skipped", "no", renewable)
        assert str(error) in second.outcome.message
    else:
        assert summary(second) == ("done", "perhaps", False)


def test_an_unexpected_error_of_one_action_is_its_outcome(run: Callable[..., Ending]) -> None:
    ending = run(CREATE, writes=[ZeroDivisionError("oh")])
    assert summary(ending) == ("failed", "perhaps", False)
    assert "unexpected ZeroDivisionError: oh" in ending.outcome.message


def test_an_update_that_met_another_source(run: Callable[..., Ending]) -> None:
    ending = run(UPDATE, writes=[replace(INBOX, id="00000000000000aa", title="new")])
    assert summary(ending) == ("failed", "perhaps", False)
    assert "id 00000000000000aa" in ending.outcome.message


@pytest.mark.parametrize("action", [CREATE, UPDATE])
def test_what_the_server_accepts_and_answers_otherwise_has_failed(run: Callable[..., Ending], action: Action) -> None:
    ending = run(action, writes=[replace(INBOX, title="other")])
    assert ending.outcome.result == "failed"
    assert "title is 'other', not 'new'" in ending.outcome.message


@pytest.mark.parametrize("action", [CREATE, UPDATE])
def test_what_was_confirmed_by_reading_says_so(run: Callable[..., Ending], action: Action) -> None:
    ending = run(action, writes=[replace(INBOX, title="new", confirmed=True)])
    assert summary(ending) == ("confirmed", "perhaps", False)
    assert ending.outcome.source_id == INBOX.id


# What the last list says of a delete whose response was lost


@pytest.mark.parametrize(
    ("there", "result"), [(None, "confirmed"), (replace(INBOX, id="00000000000000aa"), "confirmed"), (INBOX, "unknown")]
)
def test_a_lost_delete_is_confirmed_when_its_source_is_not_there(there: Source | None, result: str) -> None:
    lost = Ending(Outcome("delete", PROJECT, "inbox", "unknown", "lost", INBOX.id, transient=True))
    assert verify(DELETE, lost, there).result == result


def test_a_lost_update_is_not_confirmed_by_a_source_that_is_gone() -> None:
    lost = Ending(Outcome("update", PROJECT, "inbox", "unknown", "lost", INBOX.id, transient=True))
    assert verify(UPDATE, lost, None).result == "unknown"


# Threads, and waiting


def test_an_error_in_the_block_waits_a_while_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, begun, forever = [], threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(1)

    def interrupted(job: Callable[[], object], on_thread_end: Callable[[], None]) -> float:
        begun.clear()
        began = time.monotonic()
        try:
            with WorkerPool(1, on_thread_end) as pool:
                threading.Thread(target=pool.run, args=([job],), daemon=True).start()
                assert begun.wait(5)
                raise KeyError
        except KeyError:
            return time.monotonic() - began

    interrupted(job, lambda: ended.append(2))
    assert ended == [1, 2]

    def endless() -> None:
        begun.set()
        forever.wait(20)

    monkeypatch.setattr(pools, "_SECONDS_TO_END", 0.3)
    assert 0.3 <= interrupted(endless, lambda: None) < 5
    forever.set()


def test_progress_is_reported_while_jobs_run() -> None:
    calls: list[float] = []
    with WorkerPool(1, lambda: None) as pool:
        pool.run([lambda: time.sleep(0.5)], progress_seconds=0.1, on_progress=lambda: calls.append(time.monotonic()))
    assert 2 <= len(calls) <= 5


def test_a_stop_ends_a_sleep_early_and_is_looked_for_ten_times_a_second() -> None:
    slept: list[float] = []
    stop = threading.Event()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 5:
            stop.set()

    policy = RetryPolicy(max_attempts=3, max_seconds=30, base=0.001, sleep=sleep, clock=lambda: 0.0)
    RateLimitPause(policy).sleep(1.0)
    assert slept == [1.0]
    RateLimitPause(policy, stop).sleep(0.15)
    assert slept[1:] == pytest.approx([0.1, 0.05])
    RateLimitPause(policy, stop).sleep(1.0)
    assert slept[3:] == pytest.approx([0.1, 0.1])


def test_a_longer_pause_is_not_cut_short() -> None:
    now = [100.0]
    policy = RetryPolicy(max_attempts=3, max_seconds=30, base=0.001, clock=lambda: now[0])
    pause = RateLimitPause(policy)
    assert pause.remaining() == 0
    pause.begin(10)
    pause.begin(3)
    assert pause.remaining() == 10
    now[0] += 12
    assert pause.remaining() == 0
