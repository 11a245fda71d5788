"""A handful of sources from a list, by dynamic task mapping.

What a reader learns here:

- One operator makes any number of sources: ``expand_kwargs`` turns each entry of a list into a task instance of its
  own, with its own log, retries and state.
- The list can come from anywhere that a task can read: here a Python task, in real life a database or a file.
- ``ListSourcesOperator`` returns plain dicts, made to be mapped over in turn.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cm.operators.sources import CreateSourceOperator, ListSourcesOperator

with DAG(
    dag_id="example_mapped_sources",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    params={"project": "acme-dev"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:

    @task
    def surveys() -> list[dict[str, Any]]:
        countries = {"de": "Germany", "fr": "France", "uk": "United Kingdom"}
        return [{"source_name": f"survey-{code}", "title": f"Survey {name}"} for code, name in countries.items()]

    # At most two at a time, to be kind to the API; a pool does the same across DAGs.
    create = CreateSourceOperator.partial(
        task_id="create",
        project="{{ params.project }}",
        should_translate=True,
        max_active_tis_per_dagrun=2,
    ).expand_kwargs(surveys())

    find = ListSourcesOperator(task_id="find", project="{{ params.project }}", name_pattern="survey-*")

    @task
    def describe(source: dict[str, Any]) -> str:
        return f"{source['owner']}/{source['name']}: {source['title']}"

    create >> find
    describe.expand(source=find.output)


if __name__ == "__main__":
    dag.test()
