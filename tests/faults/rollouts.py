"""Random rollouts: plan, apply, two applies at once, edits by rivals before and meanwhile, faults, every setting drawn.

A seed decides everything but the order in which threads run. What is reported is held against the server's own record
of changes. While ``read_lag_s`` is longer than the second look of an apply, what a lagging read may have shown counts
as shown, since nobody could know better.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import ApiSession, CommsMiningError, DeveloperToken, RetryPolicy, SourcesApi
from airflow_provider_cm.api.lost_responses import LAG
from airflow_provider_cm.emulator import EmulatorSettings
from airflow_provider_cm.emulator.errors import RefusedRequestError as EmulatorError
from airflow_provider_cm.rollout import Manifest, Report, apply, observe, plan
from airflow_provider_cm.rollout.actions import CARRIED_OUT
from tests.faults.drawn import ANSWERS, LOSSES, odd_settings, random_settings
from tests.faults.proxy import Step, Wire
from tests.faults.world import PROJECT, READ_TIMEOUT, TENANT, World, same_name
from tests.rollout.world import has, name_of

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_cm.emulator.records import SourceChange
    from airflow_provider_cm.emulator.records import StoredSource as Held
    from airflow_provider_cm.rollout import Action, Outcome, Plan

OWNED = [f"s-{number}" for number in range(6)]
FOREIGN = ["other", "S-1"]
PROTECTED = "s-0"
TITLES = ["", "a", "b"]
# A delete rests on a read that is at most so old when it is sent; a little more for the way.
FRESH = timedelta(seconds=1.5)
# A request that the proxy delivers late arrives when it likes.
LATE = timedelta(seconds=600)
# Settings with which a rollout succeeds wherever nothing else goes wrong.
CALM = {
    name: EmulatorSettings.model_fields[name].default
    for name in ("max_title", "languages", "source_quota", "rate_limit")
} | {
    "max_sensitive_properties": 4096,
    "sensitive_properties_update": "replace",
    "read_lag_s": 0.0,
}


@dataclass
class Applied:
    """One apply and what it reported.

    :param began: the server's time before it.
    :param report: the report; ``None`` if it ended with an error, which it does before anything is written.
    :param ended: the server's time after it.
    """

    began: datetime
    report: Report | None = None
    ended: datetime | None = None


@dataclass
class Trial:
    """A project, a manifest and a plan, applied once or twice at a time while things go wrong; then once more in peace.

    :param world: server and proxy.
    :param seed: decides.
    """

    world: World
    seed: int
    edits: int = 0
    applied: list[Applied] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = dice = random.Random(self.seed)
        world = self.world
        world.server.reset()
        self.tenant = world.server.tenant(TENANT)
        for name in dice.sample([*OWNED, *FOREIGN], 5):
            messages = dice.choice([0, 0, 0, 7])
            self.tenant.add_source(PROJECT, name, messages=messages, **self.fields())
        self.manifest = Manifest.parse(
            {
                "project": PROJECT,
                "owns": ["s-?"],
                # In another case than the name: protection minds none.
                "protect": [PROTECTED.upper()],
                "sources": [{"name": name, **self.fields()} for name in dice.sample(OWNED, 4)],
            }
        )
        drawn = random_settings(dice)
        self.settings = world.server.configure(**drawn)
        world.tally.settings.update(odd_settings(drawn))
        self.lags = self.settings.read_lag_s > LAG
        # Nothing goes wrong while planning, since what is tested is what becomes of a plan.
        world.time.skip(60)
        self.plan = self.make_plan()
        self.begins = world.time.now()
        self.start = {each["name"]: self.held(each["name"]) for each in self.tenant.sources()}
        self.first_change = len(world.server.changes)

    def fields(self) -> dict[str, Any]:
        properties = self.dice.choice([[], ["string:x"], ["string:x", "string:y"]])
        return {"title": self.dice.choice(TITLES), "sensitive_properties": properties}

    def held(self, name: str) -> Held | None:
        tenant = self.world.server.state.tenant(TENANT)
        return next((source for source in tenant.sources.values() if source.name == name), None)

    def client(self, token: str = "emulator-admin") -> SourcesApi:
        policy = RetryPolicy(
            max_attempts=4, max_seconds=300, sleep=self.world.sleep, clock=self.world.time.monotonic, cap=10.0
        )
        endpoint = self.world.proxy.url + TENANT
        return SourcesApi(ApiSession(endpoint, DeveloperToken(token), timeout=(5, READ_TIMEOUT), retry=policy))

    def make_plan(self) -> Plan:
        api = self.client()
        with contextlib.closing(api.session):
            return plan(
                self.manifest,
                observe(self.manifest, api),
                target=api.session.endpoint,
                prune=True,
                max_deletes=20,
                allow_risky=True,
            )

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry the plan out, and check."""
        dice, world = self.dice, self.world
        for _ in range(dice.choice([0, 0, 1, 3])):
            self.interfere(*self.edit())
        if self.edits:
            world.time.skip(dice.choice([0, 0, 60]))
        self.loss, self.answer, self.rival = (dice.choice([0.0, 0.0, 0.1, 0.3]) for _ in range(3))
        world.proxy.seen.clear()
        world.proxy.script = deque(self.step() for _ in range(400))
        if dice.random() < 0.3:
            world.proxy.script[0].after = self.outdate
        token = dice.choice(["emulator-admin"] * 12 + ["emulator-viewer"])
        self.may_write = token != "emulator-viewer"  # no secret
        clients = [self.client(token) for _ in range(dice.choice([1, 1, 2]))]
        listed = None
        if dice.random() < 0.2:
            with contextlib.suppress(CommsMiningError):
                listed = observe(self.manifest, clients[0])
            world.time.skip(dice.choice([0, 0, 30]))
            if dice.random() < 0.5:
                self.interfere(*self.edit())
        threads = [threading.Thread(target=self.apply, args=(api, listed)) for api in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
            assert not thread.is_alive(), f"seed {self.seed}: an apply does not end"
        world.proxy.settle()
        world.proxy.script.clear()
        world.proxy.late.clear()
        world.server.faults.clear()
        self.check()
        self.finish()

    def apply(self, api: SourcesApi, listed: Any) -> None:
        applied = Applied(self.world.time.now())
        self.applied.append(applied)
        with contextlib.closing(api.session), contextlib.suppress(CommsMiningError):
            applied.report = apply(self.plan, api, max_workers=self.dice.choice([1, 4]), actual=listed)
        applied.ended = self.world.time.now()

    def step(self) -> Step:
        step = Step(self.dice.choice(LOSSES) if self.dice.random() < self.loss else Wire.PASS)
        edit = self.edit() if self.dice.random() < self.rival else None
        answer = self.dice.choice(sorted(ANSWERS)) if self.dice.random() < self.answer else None
        when = self.dice.choice(["before", "after"])

        def act() -> None:
            if answer is not None:
                kind, options = ANSWERS[answer]
                self.world.server.faults.add(kind, **options)
            if edit is not None and when == "before":
                self.interfere(*edit)

        step.before = act
        if edit is not None and when == "after":
            step.after = lambda: self.interfere(*edit)
        return step

    def outdate(self) -> None:
        """Make the list that an apply begins with an old one: nothing may be deleted that rests on it alone."""
        for _ in range(3):
            self.interfere(*self.edit())
        self.world.time.skip(5)

    def edit(self) -> tuple[str, str, str]:
        act = self.dice.choice(["add", "update", "delete"])
        return self.dice.choice([*OWNED, *FOREIGN]), act, self.dice.choice([*TITLES, "r \ud83d"])

    def interfere(self, name: str, act: str, title: str) -> None:
        """Do what somebody else may do at any time."""
        self.edits += 1
        with contextlib.suppress(EmulatorError):
            if act == "add":
                self.tenant.add_source(PROJECT, name, title=title)
            elif act == "update":
                self.tenant.update_source(PROJECT, name, title=title)
            else:
                self.tenant.delete_source(PROJECT, name)

    # --- whether what is reported is true -----------------------------------------------------------------------------

    def check(self) -> None:
        """Hold every line of every report against what the server did."""
        changes = self.world.server.changes[self.first_change :]
        own = [change for change in changes if change.request is not None]
        actions = [action for action in self.plan.actions if action.kind in CARRIED_OUT]
        for change in own:
            meant = [action for action in actions if same_name(action.name, name_of(change), self.settings)]
            problem = self.wrong(change, meant[0] if meant else None, changes)
            assert problem is None, f"seed {self.seed}: {problem}: {change}"
        assert not own or any(each.report is not None for each in self.applied), f"seed {self.seed}: no report is left"
        self.world.count_faults()
        tally = self.world.tally
        tally.faults["edits by somebody else"] += self.edits
        for each in self.applied:
            tally.operations["two at once" if len(self.applied) > 1 else "apply"] += 1
            if each.report is None:
                tally.outcomes["(all)", "not begun"] += 1
                continue
            assert [outcome.name for outcome in each.report.outcomes] == [action.name for action in self.plan.actions]
            for action, outcome in zip(self.plan.actions, each.report.outcomes, strict=True):
                tally.outcomes[action.kind, outcome.result] += 1
                problem = self.untrue(each, action, outcome, changes)
                assert problem is None, (
                    f"seed {self.seed}, {odd_settings(self.settings.model_dump())}: {outcome}: {problem} "
                    f"(plan: {action}; verified: {each.report.problem or 'yes'}): {changes}"
                )

    def wrong(self, change: SourceChange, action: Action | None, changes: list[SourceChange]) -> str | None:
        """Say what is wrong with a change that an apply has made."""
        if not self.may_write:
            return "a client without the permission has written"
        if action is None:
            return "it was written, but the plan has no such action"
        if change.action != "delete":
            wanted = {each.field: each.after for each in action.changes}
            if self.settings.sensitive_properties_update == "merge" and change.action == "update":
                wanted.pop("sensitive_properties", None)
            kinds = {action.kind} | ({"update"} if self.settings.duplicate_put == "upsert" else set())
            return None if change.action in kinds and has(change.after, wanted) else "something else was written"
        before = change.before
        assert before is not None
        if action.kind != "delete" or before.id != action.source_id:
            return "another source was deleted"
        if before.name.lower() == PROTECTED:
            return "a protected source was deleted"
        late = any(each.wire is Wire.LATE and before.id in each.path for each in self.world.proxy.seen)
        since = change.at - (LATE if late else FRESH) - timedelta(seconds=self.settings.read_lag_s)
        lately = [each.before for each in changes if each.at >= since and name_of(each) == before.name]
        return (
            None if any(has(state, action.before) for state in lately) else "it was not as planned when it was deleted"
        )

    def untrue(self, applied: Applied, action: Action, outcome: Outcome, changes: list[SourceChange]) -> str | None:
        """Say what is untrue about an outcome."""
        mine = [change for change in changes if same_name(name_of(change), action.name, self.settings)]
        own = [change for change in mine if change.request is not None]
        shown_from = applied.began - timedelta(seconds=self.settings.read_lag_s)
        past = [change for change in mine if change.at <= shown_from]
        first = past[-1].after if past else self.start.get(action.name)
        states = [first, *(change.after for change in mine if change.at > shown_from)]
        if action.kind == "delete":
            reached = any(state is None or state.id != action.source_id for state in states)
        else:
            reached = any(has(state, action.after) for state in states)
        if action.kind not in CARRIED_OUT:
            return None if not own else "it was not to be carried out, and yet it was"
        forgiven = action.kind == "delete" and self.settings.delete_missing == 200
        match outcome.result:
            # A server may answer 200 to the delete of what somebody else has deleted before.
            case "done" if not forgiven and not any(change.at >= applied.began for change in own):
                return "nothing was written"
            case "done" | "confirmed" | "unchanged" if not reached:
                return "it never was as wanted"
            case "stale" | "skipped" | "failed" | "unknown" if self.in_peace() and "kept: " not in outcome.message:
                return "nothing was in the way"
            case "stale" | "skipped" if own and len(self.applied) == 1 and not self.edits and not self.lags:
                return "it was written, and nobody interfered"
            case "stale" if not any(self.has_moved(state, action) for state in states):
                return "it has not moved"
        return None

    def has_moved(self, state: Held | None, action: Action) -> bool:
        """Whether a source is neither as it was when the plan was made, nor as the action wants it."""
        if action.kind == "create":
            return state is not None
        return state is None or state.id != action.source_id or not has(state, action.before)

    def in_peace(self) -> bool:
        """Whether everything that was asked for could be done."""
        calm = all(getattr(self.settings, name) == value for name, value in CALM.items() if name != "read_lag_s")
        faultless = not (self.loss or self.answer or self.edits or self.lags)
        return calm and faultless and self.may_write and all(each.report is not None for each in self.applied)

    def finish(self) -> None:
        """Plan and apply once more in peace; then there is nothing to do."""
        world = self.world
        world.server.configure(**CALM)
        world.time.skip(60)
        self.plan = self.make_plan()
        api = self.client()
        with contextlib.closing(api.session):
            report = apply(self.plan, api)
        world.tally.operations["in peace"] += 1
        left = [
            each
            for each in report.outcomes
            if not each.ok and each.kind in CARRIED_OUT and "kept: " not in each.message
        ]
        assert left == [], f"seed {self.seed}: nothing was in the way"
        kept = {each.name for each in report.outcomes if "kept: " in each.message}
        again = [each for each in self.make_plan().actions if each.kind in CARRIED_OUT and each.name not in kept]
        assert again == [], f"seed {self.seed}: a plan after a clean apply has something to do"
