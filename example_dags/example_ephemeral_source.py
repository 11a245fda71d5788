"""A source that lives only as long as the tasks that need it, as in an integration test of a pipeline.

What a reader learns here:

- Setup and teardown: the source is deleted even when the task in between fails, and the run still fails then.
- A name that is unique to the run, and ``if_exists="fail"``: the source is certain to be this run's own, so that the
  teardown can delete no other messages.
- The teardown deletes the id that the setup returned.
- ``CommsMiningHook`` reaches whatever the operators don't cover, with the same connection, retries and log lines.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cm.operators.sources import CreateSourceOperator, DeleteSourceOperator


def source_name_part(text: str) -> str:
    """Make a part of a source name from any text: a run id holds colons and a plus sign, which no name may."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)


with DAG(
    dag_id="example_ephemeral_source",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    params={"project": "acme-dev"},
    user_defined_filters={"source_name_part": source_name_part},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:
    create = CreateSourceOperator(
        task_id="create",
        project="{{ params.project }}",
        source_name="test-{{ run_id | source_name_part }}",
        if_exists="fail",
    )

    @task
    def check(source: dict[str, Any]) -> int:
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

        # Here a real pipeline would load messages, and look at what became of them.
        return CommsMiningHook().sources.message_count(source["owner"], source["name"])

    delete = DeleteSourceOperator(task_id="delete", source_id="{{ ti.xcom_pull('create')['id'] }}")

    checked = check(create.output)  # type: ignore[arg-type]  # an output stands for what the task will return
    create >> checked >> delete.as_teardown(setups=create)


if __name__ == "__main__":
    dag.test()
