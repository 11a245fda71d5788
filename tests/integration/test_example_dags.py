"""Every example DAG, executed by Airflow against the emulator, on every kind of connection.

Starting Airflow costs more than running these DAGs, so one process runs them all, and the tests look at what it left.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from tests.features import has, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
# dag.test() would wait for the approval forever, so the rollout with one runs in tests/e2e.
EXAMPLES = sorted({path.stem for path in (ROOT / "example_dags").glob("example_*.py")} - {"example_dev_to_prod"})
PROD = "/acme/prod/reinfer_"
UIPATH, BARE = "/acme/dev/reinfer_", "/"
AUTHS: tuple[Literal["token", "app"], ...] = ("token", "app")
WORK = 'return CommsMiningHook().sources.message_count(source["owner"], source["name"])'


@dataclass
class Ran:
    """The servers after all DAGs have run, and what Airflow says of each run."""

    servers: dict[str, EmulatorServer]
    runs: dict[tuple[str, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    missing = () if has("approvals") else ("example_dev_to_prod.py",)
    shutil.copytree(ROOT / "example_dags", dags, ignore=shutil.ignore_patterns("__pycache__", *missing))
    text = (dags / "example_ephemeral_source.py").read_text()
    assert WORK in text
    text = text.replace(WORK, 'raise RuntimeError("the work failed")').replace("example_ephemeral_source", "broken")
    (dags / "broken.py").write_text(text)
    for path in dags.glob("*.py"):
        # A failure must show at once here, and not after half an hour of retries.
        path.write_text(path.read_text().replace('"retries": 3', '"retries": 0'))

    with (
        EmulatorServer(settings=EmulatorSettings(shapes="full")) as full,
        EmulatorServer(settings=EmulatorSettings(shapes="docs")) as docs,
        EmulatorServer() as other,
    ):
        servers = {"full": full, "docs": docs, "broken": other}
        wanted: dict[tuple[str, ...], dict[str, Any]] = {}
        for shapes, tenant, auth in itertools.product(("full", "docs"), (UIPATH, BARE), AUTHS):
            wanted["life", shapes, tenant, auth] = order(servers[shapes], "example_source_lifecycle", tenant, auth)
        mailboxes = make_table(home / "mailboxes.db", [("support-a", "A ${b}"), ("support-b", "{{ conn.x.password }}")])
        empty = make_table(home / "empty.db", [])
        surveys = json.dumps({"conn_type": "sqlite", "host": str(home / "surveys.db")})
        for example in EXAMPLES:
            wanted[(example,)] = order(full, example, more=mailboxes | {"AIRFLOW_CONN_SURVEY_DB": surveys})
        wanted[("example_fan_in",)]["conf"] = {"project": "acme-dev", "mailboxes": 3}
        for number in range(3):
            full.tenant(UIPATH).add_source("acme-dev", f"mailbox-{number:03}")
        # dag.test() leaves a run's conf in the DAG's params, so each run says all of it.
        wanted[("example_drift_check",)]["conf"] = {"project": "acme-prod", "on_drift": "apply"}
        for which, tenant in (("none", UIPATH), ("some", PROD)):
            drift = order(full, "example_drift_check", tenant)
            wanted["drift", which] = drift | {"conf": {"project": "acme-prod", "on_drift": "fail"}}
        wanted["table", "again"] = order(full, "example_nightly_reconcile", more=mailboxes)
        wanted["table", "empty"] = order(full, "example_nightly_reconcile", more=empty)
        wanted[("broken",)] = order(other, "broken")
        results = run_dags(home, dags, list(wanted.values()))
        yield Ran(servers, dict(zip(wanted, results, strict=True)))


def order(
    server: EmulatorServer,
    dag_id: str,
    tenant: str = UIPATH,
    auth: Literal["token", "app"] = "token",
    more: dict[str, str] | None = None,
) -> dict[str, Any]:
    connection = server.tenant(tenant).connection(auth)
    guarded = connection | {"extra": {**connection.get("extra", {}), "allowed_projects": "acme-dev"}}
    env = {
        "AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_COMMS_MINING_GUARDED": json.dumps(guarded),
    }
    return {"dag_id": dag_id, "env": env | (more or {})}


def make_table(path: Path, rows: list[tuple[str, str]]) -> dict[str, str]:
    """Make the table that the nightly example reads, and the connection to it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mailbox (name TEXT PRIMARY KEY, title TEXT)")
        database.executemany("INSERT INTO mailbox VALUES (?, ?)", rows)
        database.commit()
    return {"AIRFLOW_CONN_MAILBOXES": json.dumps({"conn_type": "sqlite", "host": str(path)})}


def run_dags(home: Path, dags: Path, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    (home / "orders.json").write_text(json.dumps(orders))
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env["AIRFLOW_HOME"] = str(home)
    ended = subprocess.run(
        [sys.executable, "scripts/run_dags.py", str(dags), str(home / "orders.json"), str(home / "results.json")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    # Airflow logs this as an error, and a task without a link has none.
    assert "XCom not found" not in ended.stdout + ended.stderr
    results: list[dict[str, Any]] = json.loads((home / "results.json").read_text())
    return results


def returned(run: dict[str, Any], task_id: str) -> Any:
    # A run's tasks come in the order in which they started, and that of mapped ones is anyone's.
    matches = sorted((task for task in run["tasks"] if task["task_id"] == task_id), key=lambda task: task["map_index"])
    values = [task["returned"] for task in matches]
    return values[0] if len(values) == 1 else values


@pytest.mark.parametrize("example", [pytest.param("example_dev_to_prod", marks=needs("approvals")), *EXAMPLES])
def test_every_task_of_every_example_outlasts_the_replacement_of_a_token(example: str) -> None:
    tasks = runpy.run_path(str(ROOT / f"example_dags/{example}.py"))["dag"].tasks
    assert tasks
    for task in tasks:
        # Airflow keeps a connection from a secrets backend in a cache for 15 minutes.
        assert task.retries * task.retry_delay >= timedelta(minutes=30), task.task_id


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_succeeds(ran: Ran, example: str) -> None:
    run = ran.runs[(example,)]
    assert run["state"] == "success", run
    assert {task["state"] for task in run["tasks"]} == {"success"}


def test_the_messages_of_a_file_and_of_a_table_are_loaded_and_billed_once(ran: Ran) -> None:
    run = ran.runs[("example_load_messages",)]
    tickets, surveys = returned(run, "load_tickets"), returned(run, "load_surveys")
    assert (tickets["rows"], tickets["new"], surveys["rows"], surveys["new"]) == (12, 12, 6, 6)
    assert returned(run, "print_bill") == {
        "messages": 18,
        "billable": 18,
        "ai_units": 18,
        "platform_units": pytest.approx(3.6),
    }
    stored = ran.servers["full"].tenant(UIPATH).messages("acme-dev", "tickets")
    assert sorted(each["id"] for each in stored) == sorted(
        [f"ticket-{number}" for number in range(1001, 1013)] + [f"survey-{number}" for number in range(1, 7)]
    )
    (second,) = (each for each in stored if each["id"] == "ticket-1002")
    assert second["timestamp"].startswith("2026-01-05T08:40:00")  # it says 09:40, in Berlin
    assert second["user_properties"] == {"string:Region": "EMEA", "number:Priority": 1}


def test_the_mapped_example_makes_a_source_of_each_entry_and_keeps_them(ran: Ran) -> None:
    run = ran.runs[("example_mapped_sources",)]
    assert sorted(returned(run, "describe")) == [
        "acme-dev/survey-de: Survey Germany",
        "acme-dev/survey-fr: Survey France",
        "acme-dev/survey-uk: Survey United Kingdom",
    ]
    # The two other examples clean up behind themselves.
    left = ran.servers["full"].tenant(UIPATH).sources()
    surveys = [source["name"] for source in left if source["owner"] == "acme-dev" and "survey" in source["name"]]
    assert sorted(surveys) == ["survey-de", "survey-fr", "survey-uk"]


def test_the_nightly_example_makes_the_project_match_the_table(ran: Ran) -> None:
    held = {source["name"]: source["title"] for source in ran.servers["full"].tenant(UIPATH).sources()}
    # The texts arrive as they are in the table, whatever they look like.
    assert {name: held[name] for name in ("support-a", "support-b")} == {
        "support-a": "A ${b}",
        "support-b": "{{ conn.x.password }}",
    }
    first = returned(ran.runs[("example_nightly_reconcile",)], "reconcile")
    assert first["report"]["counts"] == {"done": 2}
    again = returned(ran.runs["table", "again"], "reconcile")
    assert again["report"] is None
    assert again["plan"]["no_ops"] == 2


def test_the_nightly_example_refuses_an_empty_table(ran: Ran) -> None:
    run = ran.runs["table", "empty"]
    assert run["state"] == "failed"
    states = {task["task_id"]: task["state"] for task in run["tasks"]}
    assert states == {"manifest": "failed", "reconcile": "upstream_failed"}


def test_the_drift_check_fails_where_there_is_drift_and_changes_nothing(ran: Ran) -> None:
    assert returned(ran.runs[("example_drift_check",)], "compare")["report"]["counts"] == {"done": 3}
    assert ran.runs["drift", "none"]["state"] == "success"
    drifted = ran.runs["drift", "some"]
    assert drifted["state"] == "failed"
    plan = returned(drifted, "compare")["plan"]
    assert {action["name"]: action["kind"] for action in plan["actions"]} == {
        "support-inbox": "create",
        "support-legal": "create",
        "survey-2026": "create",
    }
    assert ran.servers["full"].tenant(PROD).sources() == []


def test_the_fan_in_example_waits_for_each_and_the_watching_one_can_be_started_by_hand(ran: Ran) -> None:
    run = ran.runs[("example_fan_in",)]
    waited = [source["name"] for source in returned(run, "wait")]
    assert sorted(waited) == ["mailbox-000", "mailbox-001", "mailbox-002"]
    assert [source["name"] for source in returned(run, "all_there")] == sorted(waited)
    # That they wait together, and that a change starts a run, is seen in tests/e2e.
    assert returned(ran.runs[("example_asset_watcher",)], "describe") == []


def test_the_ephemeral_example_deletes_what_it_made(ran: Ran) -> None:
    run = ran.runs[("example_ephemeral_source",)]
    assert returned(run, "check") == 0
    assert returned(run, "delete") == {"source_id": returned(run, "create")["id"], "deleted": True}


def test_the_teardown_deletes_even_when_the_work_failed_and_the_run_fails_still(ran: Ran) -> None:
    run = ran.runs[("broken",)]
    states = {task["task_id"]: task["state"] for task in run["tasks"]}
    assert states == {"create": "success", "check": "failed", "delete": "success"}
    assert run["state"] == "failed"
    assert ran.servers["broken"].tenant(UIPATH).sources() == []
    assert [change.action for change in ran.servers["broken"].changes] == ["create", "delete"]


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("tenant", [UIPATH, BARE])
@pytest.mark.parametrize("shapes", ["full", "docs"])
def test_the_same_dag_file_works_on_every_kind_of_connection(ran: Ran, shapes: str, tenant: str, auth: str) -> None:
    run = ran.runs["life", shapes, tenant, auth]
    assert run["state"] == "success", run
    created, read = returned(run, "create"), returned(run, "get")
    assert (created["title"], read["title"]) == ("Support inbox", "Support inbox (EMEA)")
    assert read["sensitive_properties"] == ["string:Sender"]
    assert read["language"] == "en"
    assert returned(run, "delete") == {"source_id": created["id"], "deleted": True}
