"""Parsing a DAG stays cheap: what is only needed when a task runs is not imported before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = (
    "airflow_provider_cm.decorators.load_messages",
    "airflow_provider_cm.operators.messages",
    "airflow_provider_cm.operators.rollout",
    "airflow_provider_cm.operators.sources",
    "airflow_provider_cm.sensors.sources",
    "airflow_provider_cm.transfers.files_to_comms_mining",
    "airflow_provider_cm.transfers.sql_to_comms_mining",
    "airflow_provider_cm.triggers.sources",
)
# What a DAG file has imported anyway, and so has been paid for; airflow.sdk imports its own parts when asked for them.
BASE = (
    "airflow.sdk",
    "airflow.sdk.bases.decorator",
    "airflow.sdk.bases.operatorlink",
    "airflow.sdk.bases.sensor",
    "airflow.providers.common.compat.sdk",
    "airflow.providers.common.compat.triggers",
    "airflow.triggers.base",
)
EXPENSIVE = (
    "requests",
    "tenacity",
    "yaml",
    "pydantic",
    "fastapi",
    "uvicorn",
    "pyarrow",
    "airflow.providers.common.sql",
    "airflow_provider_cm.api.client_credentials",
    "airflow_provider_cm.api.messages",
    "airflow_provider_cm.api.models",
    "airflow_provider_cm.api.session",
    "airflow_provider_cm.api.sources",
    "airflow_provider_cm.api.transport",
    "airflow_provider_cm.hooks",
    "airflow_provider_cm.loading.loader",
    "airflow_provider_cm.loading.readers.sql",
    "airflow_provider_cm.operators.load_state",
    "airflow_provider_cm.transfers.object_files",
    "airflow_provider_cm.triggers.condition",
    "airflow_provider_cm.triggers.poll_loop",
    "airflow_provider_cm.triggers.asset_watch",
    "airflow_provider_cm.emulator",
)

CODE = """
import importlib, json, sys
base, modules = json.loads(sys.argv[1])
for name in base:
    importlib.import_module(name)
before = set(sys.modules)
for name in modules:
    importlib.import_module(name)
print("NEW " + json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture(scope="module")
def new_modules() -> list[str]:
    command = [sys.executable, "-c", CODE, json.dumps([BASE, MODULES])]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("NEW "))
    names: list[str] = json.loads(line.removeprefix("NEW "))
    return names


def test_the_measurement_sees_what_is_imported(new_modules: list[str]) -> None:
    assert set(MODULES) <= set(new_modules)


@pytest.mark.parametrize("expensive", EXPENSIVE)
def test_a_dag_file_does_not_import(new_modules: list[str], expensive: str) -> None:
    assert [name for name in new_modules if name == expensive or name.startswith(f"{expensive}.")] == []


def test_a_dag_file_imports_nothing_else_than_our_package_and_the_standard_library(new_modules: list[str]) -> None:
    tops = {name.partition(".")[0] for name in new_modules}
    assert tops - sys.stdlib_module_names == {"airflow_provider_cm"}
