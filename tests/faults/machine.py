"""Random calls of several clients, with random faults and rivals, checked against the server's own record.

Everything that decides an outcome is drawn by hypothesis, so that a failure replays: every setting of the emulator,
what each client asks for, what becomes of every single request on the wire, and what a rival does to the same source
before or after it. Waiting is virtual: a sleep moves the clock that client and server share.

Two settings take from what can be known. While ``read_lag_s`` is longer than the client waits before its second look,
it can be deceived by a read, so what a lagging read may have shown counts as shown, and a refusal may hide an earlier
success. And a source that was there before is told from one's own by the application's timestamps, or by ``Date``:
not where neither moves, or where ``date_offset_s`` hides it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from datetime import timedelta
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
from airflow_provider_cm.api.client_credentials import forget_tokens
from airflow_provider_cm.api.clocks import DATE_TOLERANCE
from airflow_provider_cm.api.lost_responses import LAG
from airflow_provider_cm.emulator.errors import RefusedRequestError as EmulatorError
from tests.faults.drawn import ANSWERS, SCRIPT, SETTINGS, STALLS, odd_settings
from tests.faults.proxy import Step, Wire
from tests.faults.world import (
    PROJECT,
    READ_TIMEOUT,
    TENANT,
    Moment,
    World,
    concerns,
    failed_exchange,
    is_shown,
    leaves_doubt,
    refuses_reading,
    same_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.records import SourceChange
    from airflow_provider_cm.emulator.records import StoredSource as Held

NAMES = ("inbox", "Inbox", "survey")
NOWHERE = "nowhere"
UNKNOWN_BUCKET = "0123456789abcdef"
MAX_ATTEMPTS = 4
MAX_SECONDS = 300.0
# The clients by number; most calls are made by the first two, which may do everything.
VIEWER, STRANGER = 2, 3
CLIENTS = st.sampled_from([0] * 9 + [1] * 9 + [VIEWER, STRANGER])
# Between two calls, so that the server's clocks can tell one call's work from the work of the one before.
BETWEEN = DATE_TOLERANCE.total_seconds() + 5
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["a", "b"]),
        "description": st.sampled_from(["", "long"]),
        "should_translate": st.booleans(),
        "sensitive_properties": st.sampled_from([[], ["string:x"], ["string:x", "string:y"]]),
        "bucket_id": st.sampled_from(["a bucket", "a bucket", UNKNOWN_BUCKET]),
    },
)


class Clients(RuleBasedStateMachine):
    """The sequence of calls; one world for all examples of a run."""

    world: World

    @initialize(drawn=SETTINGS)
    def begin(self, drawn: dict[str, object]) -> None:
        world = self.world
        world.proxy.come_up()
        world.server.reset()
        self.tenant = world.server.tenant(TENANT)
        self.bucket = self.tenant.add_bucket(PROJECT, "mails")["id"]
        self.settings = world.server.configure(**drawn)
        world.tally.settings.update(odd_settings(drawn))
        # Whether a second look of the client sees all that was done before the first.
        self.lags = self.settings.read_lag_s > LAG
        policy = RetryPolicy(MAX_ATTEMPTS, MAX_SECONDS, sleep=world.sleep, clock=world.time.monotonic)
        endpoint = world.proxy.url + TENANT
        identity = f"{world.proxy.url}/acme/identity_/connect/token"
        auths = (
            DeveloperToken("emulator-admin"),
            ClientCredentials(identity, "emulator-app", "emulator-secret"),
            DeveloperToken("emulator-viewer"),
            ClientCredentials(identity, "emulator-app", "wrong-secret"),
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
        client=CLIENTS,
        fields=FIELDS,
        script=SCRIPT,
        stall=STALLS,
        language=st.sampled_from([None, "en", "de"]),
        down=st.integers(0, 40),
        nowhere=st.integers(0, 25),
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
        nowhere: int,
    ) -> None:
        wanted = self.wanted(fields) | ({"language": language} if language else {})
        before = self.held(name)
        project = NOWHERE if nowhere == 0 else PROJECT
        result, error, moment = self.call(
            "create", client, name, script, stall, down == 0, lambda api: api.create(project, name, **wanted)
        )
        if isinstance(result, Source):
            assert project == PROJECT, "a source is reported to be in a project that does not exist"
            self.was_there(result, moment)
            self.is_as_wanted(result, wanted)
            if before is not None and result.id == before.id:
                assert self.looks_new(before, result, moment), "a source that was there is reported as created"
        elif isinstance(error, ConflictError):
            lagging = self.lags and error.status == self.settings.duplicate_put
            assert moment.met_another() or lagging, (
                f"a conflict is reported, but nobody else's source was ever there: {error}; {moment.seen}"
            )
        elif not isinstance(error, OutcomeUnknownError):
            self.nothing_is_left(error, moment)
        upsert = self.settings.duplicate_put == "upsert"
        if before is not None and not upsert and not any(state is None for state in moment.states):
            assert not moment.own, "a create has changed a source that was there before"
        self.check_wire("PUT", client, moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=CLIENTS,
        fields=FIELDS,
        script=SCRIPT,
        stall=STALLS,
        down=st.integers(0, 40),
    )
    def update(
        self, name: str, client: int, fields: dict[str, Any], script: list[Any], stall: Wire | None, down: int
    ) -> None:
        wanted = self.wanted(fields)
        result, error, moment = self.call(
            "update", client, name, script, stall, down == 0, lambda api: api.update(PROJECT, name, **wanted)
        )
        if isinstance(result, Source):
            self.was_there(result, moment)
            self.is_as_wanted(result, wanted)
        elif isinstance(error, NotFoundError):
            hidden = client == VIEWER and self.settings.no_permission == 404
            another = self.settings.unknown_bucket == 404 and wanted.get("bucket_id") == UNKNOWN_BUCKET
            assert None in moment.shown or hidden or another, "it is reported missing, but was there all the time"
        elif not isinstance(error, OutcomeUnknownError):
            self.nothing_is_left(error, moment)
        self.check_wire("POST", client, moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=CLIENTS,
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
        gone = not all(state is not None and state.id == source_id for state in moment.states)
        unseen = not all(state is not None and state.id == source_id for state in moment.shown)
        if error is None:
            assert isinstance(result, bool)
            assert gone or (unseen and not result), "it is reported deleted, but was there all the time"
        elif isinstance(error, NotFoundError):
            assert unseen, "it is reported missing, but was there all the time"
        elif not isinstance(error, OutcomeUnknownError):
            assert self.lags or not moment.own, f"reported {error!r}, but this was carried out: {moment.own}"
        self.check_wire("DELETE", client, moment, error)

    @rule(
        name=st.sampled_from(NAMES),
        client=CLIENTS,
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
            gone = [state is None or (held is not None and state.id != held.id) for state in moment.shown]
            assert any(gone), "it is reported missing, but was there all the time"
        assert not moment.own, "a read has changed something"

    @rule(
        client=CLIENTS,
        script=SCRIPT,
        stall=STALLS,
        down=st.integers(0, 40),
        project=st.sampled_from([PROJECT] * 6 + [None] * 6 + [NOWHERE]),
    )
    def list_sources(self, client: int, script: list[Any], stall: Wire | None, down: int, project: str | None) -> None:
        result, _, moment = self.call("list", client, NAMES[0], script, stall, down == 0, lambda api: api.list(project))
        if result is not None and project == NOWHERE:
            assert result == [], "sources are listed in a project that does not exist"
            assert self.settings.missing_project_list == "empty", "a missing project is reported as an empty one"
        elif result is not None:
            assert {source.name for source in result} <= set(NAMES)
            mine = [source for source in result if same_name(source.name, NAMES[0], self.settings)]
            assert len(mine) <= 1
            if not mine:
                assert None in moment.shown, "the list leaves out what was there all the time"
            else:
                self.was_there(mine[0], moment)
        assert not moment.own, "a read has changed something"

    # --- what the rules share -----------------------------------------------------------------------------------------

    def wanted(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Put the bucket's id, which no two examples share, in its place."""
        return {key: self.bucket if value == "a bucket" else value for key, value in fields.items()}

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
        world.time.skip(BETWEEN)
        rivals: list[SourceChange] = []
        steps = [self.step(name, rivals, *drawn) for drawn in script]
        if stall is not None:
            steps.insert(len(steps) // 2, Step(stall))
        world.proxy.script = deque(steps)
        world.proxy.seen.clear()
        world.proxy.forwarded.clear()
        world.server.clear_requests()
        if down:
            world.proxy.go_down()
        first_state, before = self.held(name), world.server.changes
        hidden_since = world.time.now() - timedelta(seconds=self.settings.read_lag_s)
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
        world.note_faults()
        world.server.faults.clear()
        changes = world.server.changes[len(before) :]
        moment = Moment(
            [first_state, *(change.after for change in changes if concerns(change, name, self.settings))],
            [each.before for each in before if each.at > hidden_since and concerns(each, name, self.settings)],
            [change for change in changes if not any(change is each for each in rivals)],
            list(world.proxy.seen),
            # While the server is down, attempts are spent that the proxy does not see.
            MAX_ATTEMPTS if down else 0,
            seconds,
        )
        self.known_ids += [change.after.id for change in changes if change.after is not None]
        self.count(kind, error, moment, down)
        assert seconds <= MAX_SECONDS + 2, f"{kind} took {seconds:.0f} s"
        assert client not in {VIEWER, STRANGER} or not moment.own, "a client without the permission has written"
        return result, error, moment

    def step(
        self, name: str, rivals: list[SourceChange], wire: Wire, answer: str | None, rival: str, when: str
    ) -> Step:
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
        # A title that was cut in the middle of an emoji, which somebody else's tool may leave.
        self.tenant.add_source(PROJECT, name, title="r \ud83d")

    def rival_creates_the_same(self, name: str) -> None:
        self.tenant.add_source(PROJECT, name, title="a")

    def rival_updates(self, name: str) -> None:
        self.tenant.update_source(PROJECT, name, title="r \0")

    def rival_deletes(self, name: str) -> None:
        self.tenant.delete_source(PROJECT, name)

    def was_there(self, source: Source, moment: Moment) -> None:
        # What a write answered was so at once; what was read may come from a replica that lags behind.
        written = source.confirmed is False and bool(moment.own)
        states = moment.states if written else moment.shown
        assert any(is_shown(state, source) for state in states if state is not None), (
            f"reported {source}, but in the meantime there was only {states}"
        )

    def is_as_wanted(self, source: Source, wanted: dict[str, Any]) -> None:
        differences, _ = source.compare(wanted)
        if self.settings.sensitive_properties_update == "merge" and "sensitive_properties" in differences:
            differences.pop("sensitive_properties")
            assert set(source.sensitive_properties or ()) >= set(wanted["sensitive_properties"])
        assert not differences, f"reported {source}, asked for {wanted}"

    def looks_new(self, before: Held, reported: Source, moment: Moment) -> bool:
        """Whether nothing that a client can see tells a source from one that this call has created."""
        if reported.confirmed:
            return self.settings.date_offset_s < 0
        assert reported.created_at is not None
        assert reported.updated_at is not None
        # The answer of an upsert, which moved no timestamp.
        moved = (reported.updated_at - reported.created_at).total_seconds() > moment.seconds + 2
        return self.settings.duplicate_put == "upsert" and not moved

    def nothing_is_left(self, error: CommsMiningError | None, moment: Moment) -> None:
        assert self.lags or not moment.left(), f"reported {error!r}, but this was carried out: {moment.left()}"

    def check_wire(self, method: str, client: int, moment: Moment, error: CommsMiningError | None) -> None:
        """The rules for what one call may send."""
        seen = [each for each in moment.seen if "identity_" not in each.path]
        assert len(seen) <= 3 * MAX_ATTEMPTS + 4, f"{len(seen)} requests for one call: {seen}"
        # One more than the policy's attempts, where a token had to be renewed.
        assert sum(each.method == method for each in seen) <= MAX_ATTEMPTS + 1, f"too many writes: {seen}"
        doubtful = False
        for each in seen:
            if each.method == "GET":
                doubtful = False
                continue
            assert not doubtful, f"a write was repeated without reading back in between: {seen}"
            # Of an answer that breaks off, a client may have the status, and need no more of a refusal.
            refused = each.wire is Wire.CUT_BODY and each.status is not None and 400 <= each.status < 500
            doubtful = (each.wire.answer_is_lost and not refused) or leaves_doubt(each)
        if isinstance(error, OutcomeUnknownError):
            failed = [each for each in moment.seen if failed_exchange(each)]
            spent = len(failed) + moment.refused >= MAX_ATTEMPTS
            undecided = method == "PUT" and self.undecided(moment)
            assert spent or undecided or refuses_reading(moment.seen[-1]), f"unknown too early: {moment.seen}"

    def undecided(self, moment: Moment) -> bool:
        """Whether a source was read back of which a client cannot tell who made it, or all of what it is."""
        read = moment.seen[-1].method == "GET" and not failed_exchange(moment.seen[-1])
        was_there = any(state is not None for state in (*moment.earlier, moment.states[0]))
        return read and (was_there or self.settings.date_offset_s > 0 or self.settings.shapes == "docs")

    def count(self, kind: str, error: CommsMiningError | None, moment: Moment, down: bool) -> None:
        tally = self.world.tally
        tally.operations[kind] += 1
        tally.outcomes[kind, type(error).__name__ if error else "success"] += 1
        tally.requests += len(moment.seen)
        tally.faults.update(each.wire.value for each in moment.seen if each.wire is not Wire.PASS)
        tally.faults.update(f"answer: {each.fault}" for each in moment.seen if each.fault)
        tally.faults.update(["refused"] if down else [])
