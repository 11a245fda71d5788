"""Waits that a run's conf describes: ``{"waits": [{<arguments of a SourceSensor>}, ...]}``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cm.sensors.sources import SourceSensor

with DAG("waits", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False, max_active_runs=20):

    @task
    def wanted(dag_run: Any = None) -> list[dict[str, Any]]:
        waits: list[dict[str, Any]] = dag_run.conf["waits"]
        return waits

    SourceSensor.partial(task_id="wait", deferrable=True).expand_kwargs(wanted())
