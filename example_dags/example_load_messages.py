"""Messages into a source, from a CSV file and from a SQL table: created, loaded, waited for, counted, and the bill.

What a reader learns here:

- A mapping says which columns make up a message. It is data: in a file next to the DAG, or in the DAG itself.
- The id of a message comes from the data (``ticket-{ticket_id}``). So a task that is retried or cleared sends the same
  messages again, and is billed for none of them twice.
- A row that cannot be loaded fails the task, after the good rows were loaded; ``rejects_path`` lists such rows.
- ``max_billable`` stops a load before it costs more than somebody agreed to.
- With ``key`` a table is read in pages, so that memory is bounded whatever the database's driver does.

Besides ``comms_mining_default`` it needs a connection ``survey_db`` to a database: SQLite will do. The first task makes
the table there.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, task

from airflow_provider_cm.operators.sources import CreateSourceOperator
from airflow_provider_cm.sensors.sources import SourceSensor
from airflow_provider_cm.transfers.files_to_comms_mining import FilesToCommsMiningOperator
from airflow_provider_cm.transfers.sql_to_comms_mining import SqlToCommsMiningOperator

SOURCE: dict[str, Any] = {"project": "{{ params.project }}", "source_name": "{{ params.source_name }}"}

with DAG(
    dag_id="example_load_messages",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    params={"project": "acme-dev", "source_name": "tickets"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:
    create = CreateSourceOperator(task_id="create", **SOURCE, title="Tickets and surveys", language="en")

    make_table = SQLExecuteQueryOperator(
        task_id="make_table", conn_id="survey_db", sql="messages/surveys.sql", split_statements=True
    )

    load_tickets = FilesToCommsMiningOperator(
        task_id="load_tickets",
        **SOURCE,
        path=str(Path(__file__).parent / "messages" / "tickets.csv"),
        format="csv",
        mapping="messages/tickets.yaml",
        max_billable=100,
    )

    load_surveys = SqlToCommsMiningOperator(
        task_id="load_surveys",
        **SOURCE,
        sql_conn_id="survey_db",
        sql="SELECT answer_id, answered_at, comment, score, country FROM survey",
        key="answer_id",
        mapping={
            "id": "survey-{answer_id}",
            "timestamp": "{answered_at}",
            "body": "{comment}",
            "properties": {"Score": "{score}", "Country": "{country}"},
        },
        max_billable=100,
    )

    wait = SourceSensor(
        task_id="wait",
        **SOURCE,
        until="has_messages",
        min_messages=18,
        deferrable=True,
        poke_interval=10,
        timeout=600,
    )

    @task
    def print_bill(tickets: dict[str, Any], surveys: dict[str, Any], counted: dict[str, Any]) -> dict[str, float]:
        """Add the two reports up."""
        bill = {
            "messages": counted["num_comments"],
            "billable": tickets["billable"] + surveys["billable"],
            "ai_units": tickets["ai_units"] + surveys["ai_units"],
            "platform_units": tickets["platform_units"] + surveys["platform_units"],
        }
        log = logging.getLogger(__name__)
        log.info(
            "%(messages)d messages, %(billable)d billed: %(ai_units)g AI or %(platform_units)g Platform units", bill
        )
        return bill

    create >> [load_tickets, make_table]
    make_table >> load_surveys
    [load_tickets, load_surveys] >> wait
    # An output stands for the value that the task will return.
    print_bill(load_tickets.output, load_surveys.output, wait.output)  # type: ignore[arg-type]


if __name__ == "__main__":
    dag.test()
