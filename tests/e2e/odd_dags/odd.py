"""Everything that takes answers into Airflow's database: waits, tasks in workers, asset events and watchers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetAny, AssetWatcher

from airflow_provider_cm.assets import source_asset
from airflow_provider_cm.operators.rollout import ReconcileSourcesOperator
from airflow_provider_cm.operators.sources import GetSourceOperator, UpdateSourceOperator
from airflow_provider_cm.sensors.sources import SourceSensor
from airflow_provider_cm.triggers.sources import SourceTrigger

KINDS = ("surrogate", "nul", "integer", "nan", "timed")
CONNECTION: dict[str, Any] = {"comms_mining_conn_id": "odd"}
WAITING: dict[str, Any] = {
    "deferrable": True,
    "poke_interval": 1,
    "timeout": 60,
    "max_consecutive_failures": 2,
    "max_failure_seconds": 2,
    # Airflow fails a task that resumes before its scheduler has noted that the worker let go of it.
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}

with DAG("odd_waits", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    for kind in KINDS:
        SourceSensor(task_id=kind, project=f"waits-{kind}", source_name="awaited", **WAITING, **CONNECTION)

with DAG("innocent_wait", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    SourceSensor(task_id="wait", project="innocent", source_name="awaited", **WAITING | {"timeout": 300}, **CONNECTION)

with DAG("odd_tasks", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    for kind in KINDS:
        where: dict[str, Any] = {"project": f"tasks-{kind}", **CONNECTION}
        outlet = source_asset(f"tasks-{kind}", "read", comms_mining_conn_id="odd")
        GetSourceOperator(task_id=f"get_{kind}", source_name="read", outlets=[outlet], **where)
        UpdateSourceOperator(task_id=f"update_{kind}", source_name="updated", title="Odd, updated", **where)
        ReconcileSourcesOperator(
            task_id=f"reconcile_{kind}",
            manifest={"project": f"tasks-{kind}", "sources": [{"name": "reconciled", "title": "As wanted"}]},
            **CONNECTION,
        )

WATCHED = [
    source_asset(
        f"watched-{kind}",
        "watched",
        comms_mining_conn_id="odd",
        watchers=[
            AssetWatcher(
                name=kind,
                trigger=SourceTrigger(
                    project=f"watched-{kind}", source_name="watched", poll_interval=1, comms_mining_conn_id="odd"
                ),
            )
        ],
    )
    for kind in KINDS
]

with DAG(
    "odd_watched",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=AssetAny(*WATCHED),
    catchup=False,
    max_active_runs=1,
):
    EmptyOperator(task_id="nothing")
