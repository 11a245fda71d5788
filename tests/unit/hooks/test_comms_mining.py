"""The hook: from a connection to answers, on every kind of tenant, and to nobody who should not have them."""

from __future__ import annotations

import itertools
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, Connection, redact

from airflow_provider_cm.api import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    Source,
    TokenError,
    TransportError,
)
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from tests.features import needs
from tests.unit.api.server import STALL, Server, closed_port, ok

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.conftest import Connect, Sent

NEW_TOKEN = "another-developer-token"


# Where it works


@pytest.mark.parametrize("shapes", ["full", "docs"])
@pytest.mark.parametrize("auth", ["token", "app"])
@pytest.mark.parametrize("path", ["/", "/acme/dev/reinfer_"])
def test_the_same_calls_work_on_every_kind_of_tenant(
    comms_mining_emulator: EmulatorServer, connect: Connect, path: str, auth: str, shapes: str
) -> None:
    comms_mining_emulator.configure(shapes=shapes)
    tenant = connect(path, auth=auth)
    hook = CommsMiningHook()

    created = hook.sources.create("acme-dev", "inbox", title="Inbox", language="Multilingual")

    assert hook.sources.get("acme-dev", "inbox").id == created.id
    assert [source.id for source in hook.sources.list()] == [created.id]
    held = tenant.source("acme-dev", "inbox")
    assert held is not None
    assert (held["title"], held["language"]) == ("Inbox", "Multilingual")
    assert {request.tenant for request in comms_mining_emulator.requests} <= {path, ""}
    names = {request.token for request in comms_mining_emulator.requests if request.tenant}
    assert names == {"emulator-admin" if auth == "token" else "emulator-app#1"}


def test_organization_and_tenant_in_the_extra_reach_the_same_tenant(
    comms_mining_emulator: EmulatorServer, connect: Connect
) -> None:
    connect(host=comms_mining_emulator.url, extra={"organization": "acme", "tenant": "prod"})
    CommsMiningHook().sources.create("acme-prod", "inbox")
    assert comms_mining_emulator.tenant("/acme/prod/reinfer_").source("acme-prod", "inbox") is not None
    assert comms_mining_emulator.tenant("/acme/dev/reinfer_").sources() == []


def test_separate_connections_stay_apart(comms_mining_emulator: EmulatorServer, connect: Connect) -> None:
    dev = connect("/acme/dev/reinfer_", conn_id="dev")
    prod = connect("/acme/prod/reinfer_", conn_id="prod", auth="app")
    CommsMiningHook("dev").sources.create("acme-dev", "a")
    CommsMiningHook("prod").sources.create("acme-prod", "b")
    assert [source["name"] for source in dev.sources()] == ["a"]
    assert [source["name"] for source in prod.sources()] == ["b"]


def test_airflow_makes_the_hook_from_a_connection(connect: Connect) -> None:
    connect(conn_id="mine")
    argument: dict[str, Any] = {CommsMiningHook.conn_name_attr: "mine"}
    hook = CommsMiningHook(**argument)
    assert hook.sources.list() == []
    found: Any = BaseHook.get_hook("mine")
    assert type(found) is CommsMiningHook
    assert found.sources.list() == []


def test_the_connection_is_read_on_first_use_and_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = CommsMiningHook("later")
    with pytest.raises(AirflowNotFoundException, match="later"):
        hook.get_conn()
    connect(conn_id="later")
    session = hook.get_conn()
    monkeypatch.delenv("AIRFLOW_CONN_LATER")
    assert hook.get_conn() is session
    assert hook.sources.list() == []


def test_from_connection_needs_no_look_up(comms_mining_emulator: EmulatorServer, sent: Sent) -> None:
    tenant = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    told = tenant.connection()
    connection = Connection(
        conn_id="unknown_to_airflow", conn_type="comms_mining", host=told["host"], password=told["password"]
    )
    hook = CommsMiningHook.from_connection(connection, max_attempts=1)
    assert hook.sources.list() == []
    assert sent() == ["GET sources"]


def test_from_connection_limits_the_attempts(connect: Connect) -> None:
    connect(extra={"max_attempts": 7})
    connection = BaseHook.get_connection("comms_mining_default")
    assert CommsMiningHook().get_conn().retry.max_attempts == 7
    assert CommsMiningHook.from_connection(connection).get_conn().retry.max_attempts == 7
    assert CommsMiningHook.from_connection(connection, max_attempts=1).get_conn().retry.max_attempts == 1


@pytest.mark.parametrize(
    ("host", "ui_url", "project", "url"),
    [
        ("https://cloud.uipath.com/acme/dev/reinfer_", None, "acme-dev", "{host}/projects/acme-dev"),
        ("https://acme.reinfer.io:8443/api/v1/", None, "a.b_c", "https://acme.reinfer.io:8443/projects/a.b_c"),
        ("https://cm.acme.com", "https://ui.acme.com/cm/", "acme-dev", "https://ui.acme.com/cm/projects/acme-dev"),
        ("http://127.0.0.1:8089", "https://ui.acme.com", "acme-dev", "https://ui.acme.com/projects/acme-dev"),
        # A name is one segment, whatever it holds.
        ("https://acme.reinfer.io", None, "a/../b?c#d e%2f", "{host}/projects/a%2F..%2Fb%3Fc%23d%20e%252f"),
        ("https://acme.reinfer.io", None, "..", None),
        ("https://acme.reinfer.io", None, ".", None),
        ("https://acme.reinfer.io", None, "", None),
        ("http://127.0.0.1:8089/acme/dev/reinfer_", None, "acme-dev", None),
        ("https://acme.reinfer.io", "http://localhost:8080", "acme-dev", None),
    ],
)
def test_a_project_has_a_page(connect: Connect, host: str, ui_url: str | None, project: str, url: str | None) -> None:
    connect(host=host, extra={"ui_url": ui_url})
    # No server is listening at these endpoints, so a request would fail.
    assert CommsMiningHook().project_url(project) == (url and url.format(host=host))


def test_the_page_of_a_project_costs_no_request(connect: Connect, sent: Sent) -> None:
    connect(auth="app", extra={"ui_url": "https://ui.acme.com"})
    assert CommsMiningHook().project_url("acme-dev") == "https://ui.acme.com/projects/acme-dev"
    assert sent() == []


# The settings of the connection reach the wire


def test_attempts_and_time_are_those_of_the_connection(connect: Connect) -> None:
    connect(extra={"max_attempts": 2, "max_retry_seconds": 4})
    retry = CommsMiningHook().get_conn().retry
    assert (retry.max_attempts, retry.max_seconds) == (2, 4)
    connect()
    retry = CommsMiningHook().get_conn().retry
    assert (retry.max_attempts, retry.max_seconds) == (5, 300)


def test_a_timeout_of_the_connection_ends_a_slow_answer(connect: Connect) -> None:
    with Server([STALL]) as server:
        connect(host=server.url, extra={"read_timeout": 0.1, "max_attempts": 1, "max_retry_seconds": 10})
        started = time.monotonic()
        with pytest.raises(TransportError, match="in time"):
            CommsMiningHook().sources.list()
    assert time.monotonic() - started < 5


def test_a_proxy_of_the_connection_is_used(connect: Connect) -> None:
    with Server([ok(sources=[])]) as proxy:
        connect(
            host="http://cm.corp", extra={"allow_http": True, "proxy": f"http://me:secret-pw@127.0.0.1:{proxy.port}"}
        )
        assert CommsMiningHook().sources.list() == []
    assert proxy.log == ["GET http://cm.corp/api/v1/sources"]


def _hostile(monkeypatch: pytest.MonkeyPatch, folder: Path, host: str) -> None:
    netrc = folder / "netrc"
    netrc.write_text(f"machine {host} login somebody password else\ndefault login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(netrc))


def test_a_hostile_environment_changes_neither_authorization_nor_proxy(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _hostile(monkeypatch, tmp_path, "cm.corp")
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "cm.corp")
    with Server([ok(sources=[])]) as proxy:
        connect(host="http://cm.corp", extra={"allow_http": True, "proxy": proxy.url, "max_attempts": 1})
        assert CommsMiningHook().sources.list() == []
    assert proxy.log == ["GET http://cm.corp/api/v1/sources"]
    assert proxy.requests[0].headers["Authorization"] == "Bearer emulator-admin"


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_hostile_environment_does_not_change_whom_the_connection_trusts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _hostile(monkeypatch, tmp_path, "127.0.0.1")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    for verify in (str(tmp_path / "ca.pem"), False):
        with Server(itertools.repeat(ok(sources=[])), tls=context) as server:
            connect(host=server.url, extra={"verify": verify, "max_attempts": 1})
            assert CommsMiningHook().sources.list() == []
        assert server.requests[0].headers["Authorization"] == "Bearer emulator-admin"


def test_the_client_certificate_of_the_connection_is_shown(connect: Connect, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("me.example.com").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    extra = {"verify": str(tmp_path / "ca.pem"), "max_attempts": 1}
    with Server(itertools.repeat(ok(sources=[])), tls=context) as server:
        connect(host=server.url, extra=extra)
        with pytest.raises(TransportError):
            CommsMiningHook().sources.list()
        connect(host=server.url, extra={**extra, "client_cert": str(tmp_path / "me.pem")})
        assert CommsMiningHook().sources.list() == []


def test_scopes_of_the_connection_are_asked_for(comms_mining_emulator: EmulatorServer, connect: Connect) -> None:
    connect(auth="app", extra={"scope": "PM.User"})
    with pytest.raises(PermissionDeniedError):
        CommsMiningHook().sources.list()
    assert "scope=PM.User&" in comms_mining_emulator.requests[0].body.decode() + "&"


# Bad connections


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"host": None}, "host: it is empty"),
        ({"password": None}, "password: it is empty"),
        ({"password": "with\nbreak-Zq8Xv"}, "password: .*line break"),
        ({"password": "Bearer break-Zq8Xv"}, "password: .*begins with 'Bearer '"),
        ({"port": 443}, "port: write it into the host"),
        ({"schema": "https"}, "schema: it is not used"),
        ({"extra": {"read_onyl": True}}, "did you mean `read_only`"),
        ({"extra": {"verify": "/nowhere"}}, "verify: there is no file '/nowhere'"),
        pytest.param({"extra": "{"}, "extra: it is not valid JSON", marks=needs("malformed extra")),
        ({"host": "http://cm.corp"}, "host: .*plain http"),
        ({"host": "https://me:break-Zq8Xv@cm.corp"}, "host: remove the credentials"),
        ({"host": "https://acme.reinfer.io", "login": "app"}, "identity_url: give the token endpoint"),
    ],
)
def test_a_bad_connection_is_refused_before_any_request(
    connect: Connect, sent: Sent, fields: dict[str, Any], told: str
) -> None:
    connect(**fields)
    hook = CommsMiningHook()
    with pytest.raises(ConfigurationError, match=told) as info:
        hook.sources.list()
    assert str(info.value).startswith("connection 'comms_mining_default': ")
    assert "break-Zq8Xv" not in str(info.value)
    assert "break-Zq8Xv" not in repr(info.value)
    working, message = hook.test_connection()
    assert not working
    assert message == str(info.value)
    assert sent() == []


# test_connection


def test_the_test_button_says_what_is_visible(connect: Connect) -> None:
    tenant = connect()
    tenant.add_source("acme-dev", "a")
    assert CommsMiningHook().test_connection() == (True, "Connected: 1 project, 1 source visible.")
    tenant.add_source("acme-dev", "b")
    tenant.add_source("acme-prod", "c")
    assert CommsMiningHook().test_connection() == (True, "Connected: 2 projects, 3 sources visible.")


def test_the_test_button_works_for_a_viewer(connect: Connect) -> None:
    connect(token="emulator-viewer").add_source("acme-dev", "a")
    assert CommsMiningHook().test_connection() == (True, "Connected: 1 project, 1 source visible.")


def test_the_test_button_says_what_none_visible_may_mean(connect: Connect) -> None:
    connect()
    working, message = CommsMiningHook().test_connection()
    assert working
    assert "0 sources are visible" in message
    assert "'View sources'" in message


def test_the_test_button_asks_once(connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent) -> None:
    connect(extra={"max_attempts": 7})
    comms_mining_emulator.faults.add("503", "*", times=9)
    hook = CommsMiningHook()
    working, message = hook.test_connection()
    assert not working
    assert sent() == ["GET sources"]
    assert message.startswith("connection 'comms_mining_default': GET sources: 503")
    assert hook.get_conn().retry.max_attempts == 7


@pytest.mark.parametrize("bad", [{"host": None}, {"password": "wrong"}, {"password": "a b"}])
@pytest.mark.parametrize(
    ("conn_id", "name"),
    [
        ("comms_mining_prod", "connection 'comms_mining_prod': "),
        ("cm-prod", "connection 'cm-prod': "),
        ("commsdev", "connection 'commsdev': "),
        ("x7GkQ2pL", "this connection: "),  # as Airflow's API server makes one up for the button
        ("abcDefgh", "this connection: "),
        ("84620193", "this connection: "),
    ],
)
def test_the_test_button_names_the_connection_and_no_made_up_id(
    connect: Connect, conn_id: str, name: str, bad: dict[str, Any]
) -> None:
    connect(conn_id=conn_id, **bad)
    working, message = CommsMiningHook(conn_id).test_connection()
    assert not working
    assert message.startswith(name)
    assert message.count(conn_id) == name.count(conn_id)


def test_the_test_button_says_that_the_token_is_bad(connect: Connect) -> None:
    connect(password="wrong-token-Zq8Xv")
    working, message = CommsMiningHook().test_connection()
    assert not working
    assert "401 Unauthorized: The token is not valid" in message
    assert "generating a new developer token invalidates the previous one" in message
    assert "wrong-token-Zq8Xv" not in message


def test_the_test_button_says_that_the_app_secret_is_bad(connect: Connect) -> None:
    connect(auth="app", password="wrong-secret-Zq8Xv")
    working, message = CommsMiningHook().test_connection()
    assert not working
    assert "invalid_client" in message
    assert "App Secret (password)" in message
    assert "wrong-secret-Zq8Xv" not in message


# Secrets


def test_a_minted_token_is_masked_in_airflows_logs(comms_mining_emulator: EmulatorServer, connect: Connect) -> None:
    connect(auth="app")
    CommsMiningHook().sources.list()
    token = comms_mining_emulator.requests[-1].headers["authorization"].removeprefix("Bearer ")
    assert len(token) > 20
    assert redact(f"it is {token}.") == "it is ***."


def test_the_password_of_a_proxy_is_masked_in_airflows_logs(connect: Connect) -> None:
    connect(extra={"proxy": "http://me:p%40ss-Word9@127.0.0.1:1"})
    CommsMiningHook().get_conn()
    assert redact("p%40ss-Word9 p@ss-Word9 http://me:p%40ss-Word9@127.0.0.1:1") == "*** *** ***"


@pytest.mark.parametrize("auth", ["token", "app"])
def test_no_repr_shows_a_secret(comms_mining_emulator: EmulatorServer, connect: Connect, auth: str) -> None:
    connect(auth=auth, extra={"max_attempts": 1})
    hook = CommsMiningHook()
    hook.sources.list()
    minted = comms_mining_emulator.requests[-1].headers["authorization"].removeprefix("Bearer ")
    shown = f"{hook!r} {hook.get_conn()!r} {hook} {hook.sources!r} {vars(hook)}"
    assert repr(hook) == "CommsMiningHook('comms_mining_default')"
    for secret in (minted, "emulator-secret", "emulator-admin"):
        assert secret not in shown


# Guards


@pytest.mark.parametrize(
    "call",
    [
        ("PUT", "sources", "acme-dev", "new"),
        ("post", "sources", "acme-dev", "inbox"),
        ("POST", "datasets", "acme-dev", "x"),
        ("DELETE", "sources", "id:18ba5ce699f8da1f"),
        ("PATCH", "anything"),
    ],
)
def test_a_read_only_connection_sends_no_write(connect: Connect, sent: Sent, call: tuple[str, ...]) -> None:
    connect(extra={"read_only": True})
    with pytest.raises(ConfigurationError, match="was not sent: the connection is `read_only`"):
        CommsMiningHook().request(*call, json={"source": {}})
    assert sent() == []


def test_a_read_only_connection_reads(connect: Connect) -> None:
    connect(extra={"read_only": True}).add_source("acme-dev", "inbox", messages=3)
    hook = CommsMiningHook()
    assert len(hook.sources.list()) == 1
    assert hook.sources.message_count("acme-dev", "inbox") == 3


def test_allow_delete_false_refuses_deletes_only(connect: Connect, sent: Sent) -> None:
    tenant = connect(extra={"allow_delete": False})
    source = CommsMiningHook().sources.create("acme-dev", "inbox")
    sent()
    with pytest.raises(ConfigurationError, match="`allow_delete` set to false"):
        CommsMiningHook().sources.delete(source.id)
    assert sent() == []
    assert tenant.source("acme-dev", "inbox") is not None


def test_allowed_projects_confine_writes(connect: Connect, sent: Sent) -> None:
    connect(extra={"allowed_projects": "acme-d*"})
    hook = CommsMiningHook()
    hook.sources.create("acme-dev", "inbox")
    sent()
    with pytest.raises(ConfigurationError, match=r"project 'acme-prod' is not among .*`allowed_projects` \(acme-d\*\)"):
        hook.sources.create("acme-prod", "inbox")
    with pytest.raises(ConfigurationError, match="project 'acme-prod' is not among"):
        hook.request("POST", "sources", "acme-prod", "inbox", json={"source": {}})
    assert sent() == []
    assert hook.sources.list("acme-prod") == []


def test_allowed_projects_find_out_whose_source_an_id_is(connect: Connect, sent: Sent) -> None:
    tenant = connect(extra={"allowed_projects": ["acme-dev"]})
    mine, other = tenant.add_source("acme-dev", "a"), tenant.add_source("acme-prod", "b")
    hook = CommsMiningHook()
    with pytest.raises(ConfigurationError, match="project 'acme-prod' is not among"):
        hook.sources.delete(other["id"])
    assert sent() == [f"GET sources/id:{other['id']}"]
    hook.sources.delete(mine["id"])
    assert sent() == [f"GET sources/id:{mine['id']}", f"DELETE sources/id:{mine['id']}"]


# Any other endpoint


def test_request_reaches_any_endpoint(connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent) -> None:
    connect()
    hook = CommsMiningHook()
    answer = hook.request("PUT", "sources", "acme-dev", "inbox", json={"source": {"title": "Inbox"}})
    assert answer["source"]["title"] == "Inbox"
    assert [project["name"] for project in hook.request("GET", "projects", version="_private")["projects"]] == [
        "acme-dev",
        "acme-prod",
    ]
    sent()
    hook.request("GET", "sources", params={"a": "b c", "d": ["e", "f"]})
    assert sent() == ["GET sources?a=b+c&d=e&d=f"]


def test_request_ends_in_the_typed_errors(connect: Connect) -> None:
    connect(token="emulator-viewer")
    hook = CommsMiningHook()
    with pytest.raises(NotFoundError):
        hook.request("GET", "no-such-thing")
    with pytest.raises(PermissionDeniedError):
        hook.request("PUT", "sources", "acme-dev", "inbox", json={"source": {}})
    connect()
    with pytest.raises(BadRequestError):
        CommsMiningHook().request("PUT", "sources", "acme-dev", "inbox", json={"source": {"tilte": ""}})


# Tokens that change


def test_a_developer_token_replaced_in_the_connection_is_picked_up(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    connect()
    hook = CommsMiningHook()
    hook.sources.list()
    comms_mining_emulator.replace_token("emulator-admin", NEW_TOKEN)
    connect()
    sent()
    assert hook.sources.list() == []
    assert sent() == ["GET sources", "GET sources"]
    assert hook.sources.list() == []
    assert sent() == ["GET sources"]


def test_a_developer_token_that_is_still_the_old_one_is_not_tried_again(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    connect()
    hook = CommsMiningHook()
    comms_mining_emulator.replace_token("emulator-admin", NEW_TOKEN)
    with pytest.raises(AuthenticationError):
        hook.sources.list()
    assert sent() == ["GET sources"]


ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("host", {"host": "https://cm.example/acme/dev/reinfer_"}),
    ("host", {"host": "https://cm.example/acme/dev/reinfer_", "login": "", "extra": {"max_attempts": 1}}),
    ("login", {"login": "an-app", "extra": {"identity_url": "https://id.example/token"}}),
    ("verify", {"extra": {"verify": False}}),
    ("proxy", {"extra": {"proxy": "http://127.0.0.1:9"}}),
    ("client_cert", {"extra": {"client_cert": __file__}}),
    ("allow_http", {"extra": {"allow_http": True}}),
    ("guards", {"extra": {"read_only": True}}),
    ("guards", {"extra": {"allow_delete": False}}),
    ("guards", {"extra": {"allowed_projects": "acme-*"}}),
]


@pytest.mark.parametrize(("field", "fields"), ELSEWHERE, ids=[f"{field}-{fields}" for field, fields in ELSEWHERE])
def test_a_token_meant_for_another_place_is_not_sent_to_the_former_one(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent, field: str, fields: dict[str, Any]
) -> None:
    connect()
    hook = CommsMiningHook()
    hook.get_conn()
    comms_mining_emulator.replace_token("emulator-admin", NEW_TOKEN)
    connect(**{"password": NEW_TOKEN, **fields})
    for _ in range(2):
        with pytest.raises(AuthenticationError) as info:
            hook.sources.list()
        (request,) = comms_mining_emulator.requests
        assert request.headers["authorization"] == "Bearer emulator-admin"
        assert sent() == ["GET sources"]
    message = str(info.value)
    assert message.startswith("GET sources: 401 Unauthorized: ")
    assert f"{field} changed" in message or f"{field}, " in message
    assert "connection 'comms_mining_default' now leads elsewhere" in message
    assert "Start the task again" in message
    assert NEW_TOKEN not in message
    assert (info.value.status, info.value.transient) == (401, False)


@pytest.mark.parametrize("extra", [{"max_attempts": 2}, {"read_timeout": 5}, {"ui_url": "https://ui.example"}])
def test_a_token_replaced_along_with_a_setting_that_does_not_bind_it_is_picked_up(
    connect: Connect, comms_mining_emulator: EmulatorServer, extra: dict[str, Any]
) -> None:
    connect()
    hook = CommsMiningHook()
    hook.get_conn()
    comms_mining_emulator.replace_token("emulator-admin", NEW_TOKEN)
    connect(extra=extra)
    assert hook.sources.list() == []


def test_a_connection_that_is_gone_or_broken_after_a_401_is_a_typed_error(
    connect: Connect, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()
    hook = CommsMiningHook()
    hook.get_conn()
    comms_mining_emulator.replace_token("emulator-admin", NEW_TOKEN)
    connect(host="")
    with pytest.raises(ConfigurationError, match="host: it is empty"):
        hook.sources.list()
    monkeypatch.delenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT")
    with pytest.raises(TokenError, match=r"could not be read again .*\(AirflowNotFoundException\)") as info:
        hook.sources.list()
    assert info.value.transient


def test_a_minted_token_that_is_revoked_is_replaced(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    connect(auth="app")
    hook = CommsMiningHook()
    hook.sources.list()
    comms_mining_emulator.revoke_token("emulator-app#1")
    sent()
    assert hook.sources.list() == []
    assert sent() == ["GET sources", "POST /acme/identity_/connect/token", "GET sources"]


def test_one_hook_in_many_threads_mints_one_token(
    connect: Connect, comms_mining_emulator: EmulatorServer, sent: Sent
) -> None:
    comms_mining_emulator.configure(latency_ms=20)
    connect(auth="app").add_source("acme-dev", "inbox")
    hook = CommsMiningHook()

    def read(_: int) -> Source:
        return hook.sources.get("acme-dev", "inbox")

    with ThreadPoolExecutor(32) as pool:
        names = {source.name for source in pool.map(read, range(64))}
    assert names == {"inbox"}
    requests = sent()
    assert len([request for request in requests if "identity_" in request]) == 1
    assert requests.count("GET sources/acme-dev/inbox") == 64


# The log


def test_each_call_leaves_one_line_in_the_log(connect: Connect, capfd: pytest.CaptureFixture[str]) -> None:
    connect()
    hook = CommsMiningHook()
    hook.sources.create("acme-dev", "inbox")
    with pytest.raises(NotFoundError):
        hook.sources.get("acme-dev", "other")
    lines = [line for line in capfd.readouterr().out.splitlines() if " -> " in line]
    assert len(lines) == 2
    assert re.search(r"\bPUT sources/acme-dev/inbox -> 200 in \d+ ms \(platform \d+ ms\)", lines[0])
    assert re.search(r"\bGET sources/acme-dev/other -> 404 in \d+ ms \(platform \d+ ms\)", lines[1])
