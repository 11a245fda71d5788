"""What ``dag.test()`` cannot show: deferral with a real scheduler and a real triggerer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import PARALLELISM, TENANT

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow
    from tests.statsd import StatsD

pytestmark = [pytest.mark.e2e, pytest.mark.every_airflow]


def test_deferred_sensors_hold_no_worker_slot(airflow: RealAirflow, emulator: EmulatorServer, statsd: StatsD) -> None:
    names = [f"inbox-{number}" for number in range(7)]
    waiting = {f"wait[{index}]" for index in range(len(names))} | {"end_from_trigger"}
    assert len(waiting) > PARALLELISM
    run = airflow.start_run("waiting")

    def deferred() -> set[str]:
        return {task for task, state in airflow.states("waiting", run).items() if state == "deferred"}

    airflow.wait_for(lambda: waiting <= deferred())
    # All worker slots are free, although more tasks wait than there are slots: other work gets done at once.
    airflow.wait_for(lambda: has_free_slots_only(airflow.pool(), waiting=len(waiting)))
    other = airflow.start_run("other_work")
    airflow.wait_for(lambda: airflow.states("other_work", other) == {"work": "success"})
    assert waiting <= deferred()

    # A wait that is not over in time ends by its own deadline, and soft_fail makes that a skip.
    airflow.wait_for(lambda: airflow.states("waiting", run)["give_up"] == "skipped", seconds=150)

    made = {name: emulator.tenant(TENANT).add_source("acme-dev", name) for name in names}
    airflow.wait_for(lambda: airflow.states("waiting", run).get("after") == "success")
    airflow.wait_for(lambda: airflow.states("waiting", run)["end_from_trigger"] == "success")

    # Each task has the source that it waited for, whether a worker or the trigger ended it.
    assert [airflow.returned("waiting", run, "wait", index)["id"] for index in range(len(names))] == [
        made[name]["id"] for name in names
    ]
    # What a trigger leaves is JSON text to other tasks, and in Airflow 3.0 to the API as well.
    left = airflow.returned("waiting", run, "end_from_trigger")
    assert (json.loads(left) if isinstance(left, str) else left)["id"] == made["inbox-0"]["id"]
    assert airflow.returned("waiting", run, "after") == names

    # Workers and triggerer have sent metrics through Airflow's own Stats: polls are the triggerer's alone.
    sent = {line.partition(":")[0] for line in statsd.so_far() if line.startswith("airflow.comms_mining.")}
    assert "airflow.comms_mining.polls,outcome=ok" in sent
    where = "method=GET,route=sources/PROJECT"
    assert {
        f"airflow.comms_mining.requests,{where},status=200",
        f"airflow.comms_mining.requests,{where}/NAME,status=404",
    } <= sent
    for name in made:
        emulator.tenant(TENANT).delete_source("acme-dev", name)


def has_free_slots_only(pool: dict[str, int], waiting: int) -> bool:
    return pool["deferred_slots"] >= waiting and pool["running_slots"] == pool["occupied_slots"] == 0
