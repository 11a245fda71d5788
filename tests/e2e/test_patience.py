"""How long a deferred wait lasts, over retries and in all: kept in Airflow's own store, which outlasts a try."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import TENANT
from tests.e2e.waiting import LET_GO_SECONDS
from tests.features import needs

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow

pytestmark = [pytest.mark.e2e, needs("one timeout for all tries")]

TIMEOUT, RETRY_DELAY, EXECUTION_TIMEOUT = 75, 20, 30  # as in dags/patience.py


def test_retries_share_one_timeout_and_a_cleared_task_begins_anew(
    airflow: RealAirflow, emulator: EmulatorServer
) -> None:
    tenant = emulator.tenant(TENANT)
    tenant.add_source("patience", "another")
    run = airflow.start_run("patience")
    path = f"/api/v2/dags/patience/dagRuns/{run}/taskInstances"

    def states() -> dict[str, str | None]:
        return airflow.states("patience", run)

    def tries(task: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = airflow.call("GET", f"{path}/{task}/tries")["task_instances"]
        return sorted(found, key=lambda each: int(each["try_number"]))

    def log(task: str, number: int) -> str:
        return str(airflow.call("GET", f"{path}/{task}/logs/{number}", params={"full_content": True}))

    airflow.wait_for(lambda: set(states().values()) == {"deferred"})
    time.sleep(LET_GO_SECONDS)
    emulator.faults.add("503", "GET", "*/sources/patience*", times=1000)
    try:
        airflow.wait_for(lambda: states()["tried_again"] == "up_for_retry")
    finally:
        emulator.faults.clear()
    # The error that the polls met is raised in the task, with what it was.
    assert "CommsMiningRetryable" in log("tried_again", 1)
    assert "ServerError" in log("tried_again", 1)

    airflow.wait_for(lambda: states()["limited"] == "failed")
    (limited,) = tries("limited")
    lasted = airflow.seconds_between(limited["start_date"], limited["end_date"])
    assert EXECUTION_TIMEOUT <= lasted < EXECUTION_TIMEOUT + 30
    assert "AirflowTaskTimeout" in log("limited", 1)

    airflow.wait_for(lambda: states()["tried_again"] == "failed", TIMEOUT + 30)
    first, second = tries("tried_again")
    lasted = airflow.seconds_between(first["start_date"], second["end_date"])
    assert TIMEOUT <= lasted < TIMEOUT + RETRY_DELAY
    assert "AirflowSensorTimeout" in log("tried_again", 2)

    clear = {"dry_run": False, "dag_run_id": run, "task_ids": ["tried_again"], "only_failed": False}
    airflow.call("POST", "/api/v2/dags/patience/clearTaskInstances", json=clear)
    airflow.wait_for(lambda: states()["tried_again"] == "deferred")
    time.sleep(LET_GO_SECONDS)
    held = tenant.add_source("patience", "late")
    airflow.wait_for(lambda: states()["tried_again"] == "success")
    assert airflow.returned("patience", run, "tried_again")["id"] == held["id"]
