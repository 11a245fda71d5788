"""Waits that outlive their triggerer."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_cm.sensors.sources import SourceSensor

with DAG("long_waits", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    SourceSensor.partial(
        task_id="wait",
        project="acme-dev",
        deferrable=True,
        poke_interval=1,
        timeout=300,
    ).expand(source_name=["late-0", "late-1", "late-2"])

    SourceSensor(
        task_id="give_up",
        project="acme-dev",
        source_name="never",
        deferrable=True,
        poke_interval=1,
        timeout=60,
    )
