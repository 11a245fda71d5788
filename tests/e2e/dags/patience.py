"""Waits that Airflow's own arguments end: one that is tried again, and one whose execution has a time limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_cm.sensors.sources import SourceSensor

with DAG("patience", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    SourceSensor(
        task_id="tried_again",
        project="patience",
        source_name="late",
        deferrable=True,
        poke_interval=2,
        timeout=75,
        max_consecutive_failures=2,
        max_failure_seconds=0,
        retries=1,
        retry_delay=timedelta(seconds=20),
    )
    SourceSensor(
        task_id="limited",
        project="patience",
        source_name="never",
        deferrable=True,
        poke_interval=2,
        timeout=300,
        max_consecutive_failures=1000,
        execution_timeout=timedelta(seconds=30),
    )
