"""docs/retries.md is true: its DAG, run by Airflow's own task runner, waits as the server told."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api.retry import RetryPolicy
from tests.features import needs
from tests.integration.test_example_dags import ROOT, UIPATH, order, run_dags

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = [pytest.mark.integration, needs("retry policies")]

PAGE = (ROOT / "docs" / "retries.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# What has no operator around it: the client's own errors reach the policy.
RAW = """
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.retry_policy import CommsMiningRetryPolicy

with DAG("raw_hook", schedule=None):

    @task(retries=4, retry_delay=timedelta(seconds=1), retry_policy=CommsMiningRetryPolicy())
    def look() -> None:
        CommsMiningHook().sources.get("acme-dev", "missing")

    look()
"""


def one_attempt(server: EmulatorServer, dag_id: str) -> dict[str, Any]:
    made = order(server, dag_id)
    name = "AIRFLOW_CONN_COMMS_MINING_DEFAULT"
    made["env"][name] = made["env"][name].replace('"extra": {', '"extra": {"max_attempts": 1')
    assert '"max_attempts": 1}' in made["env"][name]
    return made


def test_its_dag_waits_as_the_server_told(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (text,) = BLOCKS
    (dags / "patient_create.py").write_text(text)
    (dags / "raw_hook.py").write_text(RAW)
    tenant = comms_mining_emulator.tenant(UIPATH)
    comms_mining_emulator.faults.add("429", "GET", "*/support-inbox", retry_after=2)

    create, raw = run_dags(
        tmp_path, dags, [one_attempt(comms_mining_emulator, name) for name in ("patient_create", "raw_hook")]
    )

    assert create["state"] == "success", create
    assert [source["name"] for source in tenant.sources()] == ["support-inbox"]
    # Without the policy the second try would have come 300 s later.
    first, second = tries(tmp_path, "patient_create")
    assert (first["state"], second["state"]) == ("failed", "success")
    assert (first["retry_delay_override"], first["retry_reason"]) == (2, "waiting 2 s, as the server asks")
    assert 2 <= seconds_between(first["end_date"], second["start_date"]) < 30

    assert raw["state"] == "failed", raw
    assert [each["state"] for each in tries(tmp_path, "raw_hook")] == ["failed"], "a 404 is not tried again"


def tries(home: Path, dag_id: str) -> list[dict[str, Any]]:
    """Give the tries of the only task of the only run, as Airflow keeps them."""
    found: list[dict[str, Any]] = []
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        database.row_factory = sqlite3.Row
        for table in ("task_instance_history", "task_instance"):
            found += map(dict, database.execute(f"SELECT * FROM {table} WHERE dag_id = ?", [dag_id]))
    return sorted(found, key=lambda each: int(each["try_number"]))


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def test_its_figures_are_those_of_the_code() -> None:
    from airflow_provider_cm.retry_policy import CommsMiningRetryPolicy

    call, policy = RetryPolicy(), CommsMiningRetryPolicy()
    assert f"{call.max_attempts} attempts or {call.max_seconds} s" in PAGE
    assert "`longest` (one hour by default)" in PAGE
    assert "`base` (one minute by default)" in PAGE
    assert (policy.longest.total_seconds(), policy.base.total_seconds()) == (3600, 60)
