"""Run DAGs of a folder with ``dag.test()``, one after the other in one process, and write down what became of them.

Usage: ``run_dags.py DAGS_FOLDER ORDERS RESULTS``. ORDERS is a JSON file with a list of objects ``{"dag_id": ...,
"conf": {...}, "env": {...}}``; RESULTS gets a list with the state of each run, and of each of its tasks the state, the
times and the returned value. Airflow's log goes to the standard output. AIRFLOW_HOME is to be set by the caller; the
database is made when it is missing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(dags_folder: str, orders_file: str, results_file: str) -> None:
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = dags_folder
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    orders: list[dict[str, Any]] = json.loads(Path(orders_file).read_text())

    from airflow.utils.db import initdb

    if not (Path(os.environ["AIRFLOW_HOME"]) / "airflow.db").exists():
        initdb()
    dags = load_dags(dags_folder)
    results = []
    for order in orders:
        os.environ.update(order.get("env", {}))
        dag_run = dags[order["dag_id"]].test(run_conf=order.get("conf"))
        results.append({"dag_id": order["dag_id"], "state": str(dag_run.state.value), "tasks": describe_tasks(dag_run)})
        Path(results_file).write_text(json.dumps(results))


def load_dags(dags_folder: str) -> dict[str, Any]:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # where it was before Airflow 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    bag = DagBag(dags_folder)
    if bag.import_errors:
        raise SystemExit(f"These DAG files could not be imported: {bag.import_errors}")
    return dict(bag.dags)


def describe_tasks(dag_run: Any) -> list[dict[str, Any]]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(XComModel).where(
            XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == "return_value"
        )
        returned = {(row.task_id, row.map_index): XComModel.deserialize_value(row) for row in session.scalars(query)}
    return [
        {
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "state": ti.state,
            "started": ti.start_date.timestamp() if ti.start_date else None,
            "ended": ti.end_date.timestamp() if ti.end_date else None,
            "returned": returned.get((ti.task_id, ti.map_index)),
        }
        for ti in sorted(dag_run.get_task_instances(), key=lambda ti: (ti.start_date is None, ti.start_date))
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
