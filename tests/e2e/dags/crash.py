"""Tasks whose worker process is killed at a certain point of their first try."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_cm.operators.sources import CreateSourceOperator, DeleteSourceOperator, UpdateSourceOperator


class KilledBeforeXCom:
    """Dies when the work is done and before its result is handed to Airflow, if the run's conf says so."""

    def execute(self, context: Any) -> Any:
        result = super().execute(context)  # type: ignore[misc]  # of the operator that this is mixed into
        wanted = context["dag_run"].conf["kill"] == f"{context['ti'].task_id} before XCom"
        if wanted and context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class Create(KilledBeforeXCom, CreateSourceOperator):
    pass


class Update(KilledBeforeXCom, UpdateSourceOperator):
    pass


class Delete(KilledBeforeXCom, DeleteSourceOperator):
    pass


with DAG(
    "crash",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
    max_active_runs=20,
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=1),
        "comms_mining_conn_id": "through_proxy",
    },
):
    name: dict[str, Any] = {"project": "acme-dev", "source_name": "{{ dag_run.conf['name'] }}"}
    create = Create(task_id="create", title="before", **name)
    update = Update(task_id="update", title="after", sensitive_properties=["string:x"], **name)
    delete = Delete(task_id="delete", source_id="{{ ti.xcom_pull('create')['id'] }}")
    create >> update >> delete
