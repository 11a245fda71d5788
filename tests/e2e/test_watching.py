"""A triggerer that is killed in the middle of twenty waits, and of twenty changes that asset watchers look out for."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import TENANT
from tests.e2e.waiting import Waits, listings
from tests.features import needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from airflow_provider_cm.emulator.records import StoredSource
    from tests.e2e.conftest import RealAirflow

pytestmark = [pytest.mark.e2e, pytest.mark.every_airflow]

WHILE_DOWN = [f"while-down-{number}" for number in range(7)]
AFTERWARDS = [f"afterwards-{number}" for number in range(7)]
OVER_WHILE_DOWN = [f"over-while-down-{number}" for number in range(3)]
OVER_AFTERWARDS = [f"over-afterwards-{number}" for number in range(3)]
SOON, LATER = 35, 60  # seconds of those waits

CURSOR_IS_STORED_WITHIN = 7.0


@dataclass
class Story:
    """What happened."""

    waits: Waits
    made: dict[str, str]
    events: list[dict[str, Any]]


class Changes:
    """Changes of the watched sources, each set of them between two polls."""

    def __init__(self, airflow: RealAirflow, emulator: EmulatorServer, tenant: TenantHandle) -> None:
        self._airflow, self._emulator, self._tenant = airflow, emulator, tenant
        self.count = 0

    def polled(self) -> None:
        """Wait until a poll that was not under way has ended."""
        seen = len(listings(self._emulator, "watched"))
        self._airflow.wait_for(lambda: len(listings(self._emulator, "watched")) >= seen + 1, 90)
        time.sleep(0.1)

    def make(self, *changes: tuple[str, str]) -> None:
        for action, name in changes:
            self.count += 1
            if action == "create":
                self._tenant.add_source("watched", name, title=f"Title {self.count}")
            elif action == "update":
                self._tenant.update_source("watched", name, title=f"Title {self.count}")
            else:
                self._tenant.delete_source("watched", name)


@pytest.fixture(scope="module")
def story(airflow: RealAirflow, emulator: EmulatorServer) -> Story:
    tenant = emulator.tenant(TENANT)
    changes = Changes(airflow, emulator, tenant)
    deadlines: list[dict[str, Any]] = [{}] * 14 + [{"timeout": SOON}] * 3 + [{"timeout": LATER}] * 3
    names = [*WHILE_DOWN, *AFTERWARDS, *OVER_WHILE_DOWN, *OVER_AFTERWARDS]
    waits = Waits.begin(airflow, "restart", names, *deadlines)

    def step(*changed: tuple[str, str]) -> None:
        changes.polled()
        changes.make(*changed)

    step(("create", "moving"))
    step(("update", "moving"))
    step(("update", "moving"), ("update", "moving"))
    step(("delete", "moving"))
    step(("create", "moving"), ("delete", "moving"))  # nobody sees this one
    step(("create", "moving"))
    step(("delete", "moving"), ("create", "moving"))  # another one of the same name
    step(("update", "settled"))
    airflow.wait_for(waits.all_deferred, 60)
    changes.polled()
    time.sleep(CURSOR_IS_STORED_WITHIN)
    step(("update", "touched"))
    airflow.wait_for(lambda: any(each["extra"]["payload"]["source_name"] == "touched" for each in events_of(airflow)))

    airflow.kill("triggerer")
    changes.make(("update", "moving"), ("delete", "moving"), ("create", "moving"))
    made = {name: tenant.add_source("restart", name)["id"] for name in WHILE_DOWN}
    # So that those whose time is up meanwhile meet no triggerer.
    airflow.wait_for(lambda: all(age >= SOON for age in ages(waits, OVER_WHILE_DOWN)))
    airflow.start("triggerer")

    step(("update", "moving"))
    step(("delete", "moving"))
    made |= {name: tenant.add_source("restart", name)["id"] for name in AFTERWARDS}
    step(("create", "moving"))
    step(("update", "moving"), ("update", "settled"))
    step(("delete", "moving"))
    changes.polled()
    changes.polled()
    assert changes.count >= 20
    waits.wait_for("success", [*WHILE_DOWN, *AFTERWARDS])
    waits.wait_for("failed", [*OVER_WHILE_DOWN, *OVER_AFTERWARDS], LATER + 30)
    return Story(waits, made, events_of(airflow))


def ages(waits: Waits, names: list[str]) -> list[float]:
    now = datetime.now(UTC).isoformat()
    tasks = waits.tasks()
    return [waits.airflow.seconds_between(tasks[name]["start_date"], now) for name in names]


def events_of(airflow: RealAirflow) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def told() -> bool:
        # Airflow 3.3.2 answers 500 as long as a run that an event has created is only queued.
        answer = airflow.answer("GET", "/api/v2/assets/events", params={"limit": 100, "order_by": "timestamp"})
        if answer.ok:
            found[:] = answer.json()["asset_events"]
        return answer.ok

    airflow.wait_for(told)
    return [each for each in found if "/watched/" in each["uri"]]


def test_twenty_waits_have_their_right_outcomes_though_the_triggerer_was_killed(story: Story) -> None:
    for name in (*WHILE_DOWN, *AFTERWARDS):
        assert story.waits.returned(name)["id"] == story.made[name]
    # Deadlines were set when the waits began, and a restart does not begin them anew.
    for name in OVER_AFTERWARDS:
        assert LATER <= story.waits.seconds(name) <= LATER + 15
    for name in (*OVER_WHILE_DOWN, *OVER_AFTERWARDS):
        assert "Sensor has timed out" in story.waits.log(name)
    for name, task in story.waits.tasks().items():
        assert task["try_number"] == 1, name
        if name in OVER_WHILE_DOWN:
            assert story.waits.seconds(name) >= SOON
            assert story.waits.airflow.seconds_between(task["start_date"], task["end_date"]) < LATER


@needs("asset cursor")
def test_asset_events_agree_with_what_polls_observed(story: Story, emulator: EmulatorServer) -> None:
    for source, watched in (("moving", ("exists", "absent", "updated")), ("settled", ("updated",))):
        for until in watched:
            assert told(story, source, until) == expected(emulator, source, until), (source, until)
    # What is compared is not nothing: each kind happened, and what fell between two polls was seen by nobody.
    happened = [len(expected(emulator, "moving", until)) for until in ("exists", "absent", "updated")]
    created = [change for change in emulator.changes if change.action == "create" and named(change.after, "moving")]
    assert min(happened) >= 3
    assert happened[0] == len(created) - 1
    # The triggerer died between this event and its cursor, so it may have come again, once.
    (once,) = expected(emulator, "touched", "updated")
    assert told(story, "touched", "updated") in ([once], [once, once])
    # What was there before is told, unless the process had not seen it.
    updates = [each["extra"]["payload"] for each in story.events if "until" in each["extra"]["payload"]]
    pairs = [(each["before"], each["source"]) for each in updates if each["until"] == "updated"]
    assert sum(before is not None and before["title"] != after["title"] for before, after in pairs) >= 3


def test_a_state_that_holds_makes_no_events(story: Story, emulator: EmulatorServer) -> None:
    assert len(listings(emulator, "watched")) > 20
    assert [each for each in story.events if each["extra"]["payload"]["source_name"] == "holding"] == []


def test_the_example_runs_when_its_source_changes(airflow: RealAirflow, emulator: EmulatorServer, story: Story) -> None:
    dag, tenant = "example_asset_watcher", emulator.tenant(TENANT)
    ended: list[str] = []

    def runs(count: int) -> Callable[[], bool]:
        def there() -> bool:
            found = airflow.call("GET", f"/api/v2/dags/{dag}/dagRuns", params={"order_by": "id"})["dag_runs"]
            ended[:] = [run["dag_run_id"] for run in found if run["state"] == "success"]
            return len(ended) == count

        return there

    tenant.add_source("acme-dev", "support-inbox", title="First")
    airflow.wait_for(runs(1))
    tenant.update_source("acme-dev", "support-inbox", title="Second")
    airflow.wait_for(runs(2))
    tenant.delete_source("acme-dev", "support-inbox")
    assert [airflow.returned(dag, run, "describe") for run in ended] == [
        ["support-inbox: None -> First"],
        ["support-inbox: First -> Second"],
    ]


Observed = tuple[str, str] | None


def named(source: StoredSource | None, name: str) -> bool:
    return source is not None and (source.owner, source.name) == ("watched", name)


def told(story: Story, source: str, until: str) -> list[Observed]:
    """Say what the asset events tell of a source."""
    payloads = [each["extra"]["payload"] for each in story.events]
    mine = [each["source"] for each in payloads if (each["source_name"], each["until"]) == (source, until)]
    return [None if each is None else (each["id"], each["title"]) for each in mine]


def expected(emulator: EmulatorServer, source: str, until: str) -> list[Observed]:
    """Derive the events from the server's own records: its changes, and the polls that fell between them."""
    versions: list[tuple[Any, StoredSource | None]] = [
        (change.at, change.after)
        for change in emulator.changes
        if named(change.before, source) or named(change.after, source)
    ]
    states: list[StoredSource | None] = []
    for poll in listings(emulator, "watched"):
        if poll.status == 200:
            known = [after for at, after in versions if at <= poll.at]
            states.append(known[-1] if known else None)
    happened: dict[str, Callable[[StoredSource | None, StoredSource | None], bool]] = {
        "exists": lambda was, now: now is not None and (was is None or was.id != now.id),
        "absent": lambda was, now: now is None and was is not None,
        "updated": lambda was, now: now is not None and now != was,
    }
    found = [now for was, now in itertools.pairwise(states) if happened[until](was, now)]
    return [None if each is None else (each.id, each.title) for each in found]
