"""The life of a source: create it, wait for it, change it, read it, delete it.

What a reader learns here:

- A DAG needs a connection (``comms_mining_default``) and nothing else: no curl, no token in a command line.
- ``CreateSourceOperator`` may run again, because a task was retried or cleared: a source that already has the
  requested fields is a success, and one that differs is an error that names the difference.
- A deferrable sensor waits in the triggerer and holds no worker slot while it does.
- What is deleted is the id that the create returned. A name can be somebody's new source by the time a retry runs, and
  deleting a source destroys its messages.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_cm.operators.sources import (
    CreateSourceOperator,
    DeleteSourceOperator,
    GetSourceOperator,
    UpdateSourceOperator,
)
from airflow_provider_cm.sensors.sources import SourceSensor

with DAG(
    dag_id="example_source_lifecycle",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    params={"project": "acme-dev", "source_name": "support-inbox"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:
    create = CreateSourceOperator(
        task_id="create",
        project="{{ params.project }}",
        source_name="{{ params.source_name }}",
        title="Support inbox",
        description="Mails to support@acme.example",
        language="en",
    )

    wait = SourceSensor(
        task_id="wait",
        project="{{ params.project }}",
        source_name="{{ params.source_name }}",
        deferrable=True,
        poke_interval=10,
        timeout=300,
    )

    update = UpdateSourceOperator(
        task_id="update",
        project="{{ params.project }}",
        source_name="{{ params.source_name }}",
        title="Support inbox (EMEA)",
        sensitive_properties=["string:Sender"],
    )

    get = GetSourceOperator(task_id="get", source_id="{{ ti.xcom_pull('create')['id'] }}")

    delete = DeleteSourceOperator(task_id="delete", source_id="{{ ti.xcom_pull('create')['id'] }}")

    create >> wait >> update >> get >> delete


if __name__ == "__main__":
    dag.test()
