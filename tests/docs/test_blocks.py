"""Each code block of the documents: run against the emulator, or parsed as what it is."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.models.connection import Connection
from packaging.requirements import Requirement

from airflow_provider_cm.hooks.connection_settings import parse_connection
from airflow_provider_cm.loading import Mapping
from airflow_provider_cm.rollout import Manifest
from tests.docs.blocks import BLOCKS, ROOT, Block, commands, of_kind
from tests.features import has
from tests.integration.test_example_dags import order, returned, run_dags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = pytest.mark.integration

KINDS = {"", "bash", "csv", "dag", "ini", "json", "script", "test", "text", "yaml"}
NEEDS = {"operators.approval": "approvals", "policies": "retry policies"}  # of tests/features.py


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", of_kind(kind), ids=str)


def test_every_block_is_of_a_kind_that_is_checked_here() -> None:
    assert {block.kind for block in BLOCKS} <= KINDS
    assert len(BLOCKS) > 40


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.checked_by or block.language == "text"], ids=str)
def test_an_output_names_the_test_that_checks_it(block: Block) -> None:
    """What stands before the block is believed only if that test reads this page."""
    assert block.checked_by, "put '<!-- checked by tests/... -->' before it"
    test = ROOT / block.checked_by
    assert block.page.rpartition("/")[2] in test.read_text()


# Python


def fill(text: str) -> str:
    return re.sub(r"<([A-Za-z ]+)>", lambda found: found[1].lower().replace(" ", "-"), text)


def test_the_dags_are_parsed(tmp_path: Path) -> None:
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_asset_uri_resources()
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # where it was before Airflow 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    left_out = {name for name, feature in NEEDS.items() if not has(feature)}
    kept = [block for block in of_kind("dag") if not any(f"{name} import" in block.text for name in left_out)]
    (mapping,) = (block.text for block in of_kind("yaml") if "body:" in block.text)
    for block in kept:
        folder = tmp_path / re.sub(r"[^a-z0-9]+", "_", str(block).lower())
        folder.mkdir()
        (folder / "dag.py").write_text(block.text)
        (folder / "mapping.yaml").write_text(mapping)
        bag = DagBag(folder)
        assert bag.import_errors == {}
        assert bag.dags, block
        assert [dag.dag_id for dag in bag.dags.values() if not dag.tasks] == []


def dag_ids(page: str) -> dict[str, Block]:
    blocks = [block for block in of_kind("dag") if block.page == page]
    return {re.findall(r'DAG\(\s*(?:dag_id=)?"(\w+)"', block.text)[0]: block for block in blocks}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run what the pages for beginners and for those who move here show, each on a tenant that suits it."""
    from airflow_provider_cm.emulator import EmulatorServer

    home = tmp_path_factory.mktemp("airflow")
    folder = home / "dags"
    folder.mkdir()
    wanted = dag_ids("docs/operators.md") | dag_ids("docs/moving-here.md")
    wanted = {dag_id: block for dag_id, block in wanted.items() if dag_id != "sources_with_re"}  # needs the client
    for dag_id, block in wanted.items():
        (folder / f"{dag_id}.py").write_text(block.text)
    found: dict[str, Any] = {}
    with EmulatorServer() as server:
        orders = []
        for number, dag_id in enumerate(wanted):
            path = f"/acme/t{number}/reinfer_"
            server.state.add_tenant(path)
            tenant = server.tenant(path)
            for project in ("acme-dev", "scratch"):
                tenant.add_project(project)
            # What the sensor waits for is there already, so that the run ends.
            tenant.add_source("scratch", "survey-2026", title="Survey 2026", sensitive_properties=["string:Sender"])
            tenant.set_message_count("scratch", "survey-2026", 100)
            http = {"conn_type": "http", "host": tenant.endpoint}
            more = {
                "CM_ENDPOINT": tenant.endpoint,
                "CM_TOKEN": "emulator-admin",
                "AIRFLOW_VAR_CM_TOKEN": "emulator-admin",
                "AIRFLOW_CONN_CM_HTTP": json.dumps(http),
            }
            orders.append(order(server, dag_id, path, more=more))
        results = run_dags(home, folder, orders)
        for number, (dag_id, run) in enumerate(zip(wanted, results, strict=True)):
            held = {each["name"]: each for each in server.tenant(f"/acme/t{number}/reinfer_").sources()}
            found[dag_id] = (run, held)
    return found


def test_the_dags_for_beginners_run(ran: dict[str, Any]) -> None:
    assert {dag_id: run["state"] for dag_id, (run, _) in ran.items()} == dict.fromkeys(ran, "success")
    look, _ = ran["my_first_look"]
    assert [source["name"] for source in returned(look, "list_sources")] == ["survey-2026"]
    first, _ = ran["my_first_source"]
    assert returned(first, "messages") == {"project": "scratch", "source_name": "survey-2026", "num_comments": 100}
    count, _ = ran["count_sources"]
    assert returned(count, "count") == 1


@pytest.mark.parametrize(
    ("before", "after"), [("create_with_curl", "create_after_curl"), ("create_with_http", "create_after_http")]
)
def test_before_and_after_leave_the_same_source(ran: dict[str, Any], before: str, after: str) -> None:
    left = [
        {name: value for name, value in ran[dag_id][1]["inbox"].items() if name in {"owner", "title", "description"}}
        for dag_id in (before, after)
    ]
    assert left[0] == left[1] == {"owner": "acme-dev", "title": "Inbox", "description": ""}


def test_what_replaces_create_and_update_ends_with_the_update(ran: dict[str, Any]) -> None:
    assert ran["sources_after_re"][1]["inbox"]["title"] == "Inbox (EMEA)"


@pytest.mark.parametrize("page", sorted({block.page for block in of_kind("test")}))
def test_the_tests_pass(page: str, tmp_path: Path) -> None:
    count = 0
    text = (ROOT / page).read_text()
    blocks = [block for block in BLOCKS if block.page == page and block.kind in {"dag", "test"}]
    for number, block in enumerate(blocks):
        # The sentence before it says how the file is called, where that matters.
        before = text[: text.index(block.text)].rpartition("\n\n")[0].rpartition("\n\n")[2]
        named = re.findall(r"`([\w/]+\.py)`", before)
        path = tmp_path / (named[-1] if named else f"test_{number}.py")
        path.parent.mkdir(exist_ok=True)
        if named or block.kind == "test":
            path.write_text(block.text)
            count += block.text.count("def test_")
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=env | {"AIRFLOW_HOME": str(tmp_path / "airflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert f"{count} passed" in ended.stdout


@each("script")
def test_the_scripts_run(block: Block, comms_mining_emulator: EmulatorServer) -> None:
    tenant = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    tenant.add_source("acme-dev", "inbox", title="Inbox")
    env = {**os.environ, "CM_ENDPOINT": tenant.endpoint, "CM_TOKEN": "emulator-admin"}
    env["AIRFLOW_CONN_COMMS_MINING_DEFAULT"] = json.dumps(tenant.connection())
    ended = subprocess.run(
        [sys.executable, "-c", block.text], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert comms_mining_emulator.requests


# Data


@each("json")
def test_a_connection_is_valid_once_its_placeholders_are_filled(block: Block, tmp_path: Path) -> None:
    text = fill(block.text)
    if "conn_type" in json.loads(text):
        connections = [Connection.from_json(text, conn_id="page")]
    else:
        from airflow.secrets.local_filesystem import load_connections_dict

        (tmp_path / "connections.json").write_text(text)
        connections = list(load_connections_dict(str(tmp_path / "connections.json")).values())
    for connection in connections:
        settings = parse_connection(connection)
        assert settings.endpoint in {
            "https://cloud.uipath.com/organization/tenant/reinfer_",
            "https://domain.reinfer.io",
        }
        assert settings.secret in {"app-secret", "api-token"}
    assert connections


@each("yaml")
def test_yaml_is_a_manifest_a_workflow_or_a_mapping(block: Block) -> None:
    data = yaml.safe_load(block.text)
    if "jobs" in data:
        assert data["permissions"] == {"contents": "read"}
        assert all({"uses", "run"} & set(step) for job in data["jobs"].values() for step in job["steps"])
        return
    if "body" in data:
        Mapping.parse(data)
        return
    names = set(re.findall(r"(?<!\$)\$\{(\w+)\}", block.text))
    manifest = Manifest.parse(block.text, dict.fromkeys(names, "acme-dev"), filename=block.page)
    assert manifest.sources


@each("ini")
def test_a_section_of_airflows_configuration_names_what_there_is(block: Block) -> None:
    from airflow.configuration import conf

    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    for section in parser.sections():
        for option, value in parser[section].items():
            assert conf.has_option(section, option), (section, option)
            if option == "backend" and not value.startswith("airflow.providers.hashicorp"):
                module, _, name = value.rpartition(".")
                assert hasattr(import_module(module), name)
            if option.endswith("_kwargs"):
                assert isinstance(json.loads(value), dict)


# Commands


def _make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for word in words if "=" not in word}
    assert named <= targets, named - targets


def _pip(words: list[str]) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[0] == "install"
    for word in words[1:]:
        if word.startswith((".", "airflow-provider-cm")):
            required = Requirement(f"airflow-provider-cm{word.removeprefix('.').removeprefix('airflow-provider-cm')}")
            assert required.extras <= set(known)


def _python(words: list[str]) -> None:
    from airflow_provider_cm.emulator import cli
    from airflow_provider_cm.emulator.faults import Fault
    from airflow_provider_cm.emulator.probe import cli as probe

    assert words[0] == "-m"
    if words[1] == "venv":
        return
    parser = {"airflow_provider_cm.emulator": cli._parser, "airflow_provider_cm.emulator.probe": probe._parser}[
        words[1]
    ]()
    if "--help" in words:
        return
    options = parser.parse_args(words[2:])
    for fault in getattr(options, "fault", ()):
        Fault.parse(fault)


def _airflow(words: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    if words[0] != "comms-mining" or has("command line"):
        get_parser().parse_args(words)


def _export(words: list[str]) -> None:
    for word in words:
        name, _, value = word.partition("=")
        assert re.fullmatch(r"[A-Z_]+", name)
        if name.startswith("AIRFLOW_CONN_"):
            parse_connection(Connection.from_json(fill(value), conn_id="page"))


def _nothing(words: list[str]) -> None:
    """Nothing of ours is in these."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "airflow": _airflow,
    "export": _export,
    ".": _nothing,
    "cd": _nothing,
    "git": _nothing,
    "mkdir": _nothing,
    "kill": _nothing,
    "cat": _nothing,
    "cp": _nothing,
    "echo": _nothing,
}


@each("bash")
def test_the_commands_are_there(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=fill(block.text), text=True, check=True)
    found = commands(block.text)
    assert found
    for first, *rest in found:
        CHECKS[first](rest)
