"""A rollout that takes half a minute, so that somebody can end its task in the midst of it."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_cm.operators.rollout import ReconcileSourcesOperator

with DAG("stopping", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    ReconcileSourcesOperator(
        task_id="reconcile",
        manifest={"project": "acme-dev", "sources": [{"name": f"stopping-{number:03}"} for number in range(300)]},
        max_workers=2,
    )
