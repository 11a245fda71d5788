"""From a development tenant to production: export, plan, approve, apply, verify. Airflow 3.1 or later.

What a reader learns here:

- The export of the development project is the manifest; planning it on the production connection shows what would
  change there. Ids never travel: only names and settings do.
- A person sees the plan in the web interface, and approves it. Only the users named in ``assigned_users`` may answer.
- ``ApproveSourcesOperator`` returns the digest of the plan that it has shown, and ``approved_digest`` ties the apply to
  that plan: a plan that was recreated in the meantime is refused. What somebody changed in production since is left
  alone, and named in the report.
- In real life the export is committed and reviewed between the two halves; here it goes straight on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_cm.operators.approval import ApproveSourcesOperator
from airflow_provider_cm.operators.rollout import (
    ApplySourcesOperator,
    ExportSourcesOperator,
    PlanSourcesOperator,
    ReconcileSourcesOperator,
)

PROD = "comms_mining_prod"

with DAG(
    dag_id="example_dev_to_prod",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    max_active_runs=1,
    params={"from_project": "acme-dev", "to_project": "acme-prod"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:
    export = ExportSourcesOperator(
        task_id="export",
        project="{{ params.from_project }}",
        variables={"project": "{{ params.from_project }}"},
    )

    plan = PlanSourcesOperator(
        task_id="plan",
        manifest=export.output,
        variables={"project": "{{ params.to_project }}"},
        comms_mining_conn_id=PROD,
        skip_if_no_changes=True,
    )

    approve = ApproveSourcesOperator(
        task_id="approve",
        plan=plan.output,
        subject="Roll out to {{ params.to_project }}?",
        assigned_users={"id": "admin", "name": "admin"},
        fail_on_reject=True,
    )

    apply = ApplySourcesOperator(
        task_id="apply",
        plan=plan.output,
        approved_digest=approve.output,
        comms_mining_conn_id=PROD,
    )

    verify = ReconcileSourcesOperator(
        task_id="verify",
        manifest=export.output,
        variables={"project": "{{ params.to_project }}"},
        on_drift="fail",
        comms_mining_conn_id=PROD,
    )

    plan >> approve >> apply >> verify


if __name__ == "__main__":
    dag.test()
