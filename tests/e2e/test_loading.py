"""Loads whose worker is killed with SIGKILL: a retry sends what is left, and a task that is cleared everything."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import TENANT
from tests.e2e.test_crash import pid_of
from tests.features import has

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow
    from tests.faults.proxy import FaultProxy, Seen

pytestmark = pytest.mark.e2e

DAG, BATCHES, ROWS = "loading", 80, 2000
IN_DOUBT = 38  # the worker dies with this batch on its way, and 37 acknowledged


def test_a_killed_load_goes_on_where_it_was(airflow: RealAirflow, emulator: EmulatorServer, proxy: FaultProxy) -> None:
    tenant = emulator.tenant(TENANT)
    runs: dict[str, str] = {}
    batches = {"load-before": 0, "load-after": 0, "load-changed": 0}
    killed: set[str] = set()

    def kill_worker(when: str, seen: Seen, client_port: int) -> bool:
        if not seen.path.endswith("/sync"):
            return False
        name = seen.path.split("/")[-2]
        batches[name] += when == "before"
        deadly = "after" if name == "load-after" else "before"
        if name in killed or when != deadly or batches[name] != IN_DOUBT:
            return False
        killed.add(name)
        os.kill(pid_of(client_port), signal.SIGKILL)
        return True

    before = tenant.bill.ai_units
    proxy.watch = kill_worker
    try:
        for name in batches:
            runs[name] = airflow.start_run(DAG, {"name": name, "change": name == "load-changed"})
        airflow.wait_for(
            lambda: all(airflow.states(DAG, run).get("load") in {"success", "failed"} for run in runs.values()),
            seconds=240,
        )
        assert killed == set(batches)
        for name, run in runs.items():
            assert airflow.states(DAG, run)["load"] == "success", name
            stored = {each["id"] for each in tenant.messages("acme-dev", name)}
            report = airflow.returned(DAG, run, "load")
            if name == "load-changed":
                # A row in front of all others: not one is taken for loaded.
                assert stored == {"m-new", *(f"m-{n}" for n in range(ROWS))}
                assert batches[name] == IN_DOUBT + BATCHES + 1
                assert report["resumed_at_row"] in {None, 0}
                continue
            assert stored == {f"m-{n}" for n in range(ROWS)}
            assert report["rows"] == ROWS
            if has("resumed loads"):
                assert batches[name] == BATCHES + 1, name  # the one in doubt is sent again
                assert report["resumed_at_row"] == (IN_DOUBT - 1) * 25
                assert report["new"] == ROWS - (25 if name == "load-after" else 0)
                assert report["replayed"]
        assert tenant.bill.ai_units - before == 3 * ROWS + 1

        cleared = {"dag_run_id": runs["load-before"], "task_ids": ["load"], "only_failed": False, "dry_run": False}
        airflow.call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=cleared)
        airflow.wait_for(lambda: batches["load-before"] > BATCHES + 1)
        airflow.wait_for(lambda: airflow.states(DAG, runs["load-before"])["load"] == "success")
    finally:
        proxy.watch = None
    report = airflow.returned(DAG, runs["load-before"], "load")
    assert batches["load-before"] == BATCHES + 1 + BATCHES
    assert (report["unchanged"], report["billable"], report["resumed_at_row"]) == (ROWS, 0, None)
    assert tenant.bill.ai_units - before == 3 * ROWS + 1
