"""How actions end when things happen at once: what is there in the end decides, and nothing is claimed beyond that."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import RetryPolicy, Source, SourcesApi
from airflow_provider_cm.api.errors import RateLimitedError
from airflow_provider_cm.rollout import Action, Change, Outcome, Plan, Report, apply, observe
from airflow_provider_cm.rollout.preconditions import Ending, judge, verify
from airflow_provider_cm.rollout.rate_limit_pause import RateLimitPause, SharedPauseBudget
from airflow_provider_cm.rollout.worker_pool import WorkerPool
from tests.rollout.test_apply import added, delete_plan, many, message, results
from tests.unit.rollout.support import POLICY, PROJECT, World, make_world, manifest, source

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer


def test_two_applies_of_one_plan_at_once_both_end_well(world: World) -> None:
    """Each meets what the other has done: a name that is taken, a source that is gone."""
    for number in range(30):
        added(world, f"old-{number:02}")
        added(world, f"moved-{number:02}", title="before")
    entries = [{"name": f"new-{number:02}", "title": "t"} for number in range(60)]
    entries += [{"name": f"moved-{number:02}", "title": "after"} for number in range(30)]
    wanted = manifest(*entries, owns=["old-*"])
    made = world.plan(wanted, prune=True, max_deletes=30)
    worlds = [make_world(world.server), make_world(world.server)]
    world.server.configure(latency_ms=5)
    reports: list[Report] = []
    threads = [threading.Thread(target=lambda each=each: reports.append(apply(made, each.api))) for each in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for report in reports:
        assert report.ok, report.failure_text()
        assert set(report.counts) <= {"done", "unchanged", "confirmed"}
    # What is done was done by one of them; creates and deletes by one alone.
    done = [
        outcome.name
        for report in reports
        for outcome in report.outcomes
        if outcome.result == "done" and outcome.kind != "update"
    ]
    assert len(done) == len(set(done))
    world.server.configure(latency_ms=0)
    assert world.plan(wanted, prune=True, max_deletes=30).actions == ()
    for each in worlds:
        each.api.session.close()


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_what_the_server_said_is_reported_and_not_a_guess(world: World, status: int) -> None:
    """Such as that a bucket is not found, or in use: the source has neither vanished nor been created."""
    added(world, "moved", title="before")
    made = world.plan(manifest({"name": "moved", "title": "after"}, {"name": "new"}))
    world.server.faults.add(status, "PUT")
    world.server.faults.add(status, "POST")
    report = apply(made, world.api)
    assert results(report) == {"moved": "failed", "new": "failed"}
    for name, method in (("moved", "POST"), ("new", "PUT")):
        assert message(report, name).startswith(f"{method} sources/acme-dev/{name}: {status} ")
    assert "vanished" not in report.failure_text()
    assert "created since" not in report.failure_text()


def test_stale_says_both_what_is_there_and_what_the_server_said(world: World) -> None:
    made = world.plan(manifest({"name": "a", "title": "mine"}))
    seen = observe(manifest({"name": "a"}), world.api)
    added(world, "a", title="rival")
    report = apply(made, world.api, actual=seen)
    assert results(report) == {"a": "stale"}
    assert "it has been created since the plan was made: title is 'rival', not 'mine'" in message(report, "a")
    assert "409" in message(report, "a")


def test_who_did_the_same_at_the_same_time_makes_it_unchanged(world: World) -> None:
    made = world.plan(manifest({"name": "a", "title": "mine"}))
    seen = observe(manifest({"name": "a"}), world.api)
    source_id = added(world, "a", title="mine")
    report = apply(made, world.api, actual=seen)
    assert results(report) == {"a": "unchanged"}
    assert report.outcomes[0].source_id == source_id


def test_what_was_kept_or_skipped_and_is_gone_in_the_end_is_unchanged(world: World) -> None:
    made = delete_plan(world, messages=3)

    class Helped(SourcesApi):
        """Somebody else deletes it meanwhile."""

        def message_count(self, project: str, name: str, **_: Any) -> int:
            count = super().message_count(project, name)
            world.tenant.delete_source(PROJECT, "nps-1")
            return count

    report = apply(made, Helped(world.api.session))
    assert results(report) == {"nps-1": "unchanged"}
    assert report.ok


# A server whose reads lag behind


def test_nothing_is_failed_or_unknown_before_a_second_look(comms_mining_emulator: EmulatorServer) -> None:
    policy = RetryPolicy(max_attempts=3, max_seconds=20, base=0.001, cap=0.002)
    world = make_world(comms_mining_emulator, policy)
    added(world, "moved", title="before")
    added(world, "nps-1")
    wanted = manifest({"name": "new"}, {"name": "moved", "title": "after"}, owns=["nps-*"])
    made = world.plan(wanted, prune=True, max_deletes=1)
    world.server.configure(read_lag_s=0.6)
    time.sleep(0.7)
    world.sent()
    report = apply(made, world.api)
    assert results(report) == {"new": "done", "moved": "done", "nps-1": "done"}
    lists = [each for each in world.sent() if each == "GET sources/acme-dev"]
    assert len(lists) == 3
    world.api.session.close()


def test_what_no_list_shows_stays_unknown_and_a_second_list_that_fails_changes_nothing(world: World) -> None:
    made = world.plan(manifest({"name": "a"}))
    world.server.configure(read_lag_s=3600)
    world.server.faults.add(403, "GET", "*/acme-dev", skip=2)
    report = apply(made, world.api)
    assert results(report) == {"a": "unknown"}
    assert report.problem == ""
    assert report.transient


# What stops the others, and what is not claimed


def test_a_token_that_is_refused_while_messages_are_counted_stops_the_rest(world: World) -> None:
    for number in range(5):
        added(world, f"nps-{number}")
    made = world.plan(manifest({"name": "kept"}, owns=["nps-*"]), prune=True, max_deletes=5)
    apply(world.plan(manifest({"name": "kept"})), world.api)
    world.sent()
    world.server.faults.add(401, "POST", "*/statistics", times=100)
    report = apply(made, world.api, max_workers=1)
    assert report.counts == {"unchanged": 1, "failed": 1, "skipped": 4}
    assert report.transient
    # One call, and once more with the token looked up anew.
    assert len([each for each in world.sent() if each.endswith("/statistics")]) <= 2


def test_an_outcome_that_is_unknown_because_the_token_was_refused_stops_the_rest(world: World) -> None:
    made = many(world, 4)
    world.server.faults.add("no-answer", "PUT", "*/s-00", when="before")
    world.server.faults.add(401, "PUT", "*/s-00", times=2)
    world.server.faults.add(401, "GET", "*/s-00", skip=1, times=100)
    report = apply(made, world.api, max_workers=1)
    assert report.counts == {"unknown": 1, "skipped": 3}
    assert "not tried, since nothing more would have worked" in message(report, "s-03")
    assert world.names() == set()


def test_after_an_attempt_that_was_lost_nothing_is_called_stale(world: World) -> None:
    """It may be our own that was changed since."""
    made = world.plan(manifest({"name": "a", "title": "mine"}))
    world.server.faults.add("no-answer", "PUT", when="before")
    world.server.faults.add(409, "PUT")

    class Rivalled(SourcesApi):
        """Somebody else creates it before the last list."""

        def list(self, project: str | None = None) -> list[Any]:
            if world.server.faults.remaining() == []:
                world.tenant.add_source(PROJECT, "a", title="rival")
                world.server.faults.add(599, "PATCH")
            return super().list(project)

    report = apply(made, Rivalled(world.api.session))
    assert results(report) == {"a": "failed"}


def test_a_source_of_another_project_is_nobodys_business(world: World) -> None:
    made = world.plan(manifest({"name": "a", "title": "mine"}))
    elsewhere = Source.parse({**source("a", title="theirs").to_dict(), "owner": "acme-prod"})

    class Mixed(SourcesApi):
        """Lists more than it was asked for."""

        def list(self, project: str | None = None) -> list[Any]:
            return [*super().list(project), elsewhere]

    report = apply(made, Mixed(world.api.session))
    assert results(report) == {"a": "done"}
    assert world.held("a")["title"] == "mine"


UPDATE = Action(
    "update",
    PROJECT,
    "a",
    (Change("title", "before", "after"),),
    source_id=source("a").id,
    unchanged={"language": "en"},
)


def shown(**fields: Any) -> Source:
    """Give the source as a response shows it; a field that is None is left out."""
    raw = {**source("a", title="after").to_dict(), **fields}
    return Source.parse({name: value for name, value in raw.items() if value is not None})


def test_an_update_is_unchanged_only_if_every_field_is_known() -> None:
    assert judge(UPDATE, shown()).result == "unchanged"  # type: ignore[union-attr]
    unknown = judge(UPDATE, shown(language=None))
    assert unknown is not None
    assert unknown.result == "stale"
    assert "language is not shown any more" in unknown.message
    lost = Ending(Outcome("update", PROJECT, "a", "unknown", "lost", UPDATE.source_id, transient=True))
    assert verify(UPDATE, lost, shown()).result == "confirmed"
    assert verify(UPDATE, lost, shown(language=None)).result == "unknown"


def test_what_has_another_id_in_the_end_is_another_source() -> None:
    other = shown(id="00000000000000aa")
    lost = Ending(Outcome("update", PROJECT, "a", "unknown", "lost", UPDATE.source_id, transient=True))
    assert verify(UPDATE, lost, other).result == "unknown"
    done = Ending(Outcome("update", PROJECT, "a", "done", "changed", UPDATE.source_id))
    seen = verify(UPDATE, done, other)
    assert seen.result == "failed"
    assert "lists another source of this name afterwards (id 00000000000000aa)" in seen.message


def test_an_exception_of_a_worker_is_raised_and_not_dropped() -> None:
    def fail() -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError, match="oh"), WorkerPool(2, lambda: None) as pool:
        pool.run([fail, lambda: None, lambda: None])


# Waits


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def shared(clock: Clock, stop: threading.Event | None = None) -> tuple[RateLimitPause, SharedPauseBudget]:
    policy = RetryPolicy(max_attempts=5, max_seconds=30, base=0.001, sleep=clock.sleep, clock=lambda: clock.now)
    pause = RateLimitPause(policy, stop)
    return pause, SharedPauseBudget(policy, None, pause)


def test_a_call_waits_for_the_others_and_never_beyond_its_own_deadline() -> None:
    clock = Clock()
    pause, budget = shared(clock)
    pause.begin(10)
    budget.failures = 1
    seconds = budget.pause()
    assert seconds == 10
    budget.wait(seconds, RateLimitedError("wait"))
    assert clock.now == 10
    # Another call is asked to wait for longer than this one has.
    pause.begin(25)
    assert budget.pause() is None
    budget.wait(0.001, RateLimitedError("wait"))
    assert clock.now < 11
    # The wait of one call is everybody's, and one that is extended meanwhile is waited out.
    pause, budget = shared(clock)
    budget.failures = 1
    assert budget.pause(7.0) == 7
    assert pause.remaining() == pytest.approx(7)
    pause.begin(9)
    budget.wait(7, RateLimitedError("wait"))
    assert pause.remaining() == pytest.approx(0)


def test_nobody_waits_any_more_after_a_stop() -> None:
    clock, stop = Clock(), threading.Event()
    pause, budget = shared(clock, stop)
    pause.begin(20)
    stop.set()
    pause.wait()
    assert clock.now == 0
    budget.failures = 1
    assert budget.pause(3.0) is None
    assert clock.now == 0


def test_a_call_that_waits_does_not_outlast_its_deadline_for_others(comms_mining_emulator: EmulatorServer) -> None:
    clock, lock = Clock(), threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            clock.sleep(seconds)

    policy = RetryPolicy(max_attempts=9, max_seconds=30, base=0.001, sleep=sleep, clock=lambda: clock.now)
    world = make_world(comms_mining_emulator, policy)
    made = many(world, 2)
    world.server.faults.add(429, "PUT", "*/s-00", retry_after=25, times=9)
    began = clock.now
    report = apply(made, world.api, max_workers=1)
    assert results(report)["s-00"] == "failed"
    assert clock.now - began < 30 + 25 + 5
    world.api.session.close()


def test_an_interruption_leaves_a_report_of_what_was_done_until_then(world: World) -> None:
    """Such as Airflow's execution_timeout, which is no Exception."""
    made = many(world, 3)

    class TimeOut(BaseException):
        """What ends the task."""

    class Interrupted(SourcesApi):
        """Ends in the midst of the second create."""

        def create(self, project: str, name: str, **fields: Any) -> Any:
            if name == "s-01":
                raise TimeOut
            return super().create(project, name, **fields)

    left: list[Report] = []
    with pytest.raises(TimeOut):
        apply(made, Interrupted(world.api.session), max_workers=1, record=left.append)
    before, after = left
    assert before.counts == {"unknown": 3}
    assert after.counts == {"done": 1, "unknown": 2}
    assert after.problem == "the apply has not ended"
    assert after.transient


def test_what_is_under_way_at_a_stop_gets_a_few_seconds_and_is_unknown_then(world: World) -> None:
    """Airflow kills the task 5 seconds after it asked it to end, and the report has to be written by then."""
    made = many(world, 3)
    stop, release = threading.Event(), threading.Event()

    class Slow(SourcesApi):
        """Its answer to the first create does not come for long."""

        def create(self, project: str, name: str, **fields: Any) -> Any:
            if name == "s-00":
                stop.set()
                release.wait(20)
            return super().create(project, name, **fields)

    began = time.monotonic()
    report = apply(made, Slow(world.api.session), max_workers=1, stop=stop)
    assert 2.5 < time.monotonic() - began < 4.5
    release.set()
    for thread in threading.enumerate():
        if thread.name == "rollout":
            thread.join(10)  # what it writes is no business of the next test
    assert results(report)["s-00"] == "unknown"
    assert "the task ended while it was under way" in message(report, "s-00")
    assert report.counts == {"unknown": 1, "skipped": 2}
    assert report.transient


def test_a_stop_between_two_kinds_of_actions_begins_nothing_more(world: World) -> None:
    added(world, "nps-1")
    wanted = manifest({"name": "a"}, {"name": "b"}, owns=["nps-*"])
    made: Plan = world.plan(wanted, prune=True, max_deletes=1)
    stop = threading.Event()

    class Stopping(SourcesApi):
        """Is asked to stop while it creates."""

        def create(self, project: str, name: str, **fields: Any) -> Any:
            stop.set()
            return super().create(project, name, **fields)

    left: list[Report] = []
    report = apply(made, Stopping(world.api.session), max_workers=1, stop=stop, record=left.append)
    assert results(report) == {"a": "done", "b": "skipped", "nps-1": "skipped"}
    assert "nps-1" in world.names()
    assert "the task was stopped" in report.problem
    assert report.transient
    (before,) = left
    assert before.counts == {"unknown": 3}
    assert apply(made, make_world(world.server, POLICY).api).ok
