"""Random waits: four triggers at a time, with scripted changes, faults, lag, names in another case.

A wait that ends well must have been true at some moment between the beginning of the poll that ended it and its end;
``read_lag_s`` moves that beginning back, since a lagging read shows what was. And one that three polls in a row could
have ended must have ended well. Clocks are real here, with short intervals: the triggers sleep in asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.client_credentials import forget_tokens
from airflow_provider_cm.emulator.errors import RefusedRequestError as EmulatorError
from airflow_provider_cm.triggers.poll_loop import Snapshot
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.faults.drawn import ANSWERS, LOSSES, odd_settings, random_settings
from tests.faults.proxy import Step, Wire
from tests.faults.world import PROJECT, TENANT, World, as_read, same_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from airflow_provider_cm.emulator.records import StoredSource as Held
    from airflow_provider_cm.triggers.poll_loop import PollFailure

NAMES = ["inbox", "Inbox", "survey"]
CONNECTION = "faulty_waits"
INTERVAL = 0.01
SECOND_LOOK_AFTER = 0.03
LASTS = 0.7
# What the clocks of trigger and server may differ by, which are read one after the other.
TOLERANCE = timedelta(milliseconds=5)


class Recorded(SourceTrigger):
    """A trigger that notes when its polls began."""

    asked: list[datetime]

    async def _poll(self) -> AsyncGenerator[Snapshot | PollFailure, None]:
        async for item in super()._poll():
            if isinstance(item, Snapshot):
                self.asked.append(item.asked_at)
            yield item


@dataclass
class Wait:
    """One wait and what became of it."""

    arguments: dict[str, Any]
    holds: Callable[[list[Held]], bool]
    asked: list[datetime] = field(default_factory=list)
    payload: dict[str, Any] | None = None
    ended: datetime | None = None


@dataclass
class Trial:
    """Some waits beside a script of changes.

    :param world: server and proxy.
    :param seed: decides all but what the clocks show.
    """

    world: World
    seed: int
    history: list[tuple[datetime, datetime, list[Held]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = dice = random.Random(self.seed)
        self.world.server.reset()
        forget_tokens()
        self.tenant = self.world.server.tenant(TENANT)
        drawn = random_settings(dice, read_lag_s=dice.choice([0.0, 0.0, 0.01, 0.02, 0.2]))
        self.settings = self.world.server.configure(**drawn)
        self.world.tally.settings.update(odd_settings(drawn))
        for name in dice.sample(NAMES, dice.choice([0, 1, 2])):
            # Names that are the same to the server, and its limits.
            with contextlib.suppress(EmulatorError):
                self.tenant.add_source(PROJECT, name, title=dice.choice(["a", "b"]), messages=dice.choice([0, 3]))
        # Every replica has what is there at the beginning.
        self.world.time.skip(60)
        self.loss, self.answer = (dice.choice([0.0, 0.0, 0.1, 0.3]) for _ in range(2))
        self.note(self.world.time.now())

    # --- the wait and what happens meanwhile --------------------------------------------------------------------------

    def connection(self) -> str:
        """Give the connection, through the proxy, as the JSON of an environment variable."""
        connection = self.tenant.connection(self.dice.choice(["token", "app"]))
        connection["host"] = self.world.proxy.url + TENANT
        if "login" in connection:
            connection["extra"] = {"identity_url": f"{self.world.proxy.url}/acme/identity_/connect/token"}
        return json.dumps(connection)

    def run(self) -> None:
        """Wait, and check."""
        proxy = self.world.proxy
        proxy.seen.clear()
        proxy.script = deque(self.step() for _ in range(3000))
        self.waits = [self.draw() for _ in range(4)]
        asyncio.run(self.all())
        proxy.settle()
        proxy.script.clear()
        proxy.late.clear()
        self.world.server.faults.clear()
        self.world.count_faults()
        tally = self.world.tally
        for wait in self.waits:
            assert wait.payload is not None
            tally.operations[wait.arguments["until"]] += 1
            tally.outcomes[wait.arguments["until"], wait.payload["status"]] += 1
            problem = self.untrue(wait)
            assert problem is None, (
                f"seed {self.seed}, {odd_settings(self.settings.model_dump())}, {self.loss}, {self.answer}: "
                f"{problem}: {wait}; {self.history}"
            )

    async def all(self) -> None:
        script = asyncio.create_task(self.change())
        await asyncio.gather(*(self.wait(wait) for wait in self.waits))
        await script

    async def wait(self, wait: Wait) -> None:
        await asyncio.sleep(0.01)
        deadline = (datetime.now(UTC) + timedelta(seconds=LASTS)).isoformat()
        trigger = Recorded(
            comms_mining_conn_id=CONNECTION,
            poll_interval=INTERVAL,
            deadline=deadline,
            max_failure_seconds=0,
            **wait.arguments,
        )
        trigger.asked = wait.asked
        async with contextlib.aclosing(trigger.run()) as events:
            event = await anext(events)
        wait.ended = self.world.time.now()
        wait.payload = event.payload

    async def change(self) -> None:
        """Do what others do meanwhile."""
        for _ in range(self.dice.choice([0, 1, 3, 8])):
            await asyncio.sleep(self.dice.choice([0.0, 0.02, 0.1]))
            name, act = self.dice.choice(NAMES), self.dice.choice(["add", "update", "delete", "count"])
            title, count = self.dice.choice(["a", "b", "r \ud83d"]), self.dice.choice([0, 3])
            began = self.world.time.now()
            with contextlib.suppress(EmulatorError):
                if act == "add":
                    self.tenant.add_source(PROJECT, name, title=title, messages=count)
                elif act == "update":
                    self.tenant.update_source(PROJECT, name, title=title)
                elif act == "delete":
                    self.tenant.delete_source(PROJECT, name)
                else:
                    self.tenant.set_message_count(PROJECT, name, count)
            self.note(began)

    def note(self, began: datetime) -> None:
        held = list(self.world.server.state.tenant(TENANT).sources.values())
        self.history.append((began, self.world.time.now(), held))

    def step(self) -> Step:
        step = Step(self.dice.choice(LOSSES) if self.dice.random() < self.loss else Wire.PASS)
        if self.dice.random() < self.answer:
            kind, options = ANSWERS[self.dice.choice(sorted(ANSWERS))]
            options = {name: value for name, value in options.items() if name != "retry_after"}
            step.before = lambda: self.world.server.faults.add(kind, **options)
        return step

    def draw(self) -> Wait:
        """Draw one wait."""
        dice, held = self.dice, self.history[0][2]
        by_id = bool(held) and dice.random() < 0.3
        source_id = dice.choice(held).id if by_id else None
        name = dice.choice(NAMES)
        address = {"source_id": source_id} if by_id else {"project": PROJECT, "source_name": name}
        until = dice.choice(["exists", "absent", "updated", "has_messages"])
        arguments: dict[str, Any] = {**address, "until": until}
        after = self.world.time.now()
        match: dict[str, str] = {}
        if until in {"exists", "updated"}:
            match = dice.choice([{}, {}, {"title": "a"}, {"language": "en"}])
            arguments |= {"match": match} if match else {}
        if until == "updated":
            arguments["updated_after"] = after.isoformat()
        if until == "has_messages":
            arguments["min_messages"] = 2

        def find(sources: list[Held]) -> Held | None:
            for source in sources:
                if source.id == source_id if by_id else same_name(source.name, name, self.settings):
                    return source
            return None

        def holds(sources: list[Held]) -> bool:
            found = find(sources)
            if until == "absent" or found is None:
                return until == "absent" and found is None
            if until == "has_messages":
                return found.num_comments >= 2
            matches = all(getattr(found, key) == value for key, value in match.items())
            return matches and (until == "exists" or found.updated_at > after)

        return Wait(arguments, holds)

    # --- whether it is true -------------------------------------------------------------------------------------------

    def during(self, since: datetime, until: datetime) -> list[list[Held]]:
        """Give the states between two moments of the server's clock, those that were being made included."""
        states = [held for began, _, held in self.history if since < began <= until]
        before = [number for number, (_, ended, _) in enumerate(self.history) if ended <= since]
        first = before[-1] if before else 0
        between = [held for began, _, held in self.history[first:] if began <= since]
        return [*between, *states]

    def untrue(self, wait: Wait) -> str | None:
        """Say what is untrue about the end of a wait."""
        assert wait.payload is not None
        assert wait.ended is not None
        # The poll's own clock is the machine's; the server's differs from it by a constant.
        offset = self.world.time.now() - datetime.now(UTC)
        lag = timedelta(seconds=self.settings.read_lag_s)
        asked = [moment + offset for moment in wait.asked]
        match wait.payload["status"]:
            case "success":
                since = asked[-1] - lag - TOLERANCE
                states = self.during(since, wait.ended)
                if not any(wait.holds(held) for held in states):
                    return f"it was not so between {since} and {wait.ended}"
                source = wait.payload["source"]
                if source is not None and "num_comments" not in source:
                    shown = [(held.id, held.name, as_read(held.title)) for state in states for held in state]
                    if (source["id"], source["name"], source["title"]) not in shown:
                        return "its source was not there"
            case "error" if not (self.loss or self.answer or self.settings.rate_limit):
                return "nothing went wrong"
            case "timeout" if self.could_have_ended(wait, asked, lag):
                return "three polls in a row could have ended it"
        return None

    def could_have_ended(self, wait: Wait, asked: list[datetime], lag: timedelta) -> bool:
        """Whether the condition was met from one poll to the third one after it, and nothing went wrong."""
        if self.loss or self.answer or self.settings.rate_limit:
            return False
        if wait.arguments["until"] == "updated" and self.settings.timestamp_digits != 6:
            return False  # what is cut off a timestamp may be what is new
        for first, third in zip(asked, asked[3:], strict=False):
            if all(wait.holds(held) for held in self.during(first - lag - TOLERANCE, third + TOLERANCE)):
                return True
        return False
