"""Random calls of several clients, with random faults and rivals, checked against the server's own record.

Everything that decides an outcome is drawn by hypothesis, so that a failure replays: what each client asks for, what
becomes of every single request on the wire, and what a rival does to the same source before or after it. Waiting is
virtual: a sleep moves the clock that client and server share.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from airflow_provider_cm.api import (
    ApiSession,
    ClientCredentials,
    CommsMiningError,
    ConflictError,
    DeveloperToken,
    NotFoundError,
    OutcomeUnknownError,
    RetryPolicy,
    Source,
    SourcesApi,
)
from airflow_provider_cm.api.auth import forget_tokens
from airflow_provider_cm.emulator.errors import ApiError as EmulatorError
from tests.faults.proxy import FaultProxy, Seen, Step, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer
    from airflow_provider_cm.emulator.records import Change
    from airflow_provider_cm.emulator.records import Source as Held

PROJECT = "acme-dev"
TENANT = "/acme/dev/reinfer_"
NAMES = ("inbox", "survey")
MAX_ATTEMPTS = 4
MAX_SECONDS = 300.0
# A client that waits in vain for an answer really waits, so this is short; a busy machine may exceed it, which is a
# fault like any other.
READ_TIMEOUT = 0.3


class VirtualTime:
    """A clock for client and server, which a sleep moves on at once."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._start = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=time.monotonic())

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


@dataclass
class World:
    """Server, proxy and clients, kept from one example to the next since starting them is slow."""

    time: VirtualTime
    server: EmulatorServer
    proxy: FaultProxy
    tally: Tally

    def sleep(self, seconds: float) -> None:
        """Let a client wait; a server that was down may come up meanwhile."""
        self.time.skip(seconds)
        self.proxy.come_up()


@dataclass
class Tally:
    """What was tried and how it ended, for the report."""

    operations: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    def to_dict(self) -> dict[str, Any]:
        outcomes: dict[str, dict[str, int]] = {}
        for (kind, ended), count in self.outcomes.items():
            outcomes.setdefault(kind, {})[ended] = count
        return {
            "operations": dict(self.operations),
            "outcomes": outcomes,
            "faults": dict(self.faults),
            "requests": self.requests,
        }


@dataclass
class Moment:
    """What one call met: the states of the source while it ran, and what passed on the wire."""

    states: list[Held | None]
    own: list[Change]
    seen: list[Seen]
    refused: int

    def met_another(self) -> bool:
        """Whether there was ever a source that this call had not created, or one that a rival had changed since."""
        made = {change.after.id for change in self.own if change.action == "create" and change.after}
        written = [change.after for change in self.own]
        return any(state is not None and (state.id not in made or state not in written) for state in self.states)

    def left(self) -> list[Change]:
        """Give what this call did and no rival has undone: what is undone before it is read back leaves no trace."""
        return [change for change in self.own if change.after == self.states[-1]]


# What hypothesis draws for one request. Most are left alone, so that calls get somewhere.
WIRES = [Wire.PASS] * 6 + [Wire.CUT_BEFORE, Wire.CUT_AFTER, Wire.CUT_AFTER, Wire.CUT_BODY, Wire.LATE]
RIVALS = ["nobody"] * 8 + ["creates", "creates the same", "updates", "deletes"]
# What the server does wrong when it is told to: kind, and options.
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "429": ("429", {}),
    "429 retry-after": ("429", {"retry_after": 7}),
    "429 retry-after date": ("429", {"retry_after": 7, "date": True}),
    "503": ("503", {}),
    "503 after": ("503", {"when": "after", "retry_after": 2}),
    "502 html": ("502", {"html": True}),
    "504 html after": ("504", {"html": True, "when": "after"}),
    "500 after": ("500", {"when": "after"}),
    "408": ("408", {}),
    "200 error": ("wrong-envelope", {}),
    "200 error after": ("wrong-envelope", {"when": "after"}),
    "404 ok": ("wrong-envelope", {"status": 404}),
    "404 ok after": ("wrong-envelope", {"status": 404, "when": "after"}),
    "200 html": ("html", {}),
    "200 html after": ("html", {"when": "after"}),
    "empty": ("empty", {}),
    "empty after": ("empty", {"when": "after"}),
    "truncated": ("truncated", {}),
    "no answer": ("no-answer", {}),
    "no answer after": ("no-answer", {"when": "after"}),
    "redirect": ("redirect", {"to": "http://127.0.0.1:9/elsewhere"}),
    "quota full": ("quota", {}),
    "token expired": ("expired-token", {}),
    "401": ("401", {}),
}
REAL = [None] * (2 * len(ANSWERS))
STEP = st.tuples(
    st.sampled_from(WIRES),
    st.sampled_from([*REAL, *ANSWERS]),
    st.sampled_from(RIVALS),
    st.sampled_from(["before", "after"]),
)
STALLS = st.sampled_from([None] * 250 + [Wire.STALL_BEFORE, Wire.STALL_AFTER])
SCRIPT = st.lists(STEP, max_size=9)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["a", "b"]),
        "description": st.sampled_from(["", "long"]),
        "should_translate": st.booleans(),
        "sensitive_properties": st.sampled_from([[], ["string:x"], ["string:x", "string:y"]]),
    },
)


class Clients(RuleBasedStateMachine):
    """The sequence of calls; one world for all examples of a run."""

    world: World

    @initialize(
        duplicate_put=st.sampled_from(["409", "400", "422", "upsert"]),
        shapes=st.sampled_from(["full", "docs"]),
        moves=st.sampled_from(["always", "sent", "changed"]),
        digits=st.sampled_from(["6", "5", "trim"]),
    )
    def begin(self, duplicate_put: str, shapes: str, moves: str, digits: str) -> None:
        world = self.world
        world.proxy.come_up()
        world.server.reset()
        world.server.configure(
            duplicate_put=duplicate_put, shapes=shapes, updated_at_moves=moves, timestamp_digits=digits
        )
        self.upsert = duplicate_put == "upsert"
        self.duplicate = duplicate_put
        self.tenant = world.server.tenant(TENANT)
        policy = RetryPolicy(MAX_ATTEMPTS, MAX_SECONDS, sleep=world.sleep, clock=world.time.monotonic)
        endpoint = world.proxy.url + TENANT
        identity = f"{world.proxy.url}/acme/identity_/connect/token"
        auths = (
            DeveloperToken("emulator-admin"),
            ClientCredentials(identity, "emulator-app", "emulator-secret"),
        )
        self.sessions = [ApiSession(endpoint, auth, timeout=(5, READ_TIMEOUT), retry=policy) for auth in auths]
        # A token of the example before would make this one run otherwise than when it is replayed alone.
        forget_tokens()
        self.known_ids = ["0123456789abcdef"]

    def teardown(self) -> None:
        for session in getattr(self, "sessions", []):
            session.close()

    @rule(
        name=st.sampled_from(NAMES),
        client=st.integers(0, 1),
        fields=FIELDS,
        script=SCRIPT,
        stall=STALLS,
        language=st.sampled_from([None, "en", "de"]),
        down=st.integers(0, 40),
    )
    def create(
        self,
        name: str,
        client: int,
        fields: dict[str, Any],
        script: list[Any],
        stall: Wire | None,
        language: str | None,
        down: int,
    ) -> None:
        wanted = fields | ({"language": language} if language else {})
        before = self.held(name)
        result, error, moment = self.call(
            "create", client, name, script, stall, down == 0, lambda api: api.create(PROJECT, name, **wanted)
        )
        if isinstance(result, Source):
            self.was_there(result, moment)
            assert matches(result, wanted), f"reported {result}, asked for {wanted}"
            assert before is None or result.id != before.id, "a source that was there before is reported as created"
        elif isinstance(error, ConflictError):
            assert moment.met_another(), "a conflict is reported, but nobody else's source was ever there"
        elif not isinstance(error, OutcomeUnknownError):
            assert not moment.left(), f"reported {error!r}, but this was carried out: {moment.left()}"
        if before is not None and not self.upsert and not any(state is None for state in moment.states):
            assert not moment.own, "a create has changed a source that was there before"
        self.check_wire("PUT", moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=st.integers(0, 1),
        fields=FIELDS,
        script=SCRIPT,
        stall=STALLS,
        down=st.integers(0, 40),
    )
    def update(
        self, name: str, client: int, fields: dict[str, Any], script: list[Any], stall: Wire | None, down: int
    ) -> None:
        result, error, moment = self.call(
            "update", client, name, script, stall, down == 0, lambda api: api.update(PROJECT, name, **fields)
        )
        if isinstance(result, Source):
            self.was_there(result, moment)
            assert matches(result, fields), f"reported {result}, asked for {fields}"
        elif isinstance(error, NotFoundError):
            assert None in moment.states, "it is reported missing, but was there all the time"
        elif not isinstance(error, OutcomeUnknownError):
            assert not moment.left(), f"reported {error!r}, but this was carried out: {moment.left()}"
        self.check_wire("POST", moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=st.integers(0, 1),
        script=SCRIPT,
        stall=STALLS,
        down=st.integers(0, 40),
        stale=st.integers(0, 9),
    )
    def delete(self, name: str, client: int, script: list[Any], stall: Wire | None, down: int, stale: int) -> None:
        held = self.held(name)
        source_id = self.known_ids[stale % len(self.known_ids)] if held is None or stale == 0 else held.id
        result, error, moment = self.call(
            "delete", client, name, script, stall, down == 0, lambda api: api.delete(source_id)
        )
        there = [state is not None and state.id == source_id for state in moment.states]
        if error is None:
            assert isinstance(result, bool)
            assert not all(there), "it is reported deleted, but was there all the time"
        elif isinstance(error, NotFoundError):
            assert not all(there), "it is reported missing, but was there all the time"
        elif not isinstance(error, OutcomeUnknownError):
            assert not moment.own, f"reported {error!r}, but this was carried out: {moment.own}"
        self.check_wire("DELETE", moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=st.integers(0, 1),
        script=SCRIPT,
        stall=STALLS,
        down=st.integers(0, 40),
        by_id=st.booleans(),
    )
    def get(self, name: str, client: int, script: list[Any], stall: Wire | None, down: int, by_id: bool) -> None:
        held = self.held(name)
        if by_id and held is not None:
            source_id = held.id
            result, error, moment = self.call(
                "get", client, name, script, stall, down == 0, lambda api: api.get_by_id(source_id)
            )
        else:
            result, error, moment = self.call(
                "get", client, name, script, stall, down == 0, lambda api: api.get(PROJECT, name)
            )
        if isinstance(result, Source):
            self.was_there(result, moment)
        elif isinstance(error, NotFoundError):
            gone = [state is None or (held is not None and state.id != held.id) for state in moment.states]
            assert any(gone), "it is reported missing, but was there all the time"
        assert not moment.own, "a read has changed something"

    @rule(client=st.integers(0, 1), script=SCRIPT, stall=STALLS, down=st.integers(0, 40), whole=st.booleans())
    def list_sources(self, client: int, script: list[Any], stall: Wire | None, down: int, whole: bool) -> None:
        result, _, moment = self.call(
            "list", client, NAMES[0], script, stall, down == 0, lambda api: api.list(None if whole else PROJECT)
        )
        if result is not None:
            reported = {source.name: source for source in result}
            assert set(reported) <= set(NAMES)
            mine = reported.get(NAMES[0])
            if mine is None:
                assert None in moment.states, "the list leaves out what was there all the time"
            else:
                self.was_there(mine, moment)
        assert not moment.own, "a read has changed something"

    # --- what the rules share -----------------------------------------------------------------------------------------

    def held(self, name: str) -> Held | None:
        state = self.world.server.state
        return state.tenant(TENANT).source(PROJECT, name, state.settings)

    def call(
        self,
        kind: str,
        client: int,
        name: str,
        script: list[Any],
        stall: Wire | None,
        down: bool,
        act: Callable[[SourcesApi], Any],
    ) -> tuple[Any, CommsMiningError | None, Moment]:
        """Let a client act, and collect what the server did meanwhile."""
        world = self.world
        # The server's `Date` has whole seconds; what is further apart than these can be told apart by its clock.
        world.time.skip(5)
        rivals: list[Change] = []
        steps = [self.step(name, rivals, *drawn) for drawn in script]
        if stall is not None:
            steps.insert(len(steps) // 2, Step(stall))
        world.proxy.script = deque(steps)
        world.proxy.seen.clear()
        world.proxy.forwarded.clear()
        world.server.clear_requests()
        if down:
            world.proxy.go_down()
        first_state, first_change = self.held(name), len(world.server.changes)
        started = world.time.monotonic()
        result, error = None, None
        try:
            result = act(SourcesApi(self.sessions[client]))
        except CommsMiningError as caught:
            error = caught
        seconds = world.time.monotonic() - started
        world.proxy.settle()
        world.proxy.come_up()
        world.proxy.script.clear()
        world.proxy.late.clear()
        self.note_faults()
        world.server.faults.clear()
        changes = world.server.changes[first_change:]
        mine = [change for change in changes if name in {each.name for each in (change.before, change.after) if each}]
        moment = Moment(
            [first_state, *(change.after for change in mine)],
            [change for change in changes if not any(change is each for each in rivals)],
            list(world.proxy.seen),
            # While the server is down, attempts are spent that the proxy does not see.
            MAX_ATTEMPTS if down else 0,
        )
        self.known_ids += [change.after.id for change in changes if change.after is not None]
        self.count(kind, error, moment, down)
        assert seconds <= MAX_SECONDS + 2, f"{kind} took {seconds:.0f} s"
        return result, error, moment

    def note_faults(self) -> None:
        """Learn from the server's record which requests it was told to do wrong."""
        proxy, until = self.world.proxy, time.monotonic() + 5
        while len(self.world.server.requests) < len(proxy.forwarded):
            assert time.monotonic() < until, "the server's record lacks requests that were forwarded"
            time.sleep(0.001)
        for seen, recorded in zip(proxy.forwarded, self.world.server.requests, strict=True):
            seen.fault = recorded.fault.kind if recorded.fault else None

    def step(self, name: str, rivals: list[Change], wire: Wire, answer: str | None, rival: str, when: str) -> Step:
        """Make one step of the proxy's script of what was drawn."""

        def interfere() -> None:
            known = len(self.world.server.changes)
            # It may be there, or not there, already.
            with contextlib.suppress(EmulatorError):
                getattr(self, f"rival_{rival.replace(' ', '_')}")(name)
            rivals.extend(self.world.server.changes[known:])

        def before() -> None:
            if rival != "nobody" and when == "before":
                interfere()
            if answer is not None:
                kind, options = ANSWERS[answer]
                self.world.server.faults.add(kind, **options)

        def after() -> None:
            if rival != "nobody" and when == "after":
                interfere()

        return Step(wire, before, after)

    def rival_creates(self, name: str) -> None:
        self.tenant.add_source(PROJECT, name, title="rival")

    def rival_creates_the_same(self, name: str) -> None:
        self.tenant.add_source(PROJECT, name, title="a")

    def rival_updates(self, name: str) -> None:
        self.tenant.update_source(PROJECT, name, title="rival")

    def rival_deletes(self, name: str) -> None:
        self.tenant.delete_source(PROJECT, name)

    def was_there(self, source: Source, moment: Moment) -> None:
        assert any(is_shown(state, source) for state in moment.states if state is not None), (
            f"reported {source}, but in the meantime there was only {moment.states}"
        )

    def check_wire(self, method: str, moment: Moment, error: CommsMiningError | None) -> None:
        """The rules for what one call may send."""
        seen = [each for each in moment.seen if "identity_" not in each.path]
        assert len(seen) <= 3 * MAX_ATTEMPTS + 2, f"{len(seen)} requests for one call: {seen}"
        # One more than the policy's attempts, where a token had to be renewed.
        assert sum(each.method == method for each in seen) <= MAX_ATTEMPTS + 1, f"too many writes: {seen}"
        doubtful = False
        for each in seen:
            if each.method == "GET":
                doubtful = False
                continue
            assert not doubtful, f"a write was repeated without reading back in between: {seen}"
            doubtful = each.wire is not Wire.PASS or leaves_doubt(each)
        if isinstance(error, OutcomeUnknownError):
            failed = [each for each in moment.seen if failed_exchange(each)]
            spent = len(failed) + moment.refused >= MAX_ATTEMPTS
            assert spent or refuses_reading(moment.seen[-1]), f"the outcome is called unknown too early: {moment.seen}"

    def count(self, kind: str, error: CommsMiningError | None, moment: Moment, down: bool) -> None:
        tally = self.world.tally
        tally.operations[kind] += 1
        tally.outcomes[kind, type(error).__name__ if error else "success"] += 1
        tally.requests += len(moment.seen)
        tally.faults.update(each.wire.value for each in moment.seen if each.wire is not Wire.PASS)
        tally.faults.update(f"answer: {each.fault}" for each in moment.seen if each.fault)
        tally.faults.update(["refused"] if down else [])


def failed_exchange(seen: Seen) -> bool:
    return seen.wire is not Wire.PASS or seen.status is None or seen.status >= 400 or seen.fault is not None


def refuses_reading(seen: Seen) -> bool:
    """Whether a read was answered in a way that waiting does not mend."""
    final = {"wrong-envelope", "html", "redirect", "quota", "401", "expired-token"}
    # A rival may delete a source between the read by name that showed it and the one by id.
    vanished = "/id:" in seen.path and seen.status == 404
    return "identity_" in seen.path or (seen.method == "GET" and (seen.fault in final or vanished))


def leaves_doubt(seen: Seen) -> bool:
    """Whether a write may have been carried out, as far as its sender can tell from what came back."""
    if seen.status is None or seen.status >= 500:
        return True
    return seen.fault in {"wrong-envelope", "html", "empty", "truncated", "no-answer"}


def is_shown(state: Held, source: Source) -> bool:
    """Whether a reported source is this state, as far as the report goes."""
    return (
        (source.id, source.name, source.title, source.description, source.should_translate)
        == (state.id, state.name, state.title, state.description, state.should_translate)
        and set(source.sensitive_properties or ()) == set(state.sensitive_properties)
        and source.language in {None, state.language}
    )


def matches(source: Source, wanted: dict[str, Any]) -> bool:
    differences, _ = source.compare(wanted)
    return not differences
