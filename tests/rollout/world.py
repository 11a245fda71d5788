"""One rollout under faults: what goes wrong is drawn from a seed, and what is reported is held against the record."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import ApiSession, DeveloperToken, RetryPolicy, SourcesApi
from airflow_provider_cm.api.source_fields import SETTABLE
from airflow_provider_cm.emulator.errors import RefusedRequestError as EmulatorError
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.rollout import Action, Manifest, Outcome, Plan, Report, observe, plan
from tests.faults.proxy import FaultProxy, Step, Wire
from tests.faults.world import TENANT, VirtualTime, as_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer
    from airflow_provider_cm.emulator.records import SourceChange
    from airflow_provider_cm.emulator.records import StoredSource as Held

PROJECT = "acme-dev"
NAMES = [f"s-{number:02}" for number in range(16)]
TITLES = ["a", "b", "c"]
# The proxy does not pass on that a server breaks off, so that the client waits in vain for the rest of an answer.
READ_TIMEOUT = 0.5


@dataclass
class Rollout:
    """A project, a manifest and a plan, all drawn from one seed.

    :param server: the emulator, whose clock is ``time``.
    :param proxy: between client and server.
    :param time: moved on by every wait.
    :param seed: decides everything but the order in which threads run.
    """

    server: EmulatorServer
    proxy: FaultProxy
    time: VirtualTime
    seed: int
    rivals: int = 0
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.server.reset()
        self.server.configure(
            shapes=self.dice.choice(["full", "docs"]),
            duplicate_put=self.dice.choice(["409", "409", "400", "422", "upsert"]),
            updated_at_moves=self.dice.choice(["always", "sent", "changed"]),
        )
        self.tenant = self.server.tenant(TENANT)
        policy = RetryPolicy(
            max_attempts=4, max_seconds=300, sleep=self.time.skip, clock=self.time.monotonic, base=1.0, cap=10.0
        )
        self.policy = policy
        self.api = self.client("emulator-admin", READ_TIMEOUT)
        for name in self.dice.sample(NAMES, 9):
            self.tenant.add_source(PROJECT, name, messages=self.dice.choice([0, 0, 7]), **self.fields())
        self.manifest = Manifest.parse(
            {
                "project": PROJECT,
                "owns": ["s-0?", "s-1?"],
                "sources": [
                    {"name": name, **self.fields(), **self.dice.choice([{}, {"language": "en"}])}
                    for name in self.dice.sample(NAMES, 10)
                ],
            }
        )
        # Nothing goes wrong while planning, since what is tested is what becomes of a plan.
        self.plan = self.make_plan()
        self.start = {each["name"]: self.held(each["name"]) for each in self.tenant.sources()}
        self.first_change = len(self.server.changes)

    def make_plan(self) -> Plan:
        return plan(
            self.manifest,
            observe(self.manifest, self.api),
            target=self.api.session.endpoint,
            prune=True,
            max_deletes=20,
            allow_risky=True,
        )

    def client(self, token: str, read_timeout: float) -> SourcesApi:
        session = ApiSession(
            self.proxy.url + TENANT, DeveloperToken(token), timeout=(5, read_timeout), retry=self.policy
        )
        return SourcesApi(session)

    def fields(self) -> dict[str, Any]:
        properties = self.dice.choice([[], ["string:x"], ["string:x", "string:y"]])
        return {"title": self.dice.choice(TITLES), "sensitive_properties": properties}

    def held(self, name: str) -> Held | None:
        state = self.server.state
        return state.tenant(TENANT).source(PROJECT, name, state.settings)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def spoil(self) -> None:
        """Choose what is to go wrong from now on."""
        faults, dice = self.server.faults, self.dice
        seed = dice.randrange(10**6)
        troubles: dict[str, Callable[[], object]] = {
            "429 storm": lambda: faults.add(429, probability=0.3, seed=seed, retry_after=dice.choice([1, 20])),
            "429 without Retry-After": lambda: faults.add(429, probability=0.2, seed=seed),
            "5xx on a third": lambda: faults.add(503, probability=0.17, seed=seed),
            "5xx on a third, done": lambda: faults.add(500, probability=0.17, seed=seed + 1, when="after"),
            "html": lambda: faults.add(502, probability=0.1, seed=seed, html=True, when="after"),
            "no answer": lambda: faults.add("no-answer", probability=0.1, seed=seed + 2, when="after"),
            "truncated": lambda: faults.add("truncated", probability=0.1, seed=seed + 3),
            "revoked": lambda: faults.add("revoked-token", skip=dice.randrange(1, 12)),
            "forbidden": lambda: faults.add(403, "PUT", skip=dice.randrange(0, 4), times=50),
            "quota": lambda: self.server.configure(source_quota=len(self.start) + dice.randrange(0, 3)),
            "patience": lambda: faults.add(429, "POST", skip=2, times=50, retry_after=3600),
        }
        chosen = dice.sample(sorted(troubles), dice.choice([1, 1, 2, 3]))
        for name in chosen:
            troubles[name]()
        loss = dice.choice([0.0, 0.0, 0.1, 0.3])
        rival = dice.choice([0.0, 0.0, 0.1, 0.3])
        self.proxy.script = deque(self.step(loss, rival) for _ in range(3000))
        self.happened = [*chosen, f"loss {loss}", f"rival {rival}"]

    def step(self, loss: float, rival: float) -> Step:
        wires = [Wire.CUT_BEFORE, Wire.CUT_AFTER, Wire.CUT_BODY, Wire.LATE]
        step = Step(self.dice.choice(wires) if self.dice.random() < loss else Wire.PASS)
        if self.dice.random() < rival:
            name, act, title = self.dice.choice(NAMES), self.dice.randrange(3), self.dice.choice([*TITLES, "rival"])
            setattr(step, self.dice.choice(["before", "after"]), lambda: self.interfere(name, act, title))
        return step

    def interfere(self, name: str, act: int, title: str) -> None:
        """Do what somebody else may do at any time."""
        self.rivals += 1
        with contextlib.suppress(EmulatorError):
            if act == 0:
                self.tenant.add_source(PROJECT, name, title=title)
            elif act == 1:
                self.tenant.update_source(PROJECT, name, title=title)
            else:
                self.tenant.delete_source(PROJECT, name)

    def calm(self) -> None:
        """Have nothing go wrong any more."""
        self.proxy.settle()
        self.proxy.script.clear()
        self.proxy.late.clear()
        self.server.faults.clear()
        self.server.configure(source_quota=None)
        self.server.state.tokens.add("generated-anew", "generated-anew", ROLES["admin"])
        self.api.session.close()
        self.api = self.client("generated-anew", 5.0)

    # --- whether what is reported is true -----------------------------------------------------------------------------

    def check(self, report: Report) -> None:
        """Hold every line of a report against what the server did."""
        assert [outcome.name for outcome in report.outcomes] == [action.name for action in self.plan.actions]
        changes = self.server.changes[self.first_change :]
        names = {outcome.name for outcome in report.outcomes}
        own = {name_of(change) for change in changes if change.request is not None}
        assert own <= names, f"written, but not in the plan: {own - names}"
        for action, outcome in zip(self.plan.actions, report.outcomes, strict=True):
            mine = [change for change in changes if name_of(change) == action.name]
            states = [self.start.get(action.name), *(change.after for change in mine)]
            problem = self.untrue(action, outcome, [change for change in mine if change.request is not None], states)
            assert problem is None, f"seed {self.seed}, {self.happened}: {outcome}: {problem}: {mine}"

    def untrue(
        self, action: Action, outcome: Outcome, own: list[SourceChange], states: list[Held | None]
    ) -> str | None:
        upsert = self.server.settings.duplicate_put == "upsert"
        kinds = {action.kind} | ({"update"} if upsert and action.kind == "create" else set())
        if not {change.action for change in own} <= kinds:
            return "something else was written"
        wanted = {change.field: change.after for change in action.changes}
        if any(change.action != "delete" and not has(change.after, wanted) for change in own):
            return "other values were written"
        if action.kind == "delete" and any(change.before and change.before.id != action.source_id for change in own):
            return "another source was deleted"
        reached = any(state is None if action.kind == "delete" else has(state, action.after) for state in states)
        match outcome.result:
            case "done" if not own:
                return "nothing was written"
            case "confirmed" if not reached:
                return "it was never as wanted"
            case "unchanged" if own or not reached:
                return "something was written, or it was never as wanted"
            case "stale" | "skipped" if own:
                return "something was written"
            case "failed" if own and not (self.rivals or "accepted it" in outcome.message):
                return "it was written, and nobody interfered"
        return None


def name_of(change: SourceChange) -> str:
    source = change.after or change.before
    assert source is not None
    return source.name


def has(state: Held | None, fields: dict[str, Any]) -> bool:
    """Whether a source has the values."""
    if state is None:
        return False
    for name, value in fields.items():
        there = getattr(state, SETTABLE[name].removeprefix("_"))
        there = as_read(there) if isinstance(there, str) else there
        if (set(there) != set(value)) if isinstance(value, tuple) else (there != value):
            return False
    return True
