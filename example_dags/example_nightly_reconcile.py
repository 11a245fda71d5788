"""Sources kept as the rows of a database table say, every night.

What a reader learns here:

- A manifest can be made by any task: here from rows, read through an Airflow connection like any others.
- An empty table is refused. Somebody's broken load must not read as "nobody wants a source any more".
- ``max_active_runs=1``: two runs that change the same project at once would only tread on each other's toes.
- The connection carries guards (``allowed_projects``, ``allow_delete``), so that a mistake in the table cannot reach
  further than it should.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cm.operators.rollout import ReconcileSourcesOperator

with DAG(
    dag_id="example_nightly_reconcile",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    params={"project": "acme-dev"},
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:

    @task
    def manifest() -> dict[str, Any]:
        from airflow.exceptions import AirflowFailException
        from airflow.providers.common.compat.sdk import BaseHook

        rows = BaseHook.get_hook("mailboxes").get_records("SELECT name, title FROM mailbox ORDER BY name")
        if not rows:
            raise AirflowFailException("The table mailbox is empty, which is taken for a mistake: nothing was changed.")
        # Texts from a database are data: a "${" in one of them must not be taken for a variable.
        sources = [{"name": name, "title": title.replace("${", "$${")} for name, title in rows]
        return {"project": "${project}", "defaults": {"language": "en"}, "sources": sources}

    ReconcileSourcesOperator(
        task_id="reconcile",
        manifest=manifest(),
        variables={"project": "{{ params.project }}"},
        comms_mining_conn_id="comms_mining_guarded",
    )


if __name__ == "__main__":
    dag.test()
