"""The fixture that users get: a running emulator, clean for each test."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer

TESTS = """
import requests

def test_leave_traces(comms_mining_emulator):
    comms_mining_emulator.configure(shapes="docs")
    comms_mining_emulator.tenant("/").add_source("acme-dev", "inbox")
    comms_mining_emulator.tenant("/").add_project("mine")
    comms_mining_emulator.revoke_token("emulator-viewer")
    requests.get(comms_mining_emulator.url)

def test_find_none(comms_mining_emulator):
    assert comms_mining_emulator.settings.shapes == "full"
    assert comms_mining_emulator.tenant("/").sources() == []
    assert comms_mining_emulator.requests == [] and comms_mining_emulator.changes == []
    token = comms_mining_emulator.tenant("/").connection(token="emulator-viewer")["password"]
    url = comms_mining_emulator.url + "/api/_private/projects"
    projects = requests.get(url, headers={"Authorization": f"Bearer {token}"}).json()["projects"]
    assert [project["name"] for project in projects] == ["acme-dev", "acme-prod"]
"""
PLUGIN = "airflow_provider_cm.emulator.pytest_plugin"


def _pytest(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: what is tested is pytest with the plugin, as a user has it.
    (folder / "test_it.py").write_text(code)
    # Without the plugins of our development environment, which cost a second.
    others = [part for name in ("cacheprovider", "schemathesis", "hypothesispytest") for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", *others, *arguments, "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def _plugin() -> list[str]:
    # Where the package is installed, its entry point has loaded the plugin already.
    from importlib.metadata import entry_points

    loaded = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    return [] if loaded else ["-p", PLUGIN]


def test_each_test_gets_a_clean_emulator(tmp_path: Path) -> None:
    result = _pytest(tmp_path, TESTS, "-p", "no:randomly", "-W", "error", *_plugin())
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


def test_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    hide = "import sys\nsys.modules['uvicorn'] = None\ndef test_it(comms_mining_emulator): pass\n"
    result = _pytest(tmp_path, hide, *_plugin())
    assert result.returncode == 1
    assert "pip install 'airflow-provider-cm[emulator]'" in result.stdout
    assert "'uvicorn', which is not installed" in result.stdout


def test_loading_the_plugin_loads_no_server() -> None:
    code = (
        f"import sys, {PLUGIN}; print([m for m in ('starlette', 'uvicorn', 'pydantic', 'airflow') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_fixture_is_a_server(comms_mining_emulator: EmulatorServer) -> None:
    answer = requests.get(f"{comms_mining_emulator.url}/api/v1/sources", timeout=5)
    assert answer.status_code == 401
    assert [request.path for request in comms_mining_emulator.requests] == ["/api/v1/sources"]
