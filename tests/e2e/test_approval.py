"""A rollout that a person approves, as the example DAG has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import PROD, TENANT
from tests.features import needs

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow

pytestmark = [pytest.mark.e2e, needs("approvals")]

DAG = "example_dev_to_prod"
READING_SECONDS = 8
APPROVE: dict[str, Any] = {"chosen_options": ["Approve"], "params_input": {}}


def test_a_rollout_waits_for_the_right_person_and_does_what_was_shown(
    airflow: RealAirflow, emulator: EmulatorServer
) -> None:
    dev, prod = emulator.tenant(TENANT), emulator.tenant(PROD)
    nasty = "`</td>{{ conn.comms_mining_prod.password }} | ${x}"
    made = dev.add_source("acme-dev", "roll-inbox", title=nasty, sensitive_properties=["string:Sender"])
    run = airflow.start_run(DAG)
    airflow.wait_for(lambda: airflow.states(DAG, run)["approve"] in {"awaiting_input", "deferred"})
    assert prod.sources() == [], "nothing may be written before somebody has approved"

    answer = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    shown = airflow.call("GET", answer)
    assert shown["subject"] == "Roll out to acme-prod?"
    assert "roll-inbox" in shown["body"]
    assert airflow.xcom(DAG, run, "plan", "digest") in shown["body"]

    # Airflow fails a task whose answer comes before its scheduler has noted that the worker has let go of it; a person
    # reads for longer than that.
    time.sleep(READING_SECONDS)
    airflow.log_in("somebody")
    assert airflow.answer("PATCH", answer, json=APPROVE).status_code == 403
    airflow.log_in("admin")
    assert airflow.answer("PATCH", answer, json=APPROVE).status_code == 200

    airflow.wait_for(lambda: airflow.states(DAG, run)["verify"] in {"success", "failed", "upstream_failed"})
    assert set(airflow.states(DAG, run).values()) == {"success"}
    report = airflow.returned(DAG, run, "apply")
    assert report["counts"] == {"done": 1}
    (held,) = prod.sources()
    assert (held["owner"], held["name"], held["title"]) == ("acme-prod", "roll-inbox", nasty)
    assert held["sensitive_properties"] == ["string:Sender"]
    assert held["id"] != made["id"]

    # Somebody changes production, and clears the plan and the apply, but not the approval: nobody has seen this plan.
    assert airflow.returned(DAG, run, "approve") == airflow.xcom(DAG, run, "plan", "digest")
    prod.update_source("acme-prod", "roll-inbox", title="changed by hand")
    cleared = {"dag_run_id": run, "task_ids": ["plan", "apply"], "only_failed": False, "dry_run": False}
    airflow.call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=cleared)
    airflow.wait_for(lambda: airflow.states(DAG, run)["apply"] in {"success", "failed"})
    assert airflow.states(DAG, run)["approve"] == "success"
    assert airflow.states(DAG, run)["apply"] == "failed"
    assert airflow.returned(DAG, run, "approve") != airflow.xcom(DAG, run, "plan", "digest")
    (held,) = prod.sources()
    assert held["title"] == "changed by hand"
    prod.update_source("acme-prod", "roll-inbox", title=nasty)

    # Once more, with nothing left to do: nobody is asked.
    again = airflow.start_run(DAG)
    airflow.wait_for(lambda: airflow.states(DAG, again)["verify"] == "skipped")
    assert airflow.states(DAG, again)["approve"] == "skipped"
    dev.delete_source("acme-dev", "roll-inbox")
    prod.delete_source("acme-prod", "roll-inbox")
