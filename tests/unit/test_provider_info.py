"""The provider's metadata, checked with Airflow's own schemas and by Airflow's own reader."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import jsonschema  # type: ignore[import-untyped]
import pytest
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager

import airflow_provider_cm
from airflow_provider_cm.assets import sanitize_uri
from airflow_provider_cm.get_provider_info import get_provider_info
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from airflow_provider_cm.hooks.connection_settings import EXTRAS
from airflow_provider_cm.links import ProjectLink
from tests.features import has, needs

try:
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
except ImportError:  # before Airflow 3.2 one manager did it all
    ProvidersManagerTaskRuntime = ProvidersManager  # type: ignore[assignment, misc]

PACKAGE = Path(airflow_provider_cm.__path__[0])
SCHEMAS = Path(airflow.__path__[0])
DISTRIBUTION = "airflow-provider-cm"
KINDS = ("hooks", "operators", "sensors", "triggers")


def connection_type() -> dict[str, Any]:
    (connection,) = get_provider_info()["connection-types"]
    assert isinstance(connection, dict)
    return connection


def test_it_keeps_to_airflows_schema() -> None:
    schema = json.loads((SCHEMAS / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    unknown = {"state", "lifecycle", "versions"} | (set() if has("command line") else {"cli"})
    assert set(get_provider_info()) - set(schema["properties"]) == unknown


def test_it_keeps_to_the_strict_schema_of_airflows_own_providers() -> None:
    # The Airflow Registry reads metadata by this schema. It has rules for the form's fields, which the one above lacks.
    schema = json.loads((SCHEMAS / "provider.yaml.schema.json").read_text())
    info = get_provider_info()
    for name in set(info) & set(schema["properties"]):
        jsonschema.validate(info[name], {"definitions": schema["definitions"], **schema["properties"][name]})
    assert set(info) - set(schema["properties"]) <= {"cli", "lifecycle"}  # newer than the oldest Airflow


def test_the_registry_finds_the_version_the_guides_and_the_logo() -> None:
    info = get_provider_info()
    assert info["versions"] == [airflow_provider_cm.__version__]
    (integration,) = info["integrations"]
    for path in (*integration["how-to-guide"], integration["logo"]):
        assert path.startswith("/docs/")
        assert (PACKAGE.parent / path.removeprefix("/")).is_file()


def test_airflow_reads_the_configuration() -> None:
    for section, described in get_provider_info()["config"].items():
        for option, values in described["options"].items():
            assert conf.get(section, option) == values["default"]


def test_older_airflows_get_the_labels_of_the_form_from_the_hook() -> None:
    behaviour = CommsMiningHook.get_ui_field_behaviour()
    jsonschema.validate(behaviour, json.loads((SCHEMAS / "customized_form_field_behaviours.schema.json").read_text()))
    declared = connection_type()["ui-field-behaviour"]
    assert behaviour == {
        "hidden_fields": declared["hidden-fields"],
        "relabeling": declared["relabeling"],
        "placeholders": declared["placeholders"],
    }


def test_it_names_the_distribution() -> None:
    # Airflow refuses to start with a provider that does not.
    assert get_provider_info()["package-name"] == importlib.metadata.metadata(DISTRIBUTION)["Name"] == DISTRIBUTION


def test_the_entry_point_leads_to_it() -> None:
    (point,) = importlib.metadata.distribution(DISTRIBUTION).entry_points.select(group="apache_airflow_provider")
    assert point.load() is get_provider_info


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_is_listed_and_can_be_imported(kind: str) -> None:
    (entry,) = get_provider_info()[kind]
    assert entry["integration-name"] in {each["integration-name"] for each in get_provider_info()["integrations"]}
    listed = [name for name in entry["python-modules"] if has("approvals") or not name.endswith(".approval")]
    for name in listed:
        importlib.import_module(name)
    # A module counts if it has something that a user would use: a class of that kind that is not only a base.
    base = {
        "hooks": "BaseHook",
        "operators": "BaseOperator",
        "sensors": "BaseSensorOperator",
        "triggers": "BaseTrigger",
    }
    usable = []
    for each in pkgutil.iter_modules([str(PACKAGE / kind)]):
        if each.name.endswith("base") or each.name in {"loading", "template_files"}:
            continue
        if each.name == "approval" and not has("approvals"):
            continue
        module = importlib.import_module(f"airflow_provider_cm.{kind}.{each.name}")
        own = [item for item in vars(module).values() if getattr(item, "__module__", "") == module.__name__]
        if any(base[kind] in {parent.__name__ for parent in getattr(item, "__mro__", ())} for item in own):
            usable.append(module.__name__)
    assert listed == usable


def test_the_hook_is_the_one_of_the_connection_type() -> None:
    module, _, name = connection_type()["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is CommsMiningHook
    assert connection_type()["connection-type"] == CommsMiningHook.conn_type == "comms_mining"
    assert connection_type()["hook-name"] == CommsMiningHook.hook_name
    assert CommsMiningHook.conn_name_attr == "comms_mining_conn_id"
    assert CommsMiningHook.default_conn_name == CommsMiningHook().comms_mining_conn_id == "comms_mining_default"


def test_airflow_reads_it() -> None:
    provider = ProvidersManager().providers[DISTRIBUTION]
    assert provider.version == airflow_provider_cm.__version__
    assert provider.data["name"] == "UiPath Communications Mining"
    hook = ProvidersManagerTaskRuntime().hooks["comms_mining"]
    assert hook is not None
    assert (hook.hook_class_name, hook.connection_id_attribute_name, hook.hook_name) == (
        connection_type()["hook-class-name"],
        "comms_mining_conn_id",
        "UiPath Communications Mining",
    )
    assert hook.connection_testable


@needs("connection form")
def test_airflow_reads_the_form() -> None:
    manager = ProvidersManager()
    fields = manager.connection_form_widgets
    ours = {info.field_name: info.field for info in fields.values() if info.hook_class_name.endswith("CommsMiningHook")}
    assert list(ours) == list(connection_type()["conn-fields"])
    assert ours["proxy"]["schema"]["format"] == "password"
    behaviour = manager.field_behaviours["comms_mining"]
    # The port stays: with 0, Airflow 3.3.1 and 3.3.2 test a stored connection.
    assert set(behaviour["hidden_fields"]) == {"schema"}
    assert behaviour["relabeling"]["password"] == "Developer token or App Secret (password)"
    assert "0" in behaviour["placeholders"]["port"]


def test_the_form_calls_each_field_as_errors_do_and_begins_with_what_matters() -> None:
    form = connection_type()["conn-fields"]
    assert [name for name, field in form.items() if not field["label"].endswith(f" ({name})")] == []
    relabeled = connection_type()["ui-field-behaviour"]["relabeling"]
    assert [name for name, label in relabeled.items() if not label.endswith(f"({name})")] == []
    names = list(form)
    guards = [names.index(name) for name in ("read_only", "allow_delete", "allow_load", "allowed_projects")]
    technical = ("connect_timeout", "read_timeout", "max_attempts", "verify")
    assert max(guards) < min(map(names.index, technical))
    assert set(names) == set(EXTRAS)


def test_airflow_reads_the_link_and_the_uris() -> None:
    (link,) = (name for name in ProvidersManager().extra_links_class_names if name.startswith("airflow_provider_cm."))
    module, _, name = link.rpartition(".")
    assert getattr(importlib.import_module(module), name) is ProjectLink
    assert ProvidersManagerTaskRuntime().asset_uri_handlers["comms-mining"] is sanitize_uri


def test_it_imports_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import airflow_provider_cm.get_provider_info as g; "
        "g.get_provider_info(); print(sorted(set(sys.modules) - before))"
    )
    # Without site, since packages may import things when Python starts.
    command = [sys.executable, "-S", "-c", f"import __future__; {code}"]
    ended = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['airflow_provider_cm', 'airflow_provider_cm.get_provider_info']"
