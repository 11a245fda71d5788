"""The command line as people run it: the real ``airflow``, connections from the environment and from the database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from tests.features import needs

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = [pytest.mark.integration, needs("command line")]

SET_UP = """
import json, sys
from airflow.models.connection import Connection
from airflow.utils.db import initdb
from airflow.utils.session import create_session

initdb()
with create_session() as session:
    session.add(Connection.from_json(sys.argv[1], conn_id="in_database"))
"""
MANIFEST = "project: acme-dev\nsources:\n  - {name: inbox, title: Inbox}\n"
BAD_TOKEN = "a-token-that-was-replaced-4711"


def environment(home: Path, **connections: dict[str, Any]) -> dict[str, str]:
    """Give the environment of somebody who runs Airflow, without what is there for tests."""
    ours = {"PYTHONDONTWRITEBYTECODE", "AIRFLOW__CORE__UNIT_TEST_MODE", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and "AIRFLOW_CONN_" not in name}
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
    }


def test_from_a_first_look_to_the_applied_manifest(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    dev = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    dev.add_source("acme-dev", "inbox", title="Post")
    manifest = tmp_path / "sources.yaml"
    manifest.write_text(MANIFEST)
    bad = {**dev.connection(), "password": BAD_TOKEN}
    env = environment(tmp_path / "airflow", in_environment=dev.connection(), bad=bad)
    outputs = []

    def airflow(*words: str, code: int) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("airflow")), "comms-mining", *words]
        ended = subprocess.run(
            command, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        outputs.append(ended.stdout + ended.stderr)
        assert ended.returncode == code, outputs[-1]
        assert "Traceback" not in outputs[-1]
        return ended

    setting_up = [sys.executable, "-c", SET_UP, json.dumps(dev.connection("app"))]
    subprocess.run(setting_up, env=env, cwd=tmp_path, check=True, capture_output=True)

    checked = airflow("check", "--conn-id", "in_database", code=0)
    assert [line.split()[:2] for line in checked.stdout.splitlines()] == [
        ["ok", "connection"],
        ["ok", "settings"],
        ["ok", "identity"],
        ["ok", "endpoint"],
        ["ok", "token"],
        ["ok", "sources"],
        ["?", "writing"],
        ["ok", "guards"],
    ]
    assert checked.stderr == ""

    # Whatever is logged, stdout is the plan.
    words = ("--manifest", "sources.yaml", "--conn-id", "in_environment")
    planned = airflow("plan", *words, "--json", "--verbose", "--detailed-exitcode", code=2)
    assert json.loads(planned.stdout)["actions"][0]["changes"][0]["after"] == "Inbox"
    assert "GET sources/acme-dev -> 200" in planned.stderr

    applied = airflow("apply", *words, "--yes", code=0)
    assert "inbox (update): done" in applied.stdout
    assert (dev.source("acme-dev", "inbox") or {})["title"] == "Inbox"
    assert "1 unchanged" in airflow("plan", *words, code=0).stdout

    refused = airflow("plan", "--manifest", "sources.yaml", "--conn-id", "bad", code=1)
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: GET sources/acme-dev: 401")

    secrets = [
        BAD_TOKEN,
        dev.connection()["password"],
        dev.connection("app")["password"],
        env["AIRFLOW__CORE__FERNET_KEY"],
    ]
    secrets += [grant.value for grant in comms_mining_emulator.state.tokens.grants.values()]
    assert len(set(secrets)) > 4, "the external application got no token"
    assert [text for text in outputs for secret in secrets if secret in text] == []
