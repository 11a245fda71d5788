"""The table of what older Airflows lack is true of the installed Airflow, and docs/compatibility.md shows it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException
from airflow.providers_manager import ProvidersManager
from airflow.sdk.execution_time import context
from airflow.triggers import base

from airflow_provider_cm.api import TransportError
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.sensors.sources import SourceSensor
from airflow_provider_cm.triggers.error_events import error_to_json
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.features import AIRFLOW, FEATURES, has, table

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/compatibility.md"
README = (ROOT / "README.md").read_text()


def imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except (ImportError, AirflowException):  # an Airflow provider refuses with an exception of its own
        return False
    return True


def resumed_sensor_is_skipped(option: str, method: str, **kwargs: Any) -> bool:
    options: Any = {option: True}
    sensor = SourceSensor(task_id="t", source_id="18ba5ce699f8da1f", **options)
    try:
        sensor.resume_execution(method, kwargs, {})
    except AirflowSkipException:
        return True
    except AirflowException:
        return False
    raise AssertionError("the resumed sensor succeeded")


def resumed_sensors() -> bool:
    options, event = ("soft_fail", "never_fail"), {"status": "error", "error": error_to_json(TransportError("x"))}
    assert all(resumed_sensor_is_skipped(option, "execute_complete", event=event) for option in options)
    error = {"error": "Trigger timeout", "traceback": None}
    (told,) = {resumed_sensor_is_skipped(option, "__fail__", **error) for option in options}  # both, or neither
    return told


def connection_form() -> bool:
    shown = ProvidersManager().connection_form_widgets.values()
    return any(info.hook_class_name.endswith("CommsMiningHook") for info in shown)


def command_line() -> bool:
    from airflow.cli.cli_parser import get_parser

    return "comms-mining" in get_parser().format_help()


def malformed_extra() -> bool:
    os.environ["AIRFLOW_CONN_MALFORMED"] = json.dumps({"conn_type": "comms_mining", "host": "h", "extra": "{"})
    try:
        return "not valid JSON" in CommsMiningHook("malformed").test_connection()[1]
    except AirflowException as refused:
        assert "isn't defined" in str(refused)  # noqa: PT017  # what Airflow itself says
        return False
    finally:
        del os.environ["AIRFLOW_CONN_MALFORMED"]


def shared_polling() -> bool:
    return issubclass(SourceTrigger, base.BaseEventTrigger) and hasattr(base.BaseEventTrigger, "open_shared_stream")


def asset_cursor() -> bool:
    return hasattr(SourceTrigger(comms_mining_conn_id="c", source_id="18ba5ce699f8da1f"), "asset_state_store")


def one_timeout() -> bool:
    # A context has the key from then on; tests/e2e/test_patience.py has a real one.
    return hasattr(context, "TaskStateStoreAccessor")


def alias_events() -> bool:
    # 3.0 hashes the extra's values where it registers the events; tests/integration/test_assets.py registers some.
    return 'frozenset(event["extra"]' not in inspect.getsource(TaskInstance.register_asset_changes_in_db)


PROBES: dict[str, Callable[[], bool]] = {
    "approvals": lambda: imports("airflow_provider_cm.operators.approval"),
    "resumed sensors": resumed_sensors,
    "alias events": alias_events,
    "connection form": connection_form,
    "malformed extra": malformed_extra,
    "command line": command_line,
    "partition keys": lambda: hasattr(context.OutletEventAccessor, "add_partitions"),
    "resumed loads": one_timeout,
    "shared polling": shared_polling,
    "asset cursor": asset_cursor,
    "one timeout for all tries": one_timeout,
    "retry policies": lambda: imports("airflow_provider_cm.retry_policy"),
    "test on a worker": lambda: imports("airflow.sdk.execution_time.connection_test_supervisor"),
}


@pytest.mark.parametrize("name", FEATURES)
def test_this_airflow_has_a_feature_exactly_from_the_version_in_the_table(name: str) -> None:
    assert PROBES[name]() is has(name), f"Airflow {AIRFLOW}"


def test_the_document_shows_the_table() -> None:
    assert f"<!-- features -->\n{table()}\n<!-- /features -->" in PAGE.read_text()


# The matrix. nox itself is not there in its cells, so its file is read.


def constant(name: str) -> Any:
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"noxfile.py has no {name}")


def test_the_matrix_covers_every_python_and_airflow_that_the_package_promises() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    airflows, pythons = zip(*(cell.split("-") for cell in constant("CELLS")), strict=True)
    promised = [each.rsplit(" ", 1)[1] for each in project["classifiers"] if "Python :: 3." in each]
    assert set(pythons) == set(promised)
    assert "Airflow 3.0 to 3.3 (from 3.0.6 on)" in PAGE.read_text()
    assert "apache-airflow>=3.0.6" in project["dependencies"]
    assert {airflow.rpartition(".")[0] for airflow in airflows} == {"3.0", "3.1", "3.2", "3.3"}
    assert {each.since for each in FEATURES.values()} <= {airflow.rpartition(".")[0] for airflow in airflows}


def test_the_readme_shows_a_matrix_in_which_all_passed() -> None:
    # Which cells it has, or whether any, is not judged: the first run of all, or one with other cells, could then
    # never come to its end.
    (block,) = re.findall(r"<!-- matrix: written by make matrix -->\n(.*?)<!-- /matrix -->", README, re.DOTALL)
    rows = block.splitlines()[2:]
    for row in rows:
        (numbers,) = re.findall(r"\| (\d+) of (\d+) passed(?:; (\d+) need a newer Airflow)? \| \d+ \|$", row)
        passed, total, newer = (int(each or 0) for each in numbers)
        assert passed + newer == total > 1000, row
