"""Random loads: rows good and bad, some there already, while requests are lost, refused and answered wrongly.

A load is tried again when it fails or is killed, with the checkpoint that it left or without, sometimes with other rows
than before; and at last in peace. What is reported is held against the store and the bill of the server. A seed decides
everything but the order in which threads run.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import ApiSession, ClientCredentials, DeveloperToken, MessagesApi, RetryPolicy
from airflow_provider_cm.api.client_credentials import forget_tokens
from airflow_provider_cm.loading import LoadError, load
from tests.faults.drawn import ANSWERS, LOSSES, odd_settings, random_settings
from tests.faults.proxy import Step, Wire
from tests.faults.world import PROJECT, READ_TIMEOUT, TENANT, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_cm.loading import LoadReport

SOURCE = "inbox"
# The settings that a load can meet; a quota or a small limit would only make it fail.
DRAWN = {
    "bad_message",
    "duplicate_messages",
    "omitted_message_field",
    "message_without_timestamp",
    "naive_timestamp",
    "billed_text",
    "statistics_lag_s",
    "token_lifetime",
    "timestamp_digits",
    "date_offset_s",
    "no_permission",
}
Row = dict[str, Any]


class Killed(BaseException):
    """The process ends here, as by SIGKILL."""


@dataclass
class Memory:
    """Keeps a checkpoint as JSON, and kills the process when its time has come.

    :param text: what is kept.
    :param kill: number of the save that the process does not survive; negative for one that is not even made.
    """

    text: str | None = None
    kill: int | None = None
    saves: int = 0

    def load(self) -> dict[str, Any] | None:
        return None if self.text is None else json.loads(self.text)

    def save(self, state: dict[str, Any]) -> None:
        self.saves += 1
        if self.kill == -self.saves:
            raise Killed
        self.text = json.dumps(state)
        if self.kill == self.saves:
            raise Killed

    def clear(self) -> None:
        self.text = None


def comment(number: int, text: str, region: str = "EU") -> Row:
    """Give a good row."""
    return {
        "id": f"m-{number}",
        "timestamp": "2026-01-05T09:12:00+00:00",
        "user_properties": {"string:Region": region},
        "messages": [{"body": {"text": text}}],
    }


def spoilt(dice: random.Random, row: Row) -> Row:
    """Give a row that cannot be loaded, of which the client knows in most cases."""
    row = json.loads(json.dumps(row))
    (message,) = row["messages"]
    match dice.randrange(6):
        case 0:
            row["timestamp"] = "2026-01-05T09:12:00"
        case 1:
            message["from"] = ""
        case 2:
            row["colour"] = "red"
        case 3:
            message["body"]["text"] = None
        case _:
            # Only the server knows that there is no such markup.
            message["body"]["text_markup"] = [{"kind": "no such"}]
    return row


@dataclass
class Trial:
    """One source, some rows, and attempts to load them.

    :param world: server and proxy.
    :param seed: decides.
    :param folder: for the list of rejected rows.
    """

    world: World
    seed: int
    folder: Path
    loads: int = 0
    texts: set[tuple[str, str]] = field(default_factory=set)  # of every version of the rows

    def __post_init__(self) -> None:
        self.dice = dice = random.Random(self.seed)
        self.world.server.reset()
        forget_tokens()
        drawn = {name: value for name, value in random_settings(dice).items() if name in DRAWN}
        drawn["max_body_bytes"] = dice.choice([None, None, None, 2_000])
        self.settings = self.world.server.configure(**drawn)
        self.world.tally.settings.update(odd_settings(self.settings.model_dump()))
        self.tenant = self.world.server.tenant(TENANT)
        self.tenant.add_source(PROJECT, SOURCE)
        numbers = dice.sample(range(200), dice.choice([0, 1, 5, 30, 60]))
        self.rows = [comment(number, f"text {dice.randrange(5)}") for number in numbers]
        self.bad: set[int] = set()
        for at in dice.sample(range(len(numbers)), min(len(numbers), dice.choice([0, 0, 1, 3]))):
            self.rows[at] = spoilt(dice, self.rows[at])
            self.bad.add(at)
        self.twice = bool(numbers) and dice.random() < 0.15
        if self.twice:
            again = dice.choice([at for at in range(len(numbers)) if at not in self.bad] or [0])
            self.twice = again not in self.bad
            if self.twice:
                self.rows.append(comment(numbers[again], "another text"))
        self.on_duplicate = dice.choice(["fail", "last", "last"])
        self.changed = False
        before = [comment(number, f"text {dice.randrange(5)}", "US") for number in dice.sample(range(200), 20)]
        self.there = {row["id"]: row for row in before if dice.random() < 0.5}
        self.tenant.add_messages(PROJECT, SOURCE, self.there.values())
        self.world.time.skip(3600)  # long enough to be counted
        self.paid_before = self.tenant.bill.ai_units
        self.options: dict[str, Any] = {
            "batch_size": dice.choice([1, 2, 7, 20, 500]),
            "max_batch_bytes": dice.choice([300, 4_000_000]),
            "concurrency": dice.choice([1, 1, 2, 4]),
            "on_duplicate": self.on_duplicate,
            "max_rejected": dice.choice([0, 1000]),
        }
        self.memory = Memory()
        self.keeps = dice.random() < 0.7
        self.note_versions()

    # --- what is so

    def note_versions(self) -> None:
        self.texts |= {(row["id"], self.text(row)) for at, row in enumerate(self.rows) if at not in self.bad}

    @staticmethod
    def text(row: Row) -> str:
        return str(row["messages"][0]["body"]["text"])

    def stored(self) -> dict[str, tuple[str, str]]:
        shown = self.tenant.messages(PROJECT, SOURCE)
        return {row["id"]: (self.text(row), row["user_properties"]["string:Region"]) for row in shown}

    def wanted(self) -> dict[str, tuple[str, str]]:
        rows = [*self.there.values(), *(row for at, row in enumerate(self.rows) if at not in self.bad)]
        return {row["id"]: (self.text(row), row["user_properties"]["string:Region"]) for row in rows}

    def charge(self) -> int:
        """Give what loading the rows once costs: messages that were not there, or with another text."""
        pairs = {(row["id"], self.text(row)) for row in self.there.values()}
        return len(self.texts - pairs)

    # --- attempts

    def api(self) -> MessagesApi:
        url, policy = self.world.proxy.url, RetryPolicy(sleep=self.world.sleep, clock=self.world.time.monotonic)
        auth: Any = DeveloperToken("emulator-admin")
        if self.dice.random() < 0.3:
            app = self.tenant.connection("app")
            auth = ClientCredentials(
                f"{url}/acme/identity_/connect/token", str(app["login"]), str(app["password"]), "Ixp.ApiAccess"
            )
        session = ApiSession(url + TENANT, auth, timeout=(5, READ_TIMEOUT), load_timeout=READ_TIMEOUT, retry=policy)
        return MessagesApi(session)

    def source(self, dies_at: int | None) -> Iterator[Row]:
        for at, row in enumerate(self.rows):
            if at == dies_at:
                raise Killed
            yield row

    def step(self, loss: float, answer: float) -> Step:
        dice = self.dice
        wires = [wire for wire in LOSSES if wire is not Wire.LATE] if self.twice or self.changed else LOSSES
        step = Step(dice.choice(wires) if dice.random() < loss else Wire.PASS)
        if dice.random() < answer:
            kind, options = ANSWERS[dice.choice(sorted(ANSWERS))]
            step.before = lambda: self.world.server.faults.add(kind, **options)
        return step

    def attempt(self, loss: float, answer: float, *, killed: bool) -> LoadReport | None:
        """Load once; ``None`` if it did not end well."""
        dice, world = self.dice, self.world
        world.proxy.seen.clear()
        world.server.clear_requests()
        world.proxy.script = deque(self.step(loss, answer) for _ in range(400))
        dies_at = dice.randrange(len(self.rows) + 1) if killed and dice.random() < 0.5 else None
        self.memory.saves, self.memory.kill = 0, dice.choice([-3, -1, 1, 2, 4]) if killed and dies_at is None else None
        rejects = self.folder / "rejects.jsonl"
        report, error = None, None
        self.loads += 1
        try:
            report = load(
                self.source(dies_at),
                self.api(),
                project=PROJECT,
                source_name=SOURCE,
                rejects_path=str(rejects),
                checkpoint=self.memory if self.keeps else None,
                **self.options,
            )
        except Killed:
            world.tally.outcomes["load", "killed"] += 1
        except LoadError as caught:
            error = caught
            world.tally.outcomes["load", "failed"] += 1
        else:
            world.tally.outcomes["load", "success"] += 1
        world.proxy.script.clear()
        world.proxy.settle()
        world.server.faults.clear()
        world.proxy.late.clear()
        world.count_faults()
        world.tally.operations["loads"] += 1
        told = f"seed {self.seed}, {odd_settings(self.settings.model_dump())}, {self.options}, {error}, {report}"
        self.judge(report, error, rejects, told, calm=not (loss or answer or killed))
        return report

    def judge(
        self, report: LoadReport | None, error: LoadError | None, rejects: Path, told: str, *, calm: bool
    ) -> None:
        listed = [json.loads(line)["row_number"] for line in rejects.read_text().splitlines()] if report else []
        if report is not None:
            assert self.stored() == self.wanted(), f"reported done: {told}"
            assert sorted(listed) == sorted(at + 1 for at in self.bad), f"rejects: {told}"
            assert report.rejected == len(self.bad), told
            assert report.rows == len(self.rows), told
            assert report.sent == report.new + report.updated + report.unchanged, told
            paid = self.tenant.bill.ai_units - self.paid_before
            assert report.billable <= paid, f"bill {paid}: {told}"
            assert not (self.twice and self.on_duplicate == "fail"), told
            assert len(self.bad) <= self.options["max_rejected"], told
        assert set(self.stored()) <= set(self.there) | {name for name, _ in self.texts}, told
        if error is not None and calm:
            duplicates = self.twice and self.on_duplicate == "fail"
            assert duplicates or len(self.bad) > self.options["max_rejected"], told
            if not duplicates:
                assert self.stored() == self.wanted(), told

    def change(self) -> None:
        """Change the rows between two attempts, in front or in the middle."""
        self.changed = True
        if self.dice.random() < 0.5 or not self.rows:
            self.rows.insert(0, comment(500 + self.dice.randrange(100), "in front"))
            self.bad = {at + 1 for at in self.bad}
        else:
            at = self.dice.randrange(len(self.rows))
            if at not in self.bad:
                self.rows[at] = {**self.rows[at], "messages": [{"body": {"text": "changed"}}]}
        self.note_versions()

    def run(self) -> None:
        """Load, again and again, and at last in peace; check each time."""
        dice = self.dice
        for _ in range(dice.choice([0, 1, 1, 2, 4])):
            loss, answer = (dice.choice([0.0, 0.1, 0.3]) for _ in range(2))
            if self.attempt(loss, answer, killed=dice.random() < 0.4) is not None:
                break
            if not self.twice and dice.random() < 0.1:
                self.change()
            if dice.random() < 0.1:
                self.memory.text = None
            self.world.time.skip(60)
        self.world.time.skip(3600)
        self.attempt(0, 0, killed=False)
        if not self.twice:
            assert self.stored() == self.wanted(), f"seed {self.seed}"
            paid = self.tenant.bill.ai_units - self.paid_before
            told = f"seed {self.seed}: billed {paid}, {self.charge()} texts"
            assert paid <= self.charge(), told
            if not self.changed:
                assert paid == self.charge(), told
