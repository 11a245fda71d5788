"""Asset events and links as Airflow keeps them, after DAGs that ran on the emulator; docs/assets.md shows what runs."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.features import AIRFLOW, has
from tests.integration.test_example_dags import ROOT, order, returned, run_dags

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "assets.md").read_text(), re.DOTALL)
INBOX = "comms-mining://cloud.uipath.com/acme/dev/reinfer_/acme-dev/support-inbox"
UI = "https://ui.acme.example/cm"
BY_HAND = "comms-mining://any.example/p/both"
PAGE = f"{UI}/projects/acme-dev"
DAGS = """
from __future__ import annotations

import os

from airflow.sdk import DAG, Asset, AssetAlias

from airflow_provider_cm.assets import source_asset
from airflow_provider_cm.operators.sources import CreateSourceOperator, DeleteSourceOperator, GetSourceOperator

os.environ["AIRFLOW_CONN_PARSED"] = '{"conn_type": "comms_mining", "host": "ENDPOINT"}'

BOTH = [Asset("by-hand", "comms-mining://ANY.example/p/both"), AssetAlias("both")]

with DAG("every_outlet", schedule=None, default_args={"outlets": BOTH}):
    create = CreateSourceOperator.partial(task_id="create", project="acme-dev").expand(source_name=["m-a", "m-b"])
    second = "{{ ti.xcom_pull('create')[1]['id'] }}"
    own = source_asset("acme-dev", "m-b", comms_mining_conn_id="parsed")
    get = GetSourceOperator(task_id="get", source_id=second, outlets=[own])
    delete = DeleteSourceOperator(task_id="delete", project="acme-dev", source_name="m-a")
    again = DeleteSourceOperator(task_id="again", project="acme-dev", source_name="m-a", if_missing="skip")
    by_id = DeleteSourceOperator(task_id="by_id", source_id=second, trigger_rule="all_done")
    create >> get >> delete >> again >> by_id

with DAG("nothing_there", schedule=None):
    GetSourceOperator(task_id="get", project="acme-dev", source_name="nothing", outlets=BOTH)

with DAG("plain_http", schedule=None):
    CreateSourceOperator(task_id="create", project="acme-dev", source_name="plain")
"""


@dataclass
class Ran:
    """What was left behind."""

    base: str
    runs: dict[str, dict[str, Any]]
    events: dict[tuple[str, str], list[tuple[int, str, str, dict[str, Any]]]]
    links: dict[tuple[str, str], list[tuple[int, str]]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    names = ["provision_inbox", "load_inbox", "reconcile_acme_dev", "report_changes", "every_outlet", "nothing_there"]
    with EmulatorServer() as server:
        plain = order(server, "plain_http")
        endpoint = json.loads(plain["env"]["AIRFLOW_CONN_COMMS_MINING_DEFAULT"])["host"]
        for number, text in enumerate([*BLOCKS, DAGS.replace("ENDPOINT", endpoint)]):
            (dags / f"block{number}.py").write_text(text)
        base = endpoint.replace("http://", "comms-mining://")
        runs = {"plain_http": run_dags(home, dags, [plain])[0]}
        if AIRFLOW.release < (3, 1):
            activate(home / "airflow.db", {INBOX: INBOX, "by-hand": BY_HAND, f"{base}/acme-dev/m-b": ""})
        results = run_dags(home, dags, [with_page(order(server, name)) for name in names])
    return Ran(base, runs | dict(zip(names, results, strict=True)), *look(home / "airflow.db"))


def activate(path: Path, assets: dict[str, str]) -> None:
    """Do what the DAG processor does with a DAG's assets, and dag.test() of Airflow 3.0 does not."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for name, uri in assets.items():
            row = (name, uri or name)
            database.execute(
                'INSERT INTO asset (name, uri, "group", extra, created_at, updated_at) '
                "SELECT ?, ?, 'asset', '{}', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP "
                "WHERE ? NOT IN (SELECT name FROM asset)",
                (*row, name),
            )
            database.execute("INSERT INTO asset_active (name, uri) VALUES (?, ?)", row)
        database.commit()


def of_alias(extra: dict[str, Any]) -> dict[str, Any]:
    if has("alias events"):
        return extra
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for key, value in extra.items()
    }


def with_page(told: dict[str, Any]) -> dict[str, Any]:
    connection = json.loads(told["env"]["AIRFLOW_CONN_COMMS_MINING_DEFAULT"])
    connection["extra"] = {**connection.get("extra", {}), "ui_url": UI}
    return told | {"env": {"AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(connection)}}


def look(path: Path) -> tuple[Any, Any]:
    """Read the asset events (task's map index, asset's name, its URI, extra) and the links (map index, address)."""
    events, links = defaultdict(list), defaultdict(list)
    with contextlib.closing(sqlite3.connect(path)) as database:
        for dag, task, index, name, uri, extra in database.execute(
            "SELECT source_dag_id, source_task_id, source_map_index, name, uri, asset_event.extra FROM asset_event "
            "JOIN asset ON asset.id = asset_id ORDER BY source_map_index, uri"
        ):
            events[dag, task].append((index, name, uri, json.loads(extra)))
        for dag, task, index, value in database.execute(
            "SELECT dag_id, task_id, map_index, value FROM xcom WHERE key = '_link_ProjectLink' ORDER BY map_index"
        ):
            links[dag, task].append((index, json.loads(value)))
    return dict(events), dict(links)


def test_the_dags_run(ran: Ran) -> None:
    states = {name: run["state"] for name, run in ran.runs.items()}
    assert states == dict.fromkeys(states, "success") | {"nothing_there": "failed"}


def test_a_declared_asset_is_told_of_the_source(ran: Ran) -> None:
    created = returned(ran.runs["provision_inbox"], "create")
    assert created["title"] == "Support inbox"
    assert ran.events["provision_inbox", "create"] == [(-1, INBOX, INBOX, {"source": created})]
    loaded = returned(ran.runs["load_inbox"], "load")
    assert loaded == f"loading into Support inbox (id {created['id']})"


def test_an_alias_is_given_each_source_of_a_rollout(ran: Ran) -> None:
    done = returned(ran.runs["reconcile_acme_dev"], "reconcile")["report"]
    told = {"project": "acme-dev", "digest": done["plan_digest"], "counts": {"done": 2}}
    uris = [f"{ran.base}/acme-dev/survey-{name}" for name in ("de", "fr")]
    assert ran.events["reconcile_acme_dev", "reconcile"] == [
        (-1, uri, uri, of_alias(told | {"outcome": outcome}))
        for uri, outcome in zip(uris, done["outcomes"], strict=True)
    ]
    assert returned(ran.runs["report_changes"], "report") == [f"{uri} by plan {told['digest']}" for uri in uris]


def test_assets_and_aliases_are_told_by_mapped_tasks_and_of_deletes(ran: Ran) -> None:
    first, second = returned(ran.runs["every_outlet"], "create")
    by_hand = ("by-hand", BY_HAND)
    own = [(f"{ran.base}/acme-dev/{name}",) * 2 for name in ("m-a", "m-b")]

    def both(index: int, asset: tuple[str, str], extra: dict[str, Any]) -> list[Any]:
        return [(index, *asset, of_alias(extra)), (index, *by_hand, extra)]

    expected = both(0, own[0], {"source": first}) + both(1, own[1], {"source": second})
    assert ran.events["every_outlet", "create"] == expected
    # Its asset was made when the file was parsed, from a connection: it is the one that the alias was given.
    assert ran.events["every_outlet", "get"] == [(-1, *own[1], {"source": second})]
    assert ran.events["every_outlet", "delete"] == both(-1, own[0], {"source_id": first["id"], "deleted": True})
    assert ran.events["every_outlet", "by_id"] == [(-1, *by_hand, {"source_id": second["id"], "deleted": True})]


def test_what_is_skipped_or_fails_emits_nothing(ran: Ran) -> None:
    states = {task["task_id"]: task["state"] for task in ran.runs["every_outlet"]["tasks"]}
    assert states["again"] == "skipped"
    assert not {("every_outlet", "again"), ("nothing_there", "get")} & set(ran.events)


def test_tasks_are_linked_to_their_project(ran: Ran) -> None:
    assert ran.links["every_outlet", "create"] == [(0, PAGE), (1, PAGE)]
    assert ran.links["reconcile_acme_dev", "reconcile"] == [(-1, PAGE)]
    assert ran.links["every_outlet", "get"] == [(-1, PAGE)], "by id, the source was read"
    assert ran.links["nothing_there", "get"] == [(-1, PAGE)], "a task that fails has its link"


def test_without_an_address_airflow_shows_no_link(ran: Ran) -> None:
    # Airflow's API gives null for an empty one.
    assert ran.links["plain_http", "create"] == [(-1, "")]
    assert ran.links["every_outlet", "by_id"] == [(-1, "")], "deleted by id without being read"
