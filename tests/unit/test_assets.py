"""Assets: one URI for one source, however it is written, and what is told of a task's outlets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias
from airflow.sdk import AssetWatcher
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.assets import sanitize_uri, source_asset, source_uri
from airflow_provider_cm.operators.rollout import (
    ApplySourcesOperator,
    ExportSourcesOperator,
    PlanSourcesOperator,
    ReconcileSourcesOperator,
)
from airflow_provider_cm.operators.sources import (
    CreateSourceOperator,
    DeleteSourceOperator,
    GetSourceOperator,
    ListSourcesOperator,
    UpdateSourceOperator,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Connect

CLOUD = "https://cloud.uipath.com/acme/dev/reinfer_"
INBOX = "comms-mining://cloud.uipath.com/acme/dev/reinfer_/acme-dev/inbox"
BY_NAME: dict[str, Any] = {"project": "acme-dev", "source_name": "inbox"}
MANIFEST = {"project": "acme-dev", "sources": [{"name": "inbox"}, {"name": "survey"}]}


# URIs


@pytest.mark.parametrize(
    ("endpoint", "uri"),
    [
        (CLOUD, INBOX),
        ("https://Cloud.UiPath.com/acme/dev/reinfer_/api/v1/", INBOX),
        ("https://acme.reinfer.io", "comms-mining://acme.reinfer.io/acme-dev/inbox"),
        ("https://acme.reinfer.io:443", "comms-mining://acme.reinfer.io/acme-dev/inbox"),
        ("https://cm.example.com:8443/a", "comms-mining://cm.example.com:8443/a/acme-dev/inbox"),
        ("http://127.0.0.1:8089", "comms-mining://127.0.0.1:8089/acme-dev/inbox"),
        ("http://cm.corp", "comms-mining://cm.corp/acme-dev/inbox"),
        ("https://[::1]:8443", "comms-mining://[::1]:8443/acme-dev/inbox"),
        ("https://cm.example.com/caf\u00e9", "comms-mining://cm.example.com/caf%C3%A9/acme-dev/inbox"),
    ],
)
def test_an_endpoint_has_one_uri_which_airflow_leaves_alone(endpoint: str, uri: str) -> None:
    assert source_uri(endpoint, "acme-dev", "inbox") == uri
    assert Asset(uri=uri).uri == uri


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("COMMS-MINING://Cloud.UIPATH.com/acme/dev/reinfer_/acme-dev/inbox", INBOX),
        (INBOX + "/", INBOX),
        ("comms-mining://h/%61cme/in%62ox", "comms-mining://h/acme/inbox"),
        ("comms-mining://h:08089/P/s", "comms-mining://h:8089/P/s"),
        ("comms-mining://h/a b/\u00e9%2f:@%25", "comms-mining://h/a%20b/%C3%A9%2F:@%25"),
    ],
)
def test_airflow_gives_a_uri_its_one_form(written: str, uri: str) -> None:
    assert Asset("a", written).uri == uri
    assert Asset("a", uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("comms-mining:///acme-dev/inbox", "names no host"),
        ("comms-mining://h/inbox", "names no project and source"),
        ("comms-mining://h", "empty, '.' or '..' part|names no project and source"),
        ("comms-mining://h//inbox", "empty, '.' or '..' part"),
        ("comms-mining://h/a/../inbox", "empty, '.' or '..' part"),
        ("comms-mining://h/a/%2e%2E/inbox", "empty, '.' or '..' part"),
        ("comms-mining://h/a/x%2F../inbox", "empty, '.' or '..' part"),
        ("comms-mining://h/acme-dev/inbox?title=x", "no query and no fragment"),
        ("comms-mining://h:port/acme-dev/inbox", "port or the percent-encoding"),
        ("comms-mining://h:99999/acme-dev/inbox", "port or the percent-encoding"),
        ("comms-mining://h/acme-dev/%ff", "port or the percent-encoding"),
    ],
)
def test_airflow_refuses_what_is_no_uri_of_a_source(uri: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as info:
        Asset("a", uri)
    assert "expected comms-mining://<host>/<path of the endpoint>/<project>/<source>" in str(info.value)


@pytest.mark.parametrize(
    "uri",
    [
        "comms-mining://hunter2@h/a/b",
        "comms-mining://me:hunter2@h/a/b",
        "comms-mining://h/a/b#frag",
        "comms-mining://h/a/b?k=hunter2",
    ],
)
def test_what_airflow_would_drop_is_refused_without_being_shown(uri: str) -> None:
    with pytest.raises(ValueError, match="remove what") as info:
        sanitize_uri(urlsplit(uri))
    assert "hunter2" not in str(info.value)


# The helper


def test_a_source_has_the_same_asset_by_endpoint_by_connection_and_by_hand(connect: Connect) -> None:
    connect(host="cloud.uipath.com", extra={"organization": "acme", "tenant": "dev"})
    connect(host=CLOUD, conn_id="prod", password=None, extra={"verify": "/only/on/workers.pem"})
    by_hand = Asset(INBOX)
    assert by_hand.name == by_hand.uri == INBOX
    assert source_asset("acme-dev", "inbox") == by_hand
    assert source_asset("acme-dev", "inbox", comms_mining_conn_id="prod") == by_hand
    assert source_asset("acme-dev", "inbox", endpoint=CLOUD) == by_hand
    named = source_asset("acme-dev", "inbox", endpoint=CLOUD, name="inbox")
    assert (named.name, named.uri) == ("inbox", INBOX)


def test_it_can_be_watched() -> None:
    class Trigger(BaseEventTrigger):
        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "nowhere.Trigger", {}

        async def run(self) -> AsyncIterator[TriggerEvent]:
            yield TriggerEvent({})

    watcher = AssetWatcher(name="poll", trigger=Trigger())  # type: ignore[no-untyped-call]
    assert source_asset("acme-dev", "inbox", endpoint=CLOUD, watchers=(watcher,)).watchers == [watcher]
    assert source_asset("acme-dev", "inbox", endpoint=CLOUD).watchers == []


def test_a_wrong_argument_is_named(connect: Connect) -> None:
    connect()
    for arguments, says in (
        ({"project": "{{ params.project }}"}, "project: "),
        ({"source_name": "in/box"}, "source_name: "),
        ({"endpoint": CLOUD, "comms_mining_conn_id": "prod"}, "endpoint, comms_mining_conn_id: give one of the two"),
        ({"endpoint": "ftp://x"}, "endpoint: "),
    ):
        with pytest.raises(ConfigurationError, match=says):
            source_asset(**{**BY_NAME, **arguments})


# Events


@pytest.fixture
def tenant(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> TenantHandle:
    monkeypatch.setattr("airflow.__version__", "3.1.0")
    return connect()


class Task:
    """A task instance's place for XComs, which are not looked at here."""

    def xcom_push(self, key: str, value: Any) -> None:
        pass


def run(operator: Any, **arguments: Any) -> tuple[Any, Any, list[tuple[str, Any]]]:
    """Run a task with an asset and an alias as outlets: its result, the asset's extra, (source's path, extra)s."""
    asset, alias = Asset("declared"), AssetAlias("alias")
    events = OutletEventAccessors()
    # Outlets can hold what is no asset.
    task = operator(task_id="t", outlets=[asset, alias, "a table"], **arguments)
    result = task.execute({"ti": Task(), "outlet_events": events})
    added = events[alias].asset_alias_events
    assert {each.source_alias_name for each in added} <= {"alias"}
    own = [(each.dest_asset_key.uri.partition("/reinfer_/")[2], each.extra) for each in added]
    assert all(each.dest_asset_key.name == each.dest_asset_key.uri for each in added)
    told = events[asset].extra
    assert json.loads(json.dumps([told, own])) == [told, [list(each) for each in own]]
    return result, told, own


def test_create_update_and_get_tell_of_the_source(tenant: TenantHandle) -> None:
    for operator, more in ((CreateSourceOperator, {}), (UpdateSourceOperator, {"title": "x"}), (GetSourceOperator, {})):
        result, told, own = run(operator, **BY_NAME, **more)
        assert told == {"source": tenant.source("acme-dev", "inbox")} == {"source": result}
        assert own == [("acme-dev/inbox", told)]


def test_a_delete_tells_of_the_id(tenant: TenantHandle) -> None:
    source_id = tenant.add_source("acme-dev", "inbox")["id"]
    gone = {"source_id": source_id, "deleted": True}
    assert run(DeleteSourceOperator, **BY_NAME) == (gone, gone, [("acme-dev/inbox", gone)])
    missing = {"source_id": None, "deleted": False}
    assert run(DeleteSourceOperator, **BY_NAME) == (missing, missing, [("acme-dev/inbox", missing)])
    missing = {"source_id": source_id, "deleted": False}
    assert run(DeleteSourceOperator, source_id=source_id) == (missing, missing, [])
    source_id = tenant.add_source("acme-dev", "inbox")["id"]
    gone = {"source_id": source_id, "deleted": True}
    read = run(DeleteSourceOperator, source_id=source_id, only_if_empty=True)
    assert read == (gone, gone, [("acme-dev/inbox", gone)])


def test_what_only_reads_many_tells_how_many(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "inbox")
    assert run(ListSourcesOperator, project="acme-dev")[1:] == ({"project": "acme-dev", "count": 1}, [])
    assert run(ListSourcesOperator, name_pattern="x*")[1:] == ({"project": None, "count": 0}, [])
    assert run(ExportSourcesOperator, project="acme-dev")[1:] == ({"project": "acme-dev"}, [])


def test_rollouts_tell_of_plan_and_outcomes(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "survey")
    plan, told, own = run(PlanSourcesOperator, manifest=MANIFEST)
    digest = told["digest"]
    assert digest.startswith("sha256:")
    assert (told, own) == ({"project": "acme-dev", "digest": digest, "counts": {"create": 1, "no-op": 1}}, [])

    report, told, own = run(ApplySourcesOperator, plan=plan)
    assert told == {"project": "acme-dev", "digest": digest, "counts": {"done": 1}}
    assert own == [("acme-dev/inbox", told | {"outcome": report["outcomes"][0]})]

    _, told, own = run(ApplySourcesOperator, plan=plan)
    assert told["counts"] == {"unchanged": 1}
    assert [(path, extra["outcome"]["result"]) for path, extra in own] == [("acme-dev/inbox", "unchanged")]

    _, told, own = run(ReconcileSourcesOperator, manifest=MANIFEST)
    assert (told["counts"], own) == ({"no-op": 2}, [])
    tenant.delete_source("acme-dev", "survey")
    _, told, own = run(ReconcileSourcesOperator, manifest=MANIFEST, on_drift="report")
    assert (told["counts"], own) == ({"create": 1, "no-op": 1}, [])
    result, told, own = run(ReconcileSourcesOperator, manifest=MANIFEST)
    assert told == {"project": "acme-dev", "digest": result["report"]["plan_digest"], "counts": {"done": 1}}
    assert [path for path, _ in own] == ["acme-dev/survey"]


def test_on_airflow_3_0_an_alias_is_given_text(tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.__version__", "3.0.6")
    result, told, own = run(CreateSourceOperator, **BY_NAME)
    assert told == {"source": result}
    assert own == [("acme-dev/inbox", {"source": json.dumps(result, sort_keys=True)})]
    monkeypatch.setattr("airflow.__version__", "3.1.0rc1")
    assert run(CreateSourceOperator, **BY_NAME)[2] == [("acme-dev/inbox", told)]


def test_what_a_user_has_said_of_the_event_stays(tenant: TenantHandle) -> None:
    asset, events = Asset("declared"), OutletEventAccessors()
    events[asset].extra = {"mine": 1, "source": "old"}
    task = CreateSourceOperator(task_id="t", outlets=[asset], **BY_NAME)
    result = task.execute({"outlet_events": events})
    assert events[asset].extra == {"mine": 1, "source": result}


def test_outlets_without_a_context_of_airflows_are_left_alone(tenant: TenantHandle) -> None:
    task = CreateSourceOperator(task_id="t", outlets=[Asset("declared"), AssetAlias("alias")], **BY_NAME)
    assert task.execute({}) == tenant.source("acme-dev", "inbox")
