"""What the README shows is true: its connections parse, its DAGs and its test run, the demo prints what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from airflow.models.connection import Connection

from airflow_provider_cm.hooks.settings import EXTRAS, parse_connection
from tests.integration.test_example_dags import ROOT, UIPATH, order, returned, run_dags

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = pytest.mark.integration

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
CONNECTIONS = re.findall(r"AIRFLOW_CONN_COMMS_MINING_DEFAULT='(.*?)'", README, re.DOTALL)


def blocks(language: str, containing: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and containing in text]


@pytest.mark.parametrize("text", CONNECTIONS)
def test_each_connection_is_valid_once_its_placeholders_are_filled(text: str) -> None:
    filled = re.sub(r"<([A-Za-z ]+)>", lambda found: found[1].lower().replace(" ", "-"), text)
    settings = parse_connection(Connection.from_json(filled, conn_id="readme"))
    assert settings.endpoint in {"https://cloud.uipath.com/organization/tenant/reinfer_", "https://domain.reinfer.io"}
    assert settings.secret in {"app-secret", "api-token"}
    assert (settings.app_id is None) == ('"login"' not in text)


def test_there_are_connections_for_both_ways_to_authenticate_and_both_tenant_styles() -> None:
    kinds = {("login" in text, "reinfer.io" in text) for text in CONNECTIONS}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    assert "login" in CONNECTIONS[0], "external applications come first"


def test_every_field_of_the_connection_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", README, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} == set(EXTRAS)


def test_its_dags_run(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    texts = blocks("python", "with DAG(")
    names = [re.findall(r'DAG\("(\w+)"', text)[0] for text in texts]
    assert names == ["my_first_look", "my_first_source", "my_first_rollout"]
    for name, text in zip(names, texts, strict=True):
        (dags / f"{name}.py").write_text(text)
    (manifest,) = blocks("yaml", "sources:")
    (dags / "acme.yaml").write_text(manifest.replace("must_exist: true", "must_exist: false"))
    # The messages that the second one waits for are there already, so that the run ends.
    tenant = comms_mining_emulator.tenant(UIPATH)
    tenant.add_project("scratch")
    tenant.add_source("scratch", "survey-2026", title="Survey 2026", sensitive_properties=["string:Sender"])
    tenant.set_message_count("scratch", "survey-2026", 100)

    look, write, rollout = run_dags(tmp_path, dags, [order(comms_mining_emulator, name) for name in names])

    assert [source["name"] for source in returned(look, "list_sources")] == ["survey-2026"]
    assert write["state"] == "success", write
    assert returned(write, "messages") == {"project": "scratch", "source_name": "survey-2026", "num_comments": 100}
    assert returned(rollout, "apply")["counts"] == {"done": 2}
    titles = {source["name"]: source["title"] for source in tenant.sources()}
    assert titles == {"survey-2026": "Survey 2026", "support-inbox": "Support inbox", "support-legal": "Legal"}


def test_its_test_passes(tmp_path: Path) -> None:
    (text,) = blocks("python", "def test_")
    (tmp_path / "test_mine.py").write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env=env | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_the_demo_prints_what_it_says() -> None:
    (shown,) = blocks("text", "HTTP CALLS")
    ended = subprocess.run([sys.executable, "scripts/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert mask_ids(shown) in mask_ids(ended.stdout)


def mask_ids(text: str) -> str:
    return re.sub(r"id:[0-9a-f]{16}", "id:<id>", text)


def test_its_json_for_a_laptop_is_a_connection() -> None:
    (text,) = re.findall(r'`(\{"conn_type".*?\})`', README)
    assert parse_connection(Connection.from_json(text, conn_id="laptop")).endpoint == "http://127.0.0.1:8089"
    assert json.loads(text)["password"] == "emulator-admin"
