"""A rollout whose task is marked as failed in the midst of it: nothing more is begun, and the report is left."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import TENANT
from tests.features import has

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow

pytestmark = pytest.mark.e2e

DAG, TASK = "stopping", "reconcile"


def test_a_rollout_that_is_marked_as_failed_stops_and_says_what_it_has_done(
    airflow: RealAirflow, emulator: EmulatorServer
) -> None:
    tenant = emulator.tenant(TENANT)

    def made() -> set[str]:
        return {each["name"] for each in tenant.sources() if each["name"].startswith("stopping-")}

    def report(run: str) -> dict[str, Any]:
        with contextlib.suppress(AssertionError):  # there is no XCom yet
            return dict(airflow.returned(DAG, run, TASK)["report"])
        return {"problem": "", "counts": {}}

    emulator.configure(latency_ms=200)
    try:
        run = airflow.start_run(DAG)
        airflow.wait_for(lambda: len(made()) >= 6)
        # From before the first write on there is a report, should the worker be killed.
        assert report(run)["counts"] == {"unknown": 300}
        path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/{TASK}"
        airflow.call("PATCH", path, json={"new_state": "failed"})
        airflow.wait_for(lambda: "the task was stopped" in report(run)["problem"])
        stopped = made()
        time.sleep(3)
        assert made() == stopped
        left = report(run)
        assert left["counts"] == {"done": len(stopped), "skipped": 300 - len(stopped)}
        assert {each["name"] for each in left["outcomes"] if each["result"] == "done"} == stopped
        assert airflow.states(DAG, run)[TASK] == "failed"
    finally:
        emulator.configure(latency_ms=0)

    # Cleared, it finishes, and hands on what the first try has done.
    cleared = {"dag_run_id": run, "task_ids": [TASK], "only_failed": False, "dry_run": False}
    airflow.call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=cleared)
    airflow.wait_for(lambda: airflow.states(DAG, run)[TASK] == "success")
    result = airflow.returned(DAG, run, TASK)
    assert result["report"]["counts"] == {"done": 300 - len(stopped)}
    if has("retry policies"):
        (earlier,) = result["earlier_tries"]
        assert set(earlier["written"]["done"]) == stopped
    for each in made():
        tenant.delete_source("acme-dev", each)
