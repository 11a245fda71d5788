"""A load of 80 batches, whose worker is killed in the midst of it; the killer sits in the proxy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, task

from airflow_provider_cm.operators.sources import CreateSourceOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS: dict[str, Any] = {
    "project": "acme-dev",
    "source_name": "{{ dag_run.conf['name'] }}",
    "comms_mining_conn_id": "through_proxy",
}

with DAG(
    "loading",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    max_active_runs=20,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
):
    create = CreateSourceOperator(task_id="create", title="Loaded", **ADDRESS)

    @task.load_messages(
        batch_size=25,
        mapping={"id": "m-{n}", "timestamp": "{at}", "body": "{text}"},
        **ADDRESS,
    )
    def load(dag_run: Any = None, ti: Any = None) -> Iterator[dict[str, Any]]:
        change = dag_run.conf.get("change") and ti.try_number > 1
        if change:
            yield {"n": "new", "at": "2026-01-05T09:00:00Z", "text": "new in front"}
        for n in range(2000):
            yield {"n": n, "at": "2026-01-05T09:00:00Z", "text": f"the text of number {n}"}

    create >> load()
