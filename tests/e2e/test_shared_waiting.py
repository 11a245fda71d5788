"""One poll for many, on a real scheduler and triggerer: how much is asked, and that each wait ends alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import figures
from tests.e2e.conftest import PROJECT_PAGES, TENANT
from tests.e2e.waiting import LET_GO_SECONDS, Waits, ended_at, listings, polls, standing_still
from tests.features import needs

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow

pytestmark = [pytest.mark.e2e, needs("shared polling")]

MANY = 200
INTERVAL = 2
WINDOW = 20
LATE_INTERVAL = 12
DOCUMENT = os.environ.get("COMMS_MINING_FIGURES")  # set by "make figures"


def mebibytes(process: psutil.Process) -> float:
    """Measure the memory of a process and its children; pages that they share count for each."""
    return float(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])) / 2**20


def test_two_hundred_deferred_sensors_cost_one_request_an_interval(
    airflow: RealAirflow, emulator: EmulatorServer
) -> None:
    tenant = emulator.tenant(TENANT)
    tenant.add_source("fan-in", "another")
    # A triggerer that has just started goes on growing until its first triggers poll, which are the watchers here.
    airflow.wait_for(lambda: len(polls(emulator, "watched")) >= 5)
    triggerer = airflow.process("triggerer")
    before = mebibytes(triggerer)
    run = airflow.start_run("example_fan_in", {"project": "fan-in", "mailboxes": MANY})
    airflow.wait_for(lambda: airflow.count("example_fan_in", run, "deferred") == MANY, seconds=400)
    time.sleep(LET_GO_SECONDS)

    asked = len(polls(emulator, "fan-in"))
    time.sleep(WINDOW)
    asked = len(polls(emulator, "fan-in")) - asked
    grown = mebibytes(triggerer) - before
    assert WINDOW / INTERVAL - 2 <= asked <= WINDOW / INTERVAL + 1

    changed = time.time()
    for number in range(MANY):
        tenant.add_source("fan-in", f"mailbox-{number:03}")
    time.sleep(5)  # without asking Airflow, which would have to answer instead of working
    airflow.wait_for(lambda: airflow.count("example_fan_in", run, "success") == MANY + 2, seconds=60)
    ends = [ended_at(task) - changed for task in airflow.tasks("example_fan_in", run) if task["task_id"] == "wait"]
    assert len(airflow.returned("example_fan_in", run, "all_there")) == MANY
    assert max(ends) <= 5
    assert grown < 20
    if DOCUMENT:
        text = (
            f"| {MANY} sensors of one project, polled every {INTERVAL} s | |\n|---|---|\n"
            f"| requests in {WINDOW} s | {asked} |\n"
            f"| sensors that succeeded | {len(ends)} |\n"
            f"| from the change to their end, first and last | {min(ends):.1f} s, {max(ends):.1f} s |\n"
            f"| memory that the triggerer, which polled for others before, grew by | {grown:.1f} MiB |"
        )
        figures.write(Path(DOCUMENT), "sensors", text)


@dataclass
class Begun:
    """Runs that wait side by side, so that Airflow has to start them only once."""

    alone: Waits
    late: Waits
    expiring: Waits
    replaced: Waits
    satisfied: Waits


@pytest.fixture(scope="module")
def begun(airflow: RealAirflow, emulator: EmulatorServer) -> Begun:
    stored = emulator.tenant(TENANT).connection("token", "emulator-viewer")
    body = {"connection_id": "stored", "conn_type": "comms_mining", "host": stored["host"]}
    airflow.call("POST", "/api/v2/connections", json=body | {"password": stored["password"]})
    emulator.tenant(TENANT).add_source("satisfied", "there")
    begun = Begun(
        alone=Waits.begin(
            airflow,
            "alone",
            ["fails", "clears", "times-out", "stays"],
            {},
            {},
            {"timeout": 30},
            comms_mining_conn_id="with_pages",
        ),
        late=Waits.begin(airflow, "late", ["early-bird"], poke_interval=LATE_INTERVAL),
        expiring=Waits.begin(airflow, "expiring", [f"inbox-{number}" for number in range(5)]),
        replaced=Waits.begin(
            airflow, "replaced", ["first", "second"], comms_mining_conn_id="stored", max_consecutive_failures=30
        ),
        satisfied=Waits.begin(airflow, "satisfied", ["there"], poke_interval=600),
    )
    for waits in (begun.alone, begun.late, begun.expiring, begun.replaced):
        airflow.wait_for(waits.all_deferred, 120)
    time.sleep(LET_GO_SECONDS)
    return begun


def until_polled(airflow: RealAirflow, emulator: EmulatorServer, project: str, times: int = 1) -> None:
    """Wait for so many polls more."""
    seen = len(polls(emulator, project))
    airflow.wait_for(lambda: len(polls(emulator, project)) >= seen + times, 30)


def test_marking_failed_clearing_and_timing_out_end_only_the_one(
    airflow: RealAirflow, emulator: EmulatorServer, begun: Begun
) -> None:
    waits = begun.alone
    # The link to the project's page is there while they wait.
    for name in waits.names:
        index = {"map_index": waits.names.index(name)}
        links = airflow.call("GET", waits.path(name).rpartition("/")[0] + "/links", params=index)["extra_links"]
        assert list(links.values()) == [f"{PROJECT_PAGES}/projects/alone"], name

    clear = {"dry_run": False, "only_failed": False, "dag_run_id": waits.run, "task_ids": [["wait", 1]]}
    airflow.call("PATCH", waits.path("fails"), json={"new_state": "failed"})
    airflow.call("POST", "/api/v2/dags/waits/clearTaskInstances", json=clear)
    waits.wait_for("failed", ["fails", "times-out"])
    waits.wait_for("deferred", ["clears", "stays"])
    assert 30 <= waits.seconds("times-out") <= 30 + 20
    # The poll goes on for the rest, at its pace.
    asked, began = len(polls(emulator, "alone")), time.monotonic()
    until_polled(airflow, emulator, "alone", 3)
    asked, seconds = len(polls(emulator, "alone")) - asked, time.monotonic() - began
    assert asked <= seconds / INTERVAL + 1

    made = {name: emulator.tenant(TENANT).add_source("alone", name) for name in waits.names}
    waits.wait_for("success", ["clears", "stays"])
    assert waits.states() == {"fails": "failed", "clears": "success", "times-out": "failed", "stays": "success"}
    for name in ("clears", "stays"):
        assert waits.returned(name)["id"] == made[name]["id"]


def test_a_wait_that_is_over_already_never_defers(emulator: EmulatorServer, begun: Begun) -> None:
    begun.satisfied.wait_for("success")
    assert begun.satisfied.returned("there")["name"] == "there"
    # The worker's one look, and no listing by a triggerer.
    (look,) = polls(emulator, "satisfied")
    assert look.path.endswith("/satisfied/there")


def test_a_late_joiner_does_not_wait_for_the_next_poll(
    airflow: RealAirflow, emulator: EmulatorServer, begun: Begun
) -> None:
    tenant = emulator.tenant(TENANT)
    tenant.add_source("late", "another")  # so that each poll is a listing
    until_polled(airflow, emulator, "late")
    # A poll that sees the source comes after the joiner's own look, and before its trigger is there.
    with standing_still(airflow):
        joiner = Waits.begin(airflow, "late", ["joiner"], poke_interval=LATE_INTERVAL, end_from_trigger=True)
        airflow.wait_for(joiner.all_deferred, 20)
        seen = len(listings(emulator, "late"))
        tenant.add_source("late", "joiner")
        airflow.wait_for(lambda: len(listings(emulator, "late")) > seen, LATE_INTERVAL + 5)
        polled = listings(emulator, "late")[-1].at.timestamp()
    joiner.wait_for("success")
    ended = ended_at(joiner.tasks()["joiner"])
    assert ended - polled < LATE_INTERVAL - 2
    assert len([each for each in listings(emulator, "late") if polled < each.at.timestamp() < ended]) == 0

    assert begun.late.states() == {"early-bird": "deferred"}
    tenant.add_source("late", "early-bird")
    begun.late.wait_for("success")


def test_a_token_that_expires_is_renewed_once_for_all(
    airflow: RealAirflow, emulator: EmulatorServer, begun: Begun
) -> None:
    def renewals() -> int:
        return sum(each.path.endswith("/connect/token") for each in emulator.requests)

    before, seen = renewals(), len(polls(emulator, "expiring"))
    expired = {each.token for each in emulator.requests if each.token and each.token.startswith("emulator-app#")}
    for token in expired:
        emulator.state.tokens.expire(token)
    until_polled(airflow, emulator, "expiring", 5)
    # For all waits of this connection, and for the watchers that have it too.
    assert renewals() - before == 1
    # Whichever poll came first has met the refusal; the others may find the new token already.
    assert [each.status for each in polls(emulator, "expiring")[seen:]].count(401) <= 1
    assert any(each.status == 401 and each.token in expired for each in emulator.requests)
    assert set(begun.expiring.states().values()) == {"deferred"}
    for name in begun.expiring.names:
        emulator.tenant(TENANT).add_source("expiring", name)
    begun.expiring.wait_for("success")


def test_a_token_that_is_replaced_in_the_connection_is_picked_up(
    airflow: RealAirflow, emulator: EmulatorServer, begun: Begun
) -> None:
    seen = len(polls(emulator, "replaced"))

    def answers() -> list[int]:
        return [each.status for each in polls(emulator, "replaced")[seen:]]

    old = emulator.tenant(TENANT).connection("token", "emulator-viewer")["password"]
    emulator.replace_token("emulator-viewer", "another-value")
    try:
        airflow.wait_for(lambda: answers().count(401) >= 2, 30)
        path, body = "/api/v2/connections/stored", {"connection_id": "stored", "conn_type": "comms_mining"}
        params = {"update_mask": "password"}
        airflow.call("PATCH", path, params=params, json=body | {"password": "another-value"})
        airflow.wait_for(lambda: answers()[-2:] in ([200, 200], [200, 404], [404, 200]), 30)
        assert set(begun.replaced.states().values()) == {"deferred"}
        for name in begun.replaced.names:
            emulator.tenant(TENANT).add_source("replaced", name)
        begun.replaced.wait_for("success")
    finally:
        emulator.replace_token("emulator-viewer", old)


def test_two_triggerers_poll_once_each_and_one_that_is_killed_loses_nothing(
    airflow: RealAirflow, emulator: EmulatorServer
) -> None:
    tenant = emulator.tenant(TENANT)
    tenant.add_source("two", "another")

    def holders(waits: Waits) -> set[int | None]:
        return {(task["trigger"] or {}).get("triggerer_id") for task in waits.tasks().values()}

    def held(waits: Waits) -> Callable[[], bool]:
        return lambda: waits.all_deferred() and None not in holders(waits)

    names = [f"source-{number}" for number in range(20)]
    first = Waits.begin(airflow, "two", names[:10])
    airflow.wait_for(held(first))
    airflow.start("triggerer", "--skip-serve-logs", name="second triggerer")
    airflow.wait_for(lambda: len(airflow.jobs("TriggererJob")) == 2)
    # While the first takes no triggers, the second gets them.
    with standing_still(airflow):
        second = Waits.begin(airflow, "two", names[10:])
        airflow.wait_for(held(second), 25)
    assert len(holders(first)) == len(holders(second)) == 1
    assert holders(first) != holders(second)
    time.sleep(LET_GO_SECONDS)

    seen = len(polls(emulator, "two"))
    time.sleep(10)
    assert 2 * 10 / INTERVAL - 2 <= len(polls(emulator, "two")) - seen <= 2 * 10 / INTERVAL + 2

    airflow.kill("triggerer")
    airflow.rename("second triggerer", "triggerer")
    seen = len(polls(emulator, "two"))
    time.sleep(6)
    assert 6 / INTERVAL - 2 <= len(polls(emulator, "two")) - seen <= 6 / INTERVAL + 1
    made = {name: tenant.add_source("two", name)["id"] for name in names}
    second.wait_for("success")
    first.wait_for("success", seconds=90)
    for waits in (first, second):
        assert {name: waits.returned(name)["id"] for name in waits.names} == {name: made[name] for name in waits.names}
