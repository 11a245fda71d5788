"""The admin endpoint, and the same things in process."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.middleware import tidy
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@pytest.fixture
def admin(comms_mining_emulator: EmulatorServer) -> Caller:
    return Caller(comms_mining_emulator.url + "/_emulator", token=None)


def test_the_record_holds_requests_without_secrets(api: Caller, admin: Caller) -> None:
    api.create()
    Caller(api.base, "unknown-secret")("GET", "/api/v1/sources?a=%2F")
    form = {"grant_type": "client_credentials", "client_id": "emulator-app", "client_secret": "emulator-secret"}
    requests.post(api.base + "/identity_/connect/token", data=form, timeout=5)
    answer = admin("GET", "/requests")
    put, get, post = answer.json()["requests"]
    assert (put["method"], put["path"], put["status"]) == ("PUT", "/api/v1/sources/acme-dev/inbox", 200)
    assert (put["body"], put["tenant"]) == ('{"source": {}}', "/")
    assert put["headers"]["authorization"] == "emulator-admin"
    assert (get["path"], get["status"], get["headers"]["authorization"]) == ("/api/v1/sources?a=%2F", 401, "(unknown)")
    assert (post["tenant"], "client_id=emulator-app" in post["body"]) == ("", True)
    assert "unknown-secret" not in answer.text
    assert "emulator-secret" not in answer.text
    assert admin("DELETE", "/requests").status_code == 200
    assert admin("GET", "/requests").json()["requests"] == []


def test_the_changes_are_what_was_done(comms_mining_emulator: EmulatorServer, api: Caller, admin: Caller) -> None:
    source = api.create(title="T")
    api.update(title="U")
    api("DELETE", f"/api/v1/sources/id:{source['id']}")
    api("DELETE", f"/api/v1/sources/id:{source['id']}")
    changes = admin("GET", "/changes").json()["changes"]
    titles = [(each["action"], *((each[k] or {}).get("title") for k in ("before", "after"))) for each in changes]
    assert titles == [("create", None, "T"), ("update", "T", "U"), ("delete", "U", None)]
    assert [change.action for change in comms_mining_emulator.changes] == ["create", "update", "delete"]


def test_settings_change_at_run_time(api: Caller, admin: Caller) -> None:
    api.create()
    answer = admin("PATCH", "/settings", {"duplicate_put": 422, "shapes": "docs"})
    assert answer.json()["settings"] == admin("GET", "/settings").json()["settings"]
    assert api("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {}}).status_code == 422
    wrong = admin("PATCH", "/settings", {"duplicate_put": 1})
    assert (wrong.status_code, "duplicate_put" in wrong.json()["message"]) == (400, True)


def test_message_counts_and_projects(api: Caller, admin: Caller) -> None:
    assert admin("POST", "/projects", {"name": "mine"}).json()["project"]["name"] == "mine"
    api.create("inbox", "mine")
    count = {"project": "mine", "name": "inbox", "count": 7}
    assert admin("PUT", "/message-count", count).json() == {"status": "ok"}
    answer = api("POST", "/api/v1/sources/mine/inbox/statistics", {"comment_filter": {}})
    assert answer.json()["statistics"] == {"num_comments": 7.0}
    assert admin("PUT", "/message-count", {**count, "name": "absent"}).status_code == 404
    assert admin("PUT", "/message-count", {**count, "tenant": "/absent"}).status_code == 404
    assert admin("PUT", "/message-count", {**count, "count": -1}).status_code == 400


def test_tokens_are_listed_replaced_and_revoked(api: Caller, admin: Caller) -> None:
    assert [token["name"] for token in admin("GET", "/tokens").json()["tokens"]] == [
        "emulator-admin",
        "emulator-viewer",
    ]
    assert admin("PUT", "/tokens/emulator-admin", {"token": "fresh"}).status_code == 200
    assert api("GET", "/api/v1/sources").status_code == 401
    assert Caller(api.base, "fresh")("GET", "/api/v1/sources").status_code == 200
    assert admin("DELETE", "/tokens/emulator-admin").status_code == 200
    assert Caller(api.base, "fresh")("GET", "/api/v1/sources").status_code == 401
    assert admin("DELETE", "/tokens/emulator-admin").status_code == 404


def test_reset_is_the_beginning(api: Caller, admin: Caller) -> None:
    api.create()
    admin("PATCH", "/settings", {"shapes": "docs"})
    admin("DELETE", "/tokens/emulator-viewer")
    assert admin("POST", "/reset").json() == {"status": "ok"}
    overview = admin("GET", "").json()
    assert overview["settings"] == EmulatorSettings().model_dump(mode="json")
    assert overview["tenants"]["/"] == {"projects": ["acme-dev", "acme-prod"], "sources": 0}
    assert [token["name"] for token in overview["tokens"]] == ["emulator-admin", "emulator-viewer"]
    assert admin("GET", "/requests").json()["requests"] == []


def test_a_server_starts_and_stops_without_a_trace() -> None:
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server = EmulatorServer(settings=EmulatorSettings(shapes="docs"))
        with server:
            Caller(server.url).create()
            url = server.url
        assert set(threading.enumerate()) == before
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        # It comes back where it was, with what it held; its settings survive a reset.
        with server:
            assert server.url == url
            assert [source["name"] for source in server.tenant("/").sources()] == ["inbox"]
            server.configure(shapes="full")
            server.reset()
            assert server.settings.shapes == "docs"


def test_a_port_in_use_is_an_os_error(comms_mining_emulator: EmulatorServer) -> None:
    port = int(comms_mining_emulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        EmulatorServer(port).start()


def test_what_the_handle_refuses_is_an_api_error(comms_mining_emulator: EmulatorServer) -> None:
    tenant = comms_mining_emulator.tenant("acme/dev/reinfer_/")
    assert tenant.add_project("x", title="X")["title"] == "X"
    assert tenant.add_source("x", "inbox", messages=3, language="de")["language"] == "de"
    assert tenant.update_source("x", "inbox", title="T")["title"] == "T"
    tenant.delete_source("x", "inbox")
    assert tenant.source("x", "inbox") is None
    for call in (
        lambda: tenant.add_source("x", "a b"),
        lambda: tenant.add_source("x", "a", color="red"),
        lambda: tenant.add_source("absent", "a"),
        lambda: tenant.set_message_count("x", "inbox", 1),
        lambda: tenant.delete_source("x", "inbox"),
        lambda: comms_mining_emulator.tenant("/absent"),
    ):
        with pytest.raises(RefusedRequestError):
            call()


def test_many_threads_lose_nothing(comms_mining_emulator: EmulatorServer) -> None:
    def work(number: int) -> None:
        with (api := Caller(comms_mining_emulator.url)).session:
            for index in range(10):
                api.create(f"s-{number}-{index}")
            statuses.append(api("PUT", "/api/v1/sources/acme-dev/same", {"source": {}}).status_code)

    statuses: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(comms_mining_emulator.tenant("/").sources()) == 81
    assert sorted(statuses) == [200] + [409] * 7
    assert len(comms_mining_emulator.requests) == 88


def test_a_layer_can_come_between() -> None:
    class Teapot:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] != "/api/v1/sources":
                await self.app(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"tea"})

    with EmulatorServer(middleware=[Teapot]) as server:
        api = Caller(server.url)
        api.create()
        answer = api("GET", "//api/v1/sources")
        assert (answer.status_code, answer.text, "Server-Timing" in answer.headers) == (418, "tea", True)
        assert [request.status for request in server.requests] == [200, 418]


@pytest.mark.parametrize(
    ("raw", "path"), [("/a%2fb%2F/c", "/a/b/c"), ("//a///b", "/a/b"), ("/a%252Fb", "/a%2Fb"), ("/%C3%BC", "/ü")]
)
def test_paths_are_tidied(raw: str, path: str) -> None:
    assert tidy(raw) == path


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_body_as_curl_sends_it_is_json(admin: Caller) -> None:
    for method, path, body in (
        ("POST", "/faults", '{"kind": "503"}'),
        ("PATCH", "/settings", '{"duplicate_put": "upsert"}'),
        ("POST", "/settings", '{"duplicate_put": 400}'),
        ("POST", "/projects", '{"tenant": "/", "name": "mine"}'),
        ("POST", "/tokens", '{"tenant": "/", "name": "own", "role": "viewer", "token": "own-value"}'),
    ):
        answer = admin(method, path, data=body, headers=FORM)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", ["", "kind=503", "[]", "5"])
def test_an_unusable_body_says_what_was_expected(admin: Caller, body: str) -> None:
    for method, path in (("POST", "/faults"), ("PATCH", "/settings"), ("PUT", "/message-count"), ("POST", "/tokens")):
        answer = admin(method, path, data=body, headers=FORM)
        assert (answer.status_code, "send JSON such as {" in answer.json()["message"]) == (400, True), answer.text


def test_a_token_of_one_tenant_can_be_added(api: Caller, admin: Caller) -> None:
    body = {"tenant": "/acme/dev/reinfer_", "name": "dev-only", "role": "viewer"}
    value = admin("POST", "/tokens", body).json()["token"]["value"]
    assert Caller(f"{api.base}/acme/dev/reinfer_", value)("GET", "/api/v1/sources").status_code == 200
    assert Caller(api.base, value)("GET", "/api/v1/sources").status_code == 401
    assert admin("POST", "/tokens", {**body, "tenant": "/absent"}).status_code == 404
