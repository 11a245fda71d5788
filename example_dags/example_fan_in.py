"""Two hundred waits for the price of one: sensors of one project, by dynamic task mapping.

What a reader learns here:

- ``expand`` turns each name of a list into a sensor of its own, with its own log, timeout and state.
- All of them wait in the triggerer, where those with the same connection, project and interval share one poll: one
  request an interval, for one as for two hundred (Airflow 3.3 and later).
- ``end_from_trigger=True`` ends them there too. Otherwise each would need a worker once more, only to end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_cm.operators.sources import ListSourcesOperator
from airflow_provider_cm.sensors.sources import SourceSensor

POLL_EVERY = timedelta(seconds=30)

with DAG(
    dag_id="example_fan_in",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    params={"project": "acme-dev", "mailboxes": Param(200, type="integer", minimum=1)},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:

    @task
    def names(params: Any = None) -> list[str]:
        return [f"mailbox-{number:03}" for number in range(params["mailboxes"])]

    wait = SourceSensor.partial(
        task_id="wait",
        project="{{ params.project }}",
        deferrable=True,
        end_from_trigger=True,
        poke_interval=POLL_EVERY,
        timeout=timedelta(hours=12),
    ).expand(source_name=names())

    # Airflow hands a task as JSON text what a trigger has returned, so this looks for itself.
    wait >> ListSourcesOperator(task_id="all_there", project="{{ params.project }}", name_pattern="mailbox-*")


if __name__ == "__main__":
    dag.test()
