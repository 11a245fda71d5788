"""``make demo``: a real Airflow provisions sources over real HTTP, and prints what happened.

It starts the emulator on a free port of this machine, runs ``example_source_lifecycle``, ``example_load_messages`` and
a rollout from a development tenant to production with Airflow in a temporary AIRFLOW_HOME, and prints each task with
its state and its HTTP calls, the source before and after, the loads and their bill, the plan, the report, and the drift
that was found. Nothing is left behind: the emulator is stopped, and the temporary folder removed. Exit code 1 if
anything failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
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
LOAD_FILE = "example_dags/example_load_messages.py"
LOAD_DATA = "example_dags/messages"
ROLLOUT_FILE = "scripts/dags/demo_rollout.py"
TENANT = "/acme/dev/reinfer_"
PROD = "/acme/prod/reinfer_"
EXPECTED = ["create", "wait", "update", "get", "delete"]
LOAD = ["create", "make_table", "load_tickets", "load_surveys", "wait", "print_bill"]
ROLLOUT = ["develop", "export", "review", "plan", "apply", "change_by_hand", "heal", "delete_by_hand", "look"]


def main() -> int:
    started = time.monotonic()
    # A terminated demo must stop the emulator too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-demo-") as home, emulator(Path(home)) as url:
        print(f"The emulator of Communications Mining listens on {url}; its tenant is {TENANT}.")
        print(f"Airflow {version('apache-airflow')} runs {DAG_FILE} ...\n")
        runs = run_dags(Path(home), url)
        if runs is None:
            return 1
        life, rollout, load = runs
        calls = requests.get(f"{url}/_emulator/requests", timeout=10).json()["requests"]
        show_tasks(life["tasks"], calls)
        show_source(life["tasks"])
        print(f"\nAirflow runs {LOAD_FILE}: messages are loaded into a source ...\n")
        show_tasks(load["tasks"], calls)
        show_load(load["tasks"])
        print(f"\nAirflow runs {ROLLOUT_FILE}: {TENANT} is rolled out to {PROD} ...\n")
        show_tasks(rollout["tasks"], calls)
        show_rollout(rollout["tasks"])
        problems = find_problems(life, EXPECTED) + find_problems(load, LOAD) + find_problems(rollout, ROLLOUT)
        problems += check_load(load["tasks"]) + check_rollout(rollout["tasks"])
    if problems:
        print("\nThe demo FAILED: " + "; ".join(problems))
        return 1
    count = sum(len(run["tasks"]) for run in runs)
    print(f"\nAll {count} tasks succeeded, in {time.monotonic() - started:.0f} s. The emulator is stopped.")
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


def run_dags(home: Path, url: str) -> list[dict[str, Any]] | None:
    """Run the DAGs with Airflow in another process, and give what became of each; ``None`` if Airflow itself failed."""
    application = {"conn_type": "comms_mining", "login": "emulator-app", "password": "emulator-secret"}
    # What the caller's shell says of Airflow must not reach the demo's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(application | {"host": f"{url}{TENANT}"}),
        "AIRFLOW_CONN_COMMS_MINING_PROD": json.dumps(application | {"host": f"{url}{PROD}"}),
        "AIRFLOW_CONN_SURVEY_DB": json.dumps({"conn_type": "sqlite", "host": str(home / "surveys.db")}),
    }
    dags = home / "dags"
    dags.mkdir()
    files = (DAG_FILE, ROLLOUT_FILE, LOAD_FILE)  # the rollout takes all sources of the project
    for file in files:
        shutil.copy(ROOT / file, dags)
    shutil.copytree(ROOT / LOAD_DATA, dags / Path(LOAD_DATA).name)
    (home / "orders.json").write_text(json.dumps([{"dag_id": Path(file).stem} for file in files]))
    command = [sys.executable, str(ROOT / "scripts/run_dags.py"), str(dags)]
    with (home / "airflow.log").open("w") as log:
        ended = subprocess.run(
            [*command, str(home / "orders.json"), str(home / "results.json")],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    results = json.loads((home / "results.json").read_text()) if (home / "results.json").exists() else []
    if ended.returncode != 0 or any(result["state"] != "success" for result in results):
        print((home / "airflow.log").read_text()[-5000:])
        print("\nAirflow's output is above.")
    return results if ended.returncode == 0 else None


def show_tasks(tasks: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    width = max(len(task["task_id"]) for task in tasks) + 2
    print(f"{'TASK':<{width}}{'STATE':<10}HTTP CALLS, AS THE EMULATOR RECEIVED THEM")
    for task in tasks:
        ended = task["ended"] or time.time()
        times = [(datetime.fromisoformat(call["at"]).timestamp(), call) for call in calls]
        mine = [call for at, call in times if task["started"] and task["started"] <= at <= ended]
        lines = [f"{call['method']:<7}{call['path']} -> {call['status']}" for call in mine] or ["none"]
        for number, line in enumerate(lines):
            print(f"{task['task_id'] if number == 0 else '':<{width}}{task['state'] if number == 0 else '':<10}{line}")


def show_source(tasks: list[dict[str, Any]]) -> None:
    before, after, deleted = (returned(tasks, name) or {} for name in ("create", "get", "delete"))
    print("\nTHE SOURCE, as `create` returned it and as `get` read it after the update:")
    for field in before:
        change = "" if before[field] == after.get(field) else f"  ->  {json.dumps(after.get(field))}"
        print(f"  {field:<22}{json.dumps(before[field])}{change}")
    print(f"\nThen `delete` deleted it by its id: {json.dumps(deleted)}")


def show_load(tasks: list[dict[str, Any]]) -> None:
    from airflow_provider_cm.loading import LoadReport

    print("\nTHE LOADS, from a CSV file and from a SQL table:")
    for name in ("load_tickets", "load_surveys"):
        print(indent(f"{name}: {LoadReport(**returned(tasks, name))}"))
    bill = returned(tasks, "print_bill")
    print("\nTHE BILL of the source, which holds {messages} messages now:".format(**bill))
    print(indent("{billable} billable: {ai_units:g} AI units, or {platform_units:g} Platform units".format(**bill)))


def show_rollout(tasks: list[dict[str, Any]]) -> None:
    from airflow_provider_cm.rollout import Plan

    healed = returned(tasks, "heal") or {"plan": None}
    look = returned(tasks, "look") or {"plan": None}
    print("\nTHE PLAN that `plan` made of what `export` had written:")
    print(indent(Plan.from_dict(returned(tasks, "plan")).render()))
    print("\nTHE REPORT of `apply`:")
    print(indent("\n".join(describe(each) for each in returned(tasks, "apply")["outcomes"])))
    print("\nDRIFT, after somebody had changed a title by hand; `heal` found it and put it right:")
    print(indent(Plan.from_dict(healed["plan"]).render()))
    print(indent("\n".join(describe(each) for each in healed["report"]["outcomes"])))
    print(
        "\nA SOURCE DELETED BY HAND, which the manifest says must exist; it is reported, not replaced by an empty one:"
    )
    print(indent(Plan.from_dict(look["plan"]).render()))


def describe(outcome: dict[str, Any]) -> str:
    return f"{outcome['name']} ({outcome['kind']}): {outcome['result']}"


def indent(text: str) -> str:
    return textwrap.indent(text, "  ")


def returned(tasks: list[dict[str, Any]], task_id: str) -> Any:
    return next((task["returned"] for task in tasks if task["task_id"] == task_id), None)


def find_problems(run: dict[str, Any], expected: list[str]) -> list[str]:
    states = {name: {task["state"] for task in run["tasks"] if task["task_id"] == name} for name in expected}
    return [f"task {name} is {reached or 'missing'}" for name, reached in states.items() if reached != {"success"}]


def check_load(tasks: list[dict[str, Any]]) -> list[str]:
    """Whether every message was loaded, and billed once."""
    bill = returned(tasks, "print_bill") or {}
    return [] if bill.get("messages") == bill.get("billable") == 18 else [f"the bill is {bill}"]


def check_rollout(tasks: list[dict[str, Any]]) -> list[str]:
    """Return the differences from the results that the demo is meant to show."""
    applied = (returned(tasks, "apply") or {}).get("counts")
    healed = ((returned(tasks, "heal") or {}).get("report") or {}).get("counts")
    drift = [action["kind"] for action in ((returned(tasks, "look") or {}).get("plan") or {}).get("actions", [])]
    expected = {"apply": (applied, {"done": 2}), "heal": (healed, {"done": 1}), "look": (drift, ["blocked"])}
    return [f"{name}: {got} instead of {want}" for name, (got, want) in expected.items() if got != want]


if __name__ == "__main__":
    sys.exit(main())
