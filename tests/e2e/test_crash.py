"""Workers that are killed with SIGKILL, and what is true afterwards; for triggerers see test_watching."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.conftest import TENANT

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.e2e.conftest import RealAirflow
    from tests.faults.proxy import FaultProxy, Seen

pytestmark = pytest.mark.e2e

# When a worker dies: before a request arrives, after the server has acted on it, or before the result is an XCom.
POINTS = [
    "create before GET",
    "create after GET",
    "create before PUT",
    "create after PUT",
    "create before XCom",
    "update before POST",
    "update after POST",
    "update before XCom",
    "delete before DELETE",
    "delete after DELETE",
    "delete before XCom",
]


def test_a_killed_worker_is_retried_to_the_right_state_and_result(
    airflow: RealAirflow, emulator: EmulatorServer, proxy: FaultProxy
) -> None:
    names = {point: point.replace(" ", "-") for point in POINTS}
    ids: dict[str, str] = {}
    pending = {point for point in POINTS if not point.endswith("XCom")}
    killed: list[str] = []

    def kill_worker(when: str, seen: Seen, client_port: int) -> bool:
        for change in emulator.changes:
            if change.action == "create" and change.after:
                ids[change.after.id] = change.after.name
        last = seen.path.rsplit("/", 1)[-1]
        name = ids.get(last.removeprefix("id:"), last)
        for point in sorted(pending):
            if point.endswith(f"{when} {seen.method}") and names[point] == name:
                pending.remove(point)
                killed.append(point)
                os.kill(pid_of(client_port), signal.SIGKILL)
                return True
        return False

    proxy.watch = kill_worker
    try:
        runs = {point: airflow.start_run("crash", {"name": name, "kill": point}) for point, name in names.items()}
        finished = {"success", "failed", "upstream_failed"}
        airflow.wait_for(
            lambda: all(airflow.states("crash", run).get("delete") in finished for run in runs.values()), seconds=240
        )
    finally:
        proxy.watch = None

    assert sorted(killed) == sorted(point for point in POINTS if not point.endswith("XCom"))
    for point, run in runs.items():
        states = airflow.states("crash", run)
        assert set(states.values()) == {"success"}, f"{point}: {states}"
        tries = {task["task_id"]: task["try_number"] for task in airflow.tasks("crash", run)}
        struck = point.split()[0]
        assert tries == {task: 2 if task == struck else 1 for task in ("create", "update", "delete")}, point
        created = airflow.returned("crash", run, "create")
        assert created["name"] == names[point]
        assert airflow.returned("crash", run, "update")["title"] == "after"
        assert airflow.returned("crash", run, "update")["sensitive_properties"] == ["string:x"]
        gone_before = point in {"delete after DELETE", "delete before XCom"}
        # The retry found nothing to delete, and says so; it cannot know that it was its own first try.
        expected = {"source_id": created["id"], "deleted": not gone_before}
        assert airflow.returned("crash", run, "delete") == expected, point
        # On the server: one source was made, and that one is gone.
        actions = [
            change.action
            for change in emulator.changes
            if names[point] in {each.name for each in (change.before, change.after) if each}
        ]
        assert actions.count("create") == 1, point
        assert actions.count("delete") == 1, point
    left = {source["name"] for source in emulator.tenant(TENANT).sources()}
    assert not left & set(names.values())


def pid_of(client_port: int) -> int:
    """Find the process that holds the client's end of a connection."""
    for connection in psutil.net_connections("tcp"):
        if (
            getattr(connection.laddr, "port", None) == client_port
            and connection.pid
            and connection.status == "ESTABLISHED"
        ):
            return int(connection.pid)
    raise AssertionError(f"nobody has port {client_port}")
