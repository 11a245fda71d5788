"""The rollout that ``make demo`` shows: a development tenant to production, then drift, found and healed.

As in ``example_dags/example_dev_to_prod.py``, without the approval that somebody would have to give.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cm.operators.rollout import (
    ApplySourcesOperator,
    ExportSourcesOperator,
    PlanSourcesOperator,
    ReconcileSourcesOperator,
)
from airflow_provider_cm.operators.sources import CreateSourceOperator, DeleteSourceOperator, UpdateSourceOperator

PROD: dict[str, Any] = {"comms_mining_conn_id": "comms_mining_prod"}

with DAG("demo_rollout", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    develop = CreateSourceOperator.partial(task_id="develop", project="acme-dev").expand_kwargs(
        [
            {"source_name": "support-inbox", "title": "Support inbox", "sensitive_properties": ["string:Sender"]},
            {"source_name": "survey-2026", "title": "Survey 2026"},
        ]
    )
    export = ExportSourcesOperator(task_id="export", project="acme-dev", variables={"project": "acme-dev"})

    @task
    def review(manifest: str) -> str:
        """Stand in for the people who review the export: they also want to hear of it when a source vanishes."""
        return manifest.replace("    title:", "    must_exist: ${exists}\n    title:")

    reviewed: Any = review(export.output)  # type: ignore[arg-type]  # an output stands for what the task will return
    first = {**PROD, "variables": {"project": "acme-prod", "exists": False}}
    later = {**PROD, "variables": {"project": "acme-prod", "exists": True}}
    plan = PlanSourcesOperator(task_id="plan", manifest=reviewed, **first)
    apply = ApplySourcesOperator(task_id="apply", plan=plan.output, **PROD)
    by_hand = UpdateSourceOperator(
        task_id="change_by_hand", project="acme-prod", source_name="survey-2026", title="Oops", **PROD
    )
    heal = ReconcileSourcesOperator(task_id="heal", manifest=reviewed, **later)
    remove = DeleteSourceOperator(task_id="delete_by_hand", project="acme-prod", source_name="support-inbox", **PROD)
    look = ReconcileSourcesOperator(task_id="look", manifest=reviewed, on_drift="report", **later)

    develop >> export
    apply >> by_hand >> heal >> remove >> look
