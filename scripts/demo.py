"""``make demo``: a real Airflow provisions a source over real HTTP, and what happened is shown.

It starts the emulator on a free port of this machine, runs ``example_source_lifecycle`` with Airflow in a temporary
AIRFLOW_HOME, prints each task with its state and its HTTP calls, and the source before and after. Nothing is left
behind: the emulator is stopped, and the temporary folder removed. Exit code 1 if anything failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DAG_FILE = "example_dags/example_source_lifecycle.py"
DAG_ID = "example_source_lifecycle"
TENANT = "/acme/dev/reinfer_"
EXPECTED = ["create", "wait", "update", "get", "delete"]


def main() -> int:
    started = time.monotonic()
    # A terminated demo must stop the emulator too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-demo-") as home, emulator(Path(home)) as url:
        print(f"The emulator of Communications Mining listens on {url}; its tenant is {TENANT}.")
        print(f"Airflow {version('apache-airflow')} runs {DAG_FILE} ...\n")
        run = run_dag(Path(home), url)
        if run is None:
            return 1
        calls = requests.get(f"{url}/_emulator/requests", timeout=10).json()["requests"]
        left = requests.get(
            f"{url}{TENANT}/api/v1/sources/acme-dev", headers={"Authorization": "Bearer emulator-viewer"}, timeout=10
        ).json()["sources"]
        show_tasks(run["tasks"], calls)
        show_source(run["tasks"], left)
        problems = find_problems(run, left)
    if problems:
        print("\nThe demo FAILED: " + "; ".join(problems))
        return 1
    print(f"\nAll {len(EXPECTED)} tasks succeeded, in {time.monotonic() - started:.0f} s. The emulator is stopped.")
    return 0


@contextlib.contextmanager
def emulator(home: Path) -> Iterator[str]:
    """Run the emulator in a process group of its own, and stop it whatever happens."""
    with (home / "emulator.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_cm.emulator", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        first = process.stdout.readline() if process.stdout else ""
        if not first.startswith("listening on "):
            raise SystemExit(f"The emulator did not start: {(home / 'emulator.log').read_text()}")
        yield first.split()[-1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_dag(home: Path, url: str) -> dict[str, Any] | None:
    """Run the DAG with Airflow in another process, and give what became of it; ``None`` if Airflow itself failed."""
    connection = {
        "conn_type": "comms_mining",
        "host": f"{url}{TENANT}",
        "login": "emulator-app",
        "password": "emulator-secret",
    }
    # What the caller's shell says of Airflow must not reach the demo's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env |= {"AIRFLOW_HOME": str(home), "AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(connection)}
    (home / "orders.json").write_text(json.dumps([{"dag_id": DAG_ID}]))
    command = [sys.executable, str(ROOT / "scripts/run_dags.py"), str(ROOT / "example_dags")]
    with (home / "airflow.log").open("w") as log:
        ended = subprocess.run(
            [*command, str(home / "orders.json"), str(home / "results.json")],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode != 0 or not (home / "results.json").exists():
        print((home / "airflow.log").read_text()[-5000:])
        print("\nThe demo FAILED: Airflow's output is above.")
        return None
    result: dict[str, Any] = json.loads((home / "results.json").read_text())[0]
    if result["state"] != "success":
        print((home / "airflow.log").read_text()[-5000:])
    return result


def show_tasks(tasks: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    print(f"{'TASK':<8}{'STATE':<10}HTTP CALLS, AS THE EMULATOR RECEIVED THEM")
    for task in tasks:
        ended = task["ended"] or time.time()
        times = [(datetime.fromisoformat(call["at"]).timestamp(), call) for call in calls]
        mine = [call for at, call in times if task["started"] and task["started"] <= at <= ended]
        lines = [f"{call['method']:<7}{call['path']} -> {call['status']}" for call in mine] or ["none"]
        for number, line in enumerate(lines):
            print(f"{task['task_id'] if number == 0 else '':<8}{task['state'] if number == 0 else '':<10}{line}")


def show_source(tasks: list[dict[str, Any]], left: list[dict[str, Any]]) -> None:
    returned = {task["task_id"]: task["returned"] for task in tasks}
    before, after = returned.get("create") or {}, returned.get("get") or {}
    print("\nTHE SOURCE, as `create` returned it and as `get` read it after the update:")
    for field in before:
        change = "" if before[field] == after.get(field) else f"  ->  {json.dumps(after.get(field))}"
        print(f"  {field:<22}{json.dumps(before[field])}{change}")
    print(f"\nAfter `delete` the project holds {len(left)} sources.")


def find_problems(run: dict[str, Any], left: list[dict[str, Any]]) -> list[str]:
    states = {task["task_id"]: task["state"] for task in run["tasks"]}
    problems = [f"task {name} is {states.get(name, 'missing')}" for name in EXPECTED if states.get(name) != "success"]
    if left:
        problems.append(f"{len(left)} sources are left")
    return problems


if __name__ == "__main__":
    sys.exit(main())
