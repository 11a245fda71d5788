"""A nightly look whether a project is still as its reviewed manifest says.

What a reader learns here:

- The manifest is a file next to the DAG, reviewed like code. Jinja never renders it; what differs between projects and
  tenants comes from ``variables``.
- ``on_drift="fail"`` changes nothing: it fails with the difference in its message, so that the usual alerts carry it.
- Nothing to report is one request, however many sources there are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_cm.operators.rollout import ReconcileSourcesOperator

with DAG(
    dag_id="example_drift_check",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule="@daily",
    catchup=False,
    params={"project": "acme-dev", "on_drift": "fail"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:
    ReconcileSourcesOperator(
        task_id="compare",
        manifest_file="manifests/acme.yaml",
        variables={"project": "{{ params.project }}"},
        on_drift="{{ params.on_drift }}",
        max_active_tis_per_dag=1,
    )


if __name__ == "__main__":
    dag.test()
