"""A real Airflow: API server, scheduler, DAG processor and triggerer, on free ports of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from airflow_provider_cm.emulator import EmulatorServer
from tests.faults.proxy import FaultProxy
from tests.features import has
from tests.statsd import StatsD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
DAGS = Path(__file__).with_name("dags")
TENANT = "/acme/dev/reinfer_"
PROD = "/acme/prod/reinfer_"
PARALLELISM = 6
PROJECT_PAGES = "https://pages.example.com/acme/dev/reinfer_"
# Each scenario has a project of its own, whose requests can be counted.
PROJECTS = ("fan-in", "alone", "late", "expiring", "replaced", "satisfied", "two", "patience", "restart", "watched")

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


class RealAirflow:
    """A running Airflow, read and steered through its REST API only.

    :param url: of the API server.
    :param env: environment of its components.
    :param log: file that all components write to.
    """

    def __init__(self, url: str, env: dict[str, str], log: Path) -> None:
        self.url = url
        self.log = log
        self._env = env
        self._session = requests.Session()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, component: str, *arguments: str, name: str | None = None) -> None:
        """Start a component in a process group of its own.

        :param arguments: of its command.
        :param name: what to call this one, where there are several of a kind.
        """
        with self.log.open("a") as output:
            self._processes[name or component] = subprocess.Popen(
                [sys.executable, "-m", "airflow", component, *arguments],
                env=self._env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, component: str) -> None:
        """End a component with all its children at once, as a machine that fails does."""
        process = self._processes.pop(component)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def stop(self) -> None:
        for component in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._processes[component].pid, signal.SIGTERM)
        for component in list(self._processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[component].wait(timeout=5)
            self.kill(component)

    def process(self, component: str) -> psutil.Process:
        return psutil.Process(self._processes[component].pid)

    def rename(self, component: str, name: str) -> None:
        self._processes[name] = self._processes.pop(component)

    def jobs(self, job_type: str) -> list[dict[str, Any]]:
        """Give the components of a type that are alive."""
        found: list[dict[str, Any]] = self.call(
            "GET", "/api/v2/jobs", params={"job_type": job_type, "is_alive": "true", "job_state": "running"}
        )["jobs"]
        return found

    def dead(self) -> list[str]:
        return [component for component, process in self._processes.items() if process.poll() is not None]

    def log_in(self, user: str = "admin") -> None:
        passwords = json.loads((self.log.parent / "simple_auth_manager_passwords.json.generated").read_text())
        credentials = {"username": user, "password": passwords[user]}
        token = self._session.post(f"{self.url}/auth/token", json=credentials, timeout=10).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def answer(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}{path}", timeout=30, **kwargs)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        response = self.answer(method, path, **kwargs)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text[:1000]}"
        return response.json()

    def healthy(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            parts = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
            wanted = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all(parts[part]["status"] == "healthy" for part in wanted)
        return False

    def start_run(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        self.wait_for(lambda: dag_id in {dag["dag_id"] for dag in self.call("GET", "/api/v2/dags")["dags"]})
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
        run = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, params={"limit": 100, "offset": len(found), "order_by": "id"})
            found += page["task_instances"]
            if len(found) >= page["total_entries"]:
                return found

    def count(self, dag_id: str, run_id: str, state: str) -> int:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return int(self.call("GET", path, params={"state": state, "limit": 1})["total_entries"])

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            for task in self.tasks(dag_id, run_id)
        }

    @staticmethod
    def seconds_between(start: str, end: str) -> float:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

    def returned(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        return self.xcom(dag_id, run_id, task_id, "return_value", map_index)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]

    def pool(self) -> dict[str, Any]:
        pool: dict[str, Any] = self.call("GET", "/api/v2/pools/default_pool")
        return pool

    def wait_for(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"not within {seconds} s; the end of Airflow's log:\n{self.tail()}"
            time.sleep(0.5)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        tenant = server.tenant(TENANT)
        for project in PROJECTS:
            tenant.add_project(project)
        # These are watched from the beginning, and are there from the beginning.
        for name in ("settled", "touched", "holding"):
            tenant.add_source("watched", name)
        yield server


@pytest.fixture(scope="session")
def proxy(emulator: EmulatorServer) -> Iterator[FaultProxy]:
    with FaultProxy(int(emulator.url.rsplit(":", 1)[1])) as started:
        yield started


@pytest.fixture(scope="session")
def statsd() -> StatsD:
    return StatsD()


@pytest.fixture(scope="session")
def airflow(
    emulator: EmulatorServer, proxy: FaultProxy, statsd: StatsD, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(DAGS, dags, ignore=shutil.ignore_patterns("__pycache__"))
    examples = ["example_fan_in", "example_asset_watcher"]
    if has("approvals"):  # importing it stops the DAG processor of Airflow 3.0
        examples.append("example_dev_to_prod")
    for example in examples:
        shutil.copy(ROOT / f"example_dags/{example}.py", dags)
    hasten(dags / "example_fan_in.py", "POLL_EVERY = timedelta(seconds=30)", "POLL_EVERY = timedelta(seconds=2)")
    hasten(dags / "example_asset_watcher.py", "POLL_EVERY_SECONDS = 60.0", "POLL_EVERY_SECONDS = 2.0")
    settings = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        "AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(emulator.tenant(TENANT).connection("app")),
        "AIRFLOW_CONN_COMMS_MINING_PROD": json.dumps(
            emulator.tenant(PROD).connection("token")
            | {"extra": {"allowed_projects": "acme-prod", "allow_delete": False}}
        ),
        "AIRFLOW_CONN_WITH_PAGES": json.dumps(
            emulator.tenant(TENANT).connection("token") | {"extra": {"ui_url": PROJECT_PAGES}}
        ),
        "AIRFLOW_CONN_THROUGH_PROXY": json.dumps(
            {"conn_type": "comms_mining", "host": proxy.url + TENANT, "password": "emulator-admin"}
        ),
    }
    with real_airflow(home, dags, settings) as started:
        yield started


@contextlib.contextmanager
def real_airflow(
    home: Path, dags: Path, settings: dict[str, str], *, database: str | None = None
) -> Iterator[RealAirflow]:
    """Run an Airflow with all its components.

    :param home: its own folder.
    :param dags: folder of its DAGs.
    :param settings: environment variables beside those that every test needs, such as connections.
    :param database: URL for SQLAlchemy; a SQLite file in ``home`` by default.
    """
    api_port, trigger_port, worker_port = free_ports(3)
    url = f"http://127.0.0.1:{api_port}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # An asset is watched for DAGs only that are not paused.
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,somebody:admin",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(api_port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__ENABLE_XCOM_DESERIALIZE_SUPPORT": "True",  # Airflow 3.0 and 3.1 ask for it
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_port),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_port),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if database is not None:
        env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
    env |= settings
    started = RealAirflow(url, env, home / "airflow.log")
    with (home / "airflow.log").open("w") as output:
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], env=env, stdout=output, stderr=output, check=True
        )
    try:
        for component in COMPONENTS:
            started.start(component)
        started.wait_for(lambda: bool(started.dead()) or started.healthy(), seconds=180)
        assert not started.dead(), started.tail()
        started.log_in()
        yield started
    finally:
        started.stop()


def hasten(example: Path, unhurried: str, hasty: str) -> None:
    """Have an example poll as often as suits a test."""
    text = example.read_text()
    assert unhurried in text
    example.write_text(text.replace(unhurried, hasty))


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
