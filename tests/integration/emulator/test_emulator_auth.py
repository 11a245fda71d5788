"""Tokens, permissions, the token endpoint and tenants."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.emulator.errors import RefusedRequestError
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM = {
    "grant_type": "client_credentials",
    "client_id": "emulator-app",
    "client_secret": "emulator-secret",
    "scope": "PM.User PM.User.Read Ixp.ApiAccess",
}


def _mint(url: str, **changes: str) -> requests.Response:
    return requests.post(url + "/identity_/connect/token", data={**FORM, **changes}, timeout=5)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic emulator-admin", "emulator-admin"]
)
def test_without_a_valid_token_it_is_401(comms_mining_emulator: EmulatorServer, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/api/v1/sources", "/auth/user", "/api/_private/projects"):
        answer = requests.get(comms_mining_emulator.url + path, headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["status"]) == (401, "error")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_is_judged_before_the_body(comms_mining_emulator: EmulatorServer) -> None:
    answer = Caller(comms_mining_emulator.url, "wrong")("PUT", "/api/v1/sources/acme-dev/b.a.d", data="{")
    assert answer.status_code == 401


@pytest.mark.parametrize("status", [401, 403])
def test_a_viewer_may_only_look(comms_mining_emulator: EmulatorServer, api: Caller, status: int) -> None:
    comms_mining_emulator.configure(no_permission=status)
    source = api.create()
    viewer = Caller(comms_mining_emulator.url, "emulator-viewer")
    path = "/api/v1/sources/acme-dev/inbox"
    for method, target in (("PUT", path), ("POST", path), ("DELETE", f"/api/v1/sources/id:{source['id']}")):
        answer = viewer(method, target, {"source": {"title": "mine"}})
        assert (answer.status_code, answer.json()["status"]) == (status, "error")
        assert "'Sources admin'" in answer.json()["message"]
    assert viewer("GET", "/api/v1/sources").json()["sources"] == [source]


def test_a_replaced_token_is_refused(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.replace_token("emulator-admin", "fresh")
    assert api("GET", "/api/v1/sources").status_code == 401
    assert Caller(comms_mining_emulator.url, "fresh")("GET", "/api/v1/sources").status_code == 200
    assert comms_mining_emulator.tenant("/").connection()["password"] == "fresh"


@pytest.mark.parametrize("prefix", ["", "/acme"])
def test_a_token_is_minted_for_an_application(comms_mining_emulator: EmulatorServer, prefix: str) -> None:
    answer = _mint(comms_mining_emulator.url + prefix)
    body = answer.json()
    assert (answer.status_code, set(body)) == (200, {"access_token", "expires_in", "token_type", "scope"})
    assert (body["expires_in"], body["token_type"], body["scope"]) == (3600, "Bearer", FORM["scope"])
    assert answer.headers["Cache-Control"] == "no-store"
    app = Caller(comms_mining_emulator.url + "/acme/dev/reinfer_", body["access_token"])
    assert app.create()["name"] == "inbox"
    assert comms_mining_emulator.requests[-1].token == "emulator-app#1"


def test_an_organisation_nobody_knows_has_no_token_endpoint(comms_mining_emulator: EmulatorServer) -> None:
    assert _mint(comms_mining_emulator.url + "/other").status_code == 404


def test_the_client_may_use_basic_authentication(comms_mining_emulator: EmulatorServer) -> None:
    basic = base64.b64encode(b"emulator-app:emulator-secret").decode()
    answer = requests.post(
        comms_mining_emulator.url + "/identity_/connect/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {basic}"},
        timeout=5,
    )
    assert (answer.status_code, answer.json()["scope"]) == (200, FORM["scope"])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"scope": "PM.User offline_access"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
    ],
)
def test_token_errors_are_oauths(comms_mining_emulator: EmulatorServer, changes: dict[str, str], error: str) -> None:
    answer = _mint(comms_mining_emulator.url, **changes)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_a_token_request_must_be_a_form(comms_mining_emulator: EmulatorServer) -> None:
    url = comms_mining_emulator.url + "/identity_/connect/token"
    answer = requests.post(url, json=FORM, timeout=5)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
    assert requests.get(url, timeout=5).status_code == 405


def test_invalid_client_may_be_401(comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.configure(invalid_client=401)
    answer = _mint(comms_mining_emulator.url, client_secret="wrong")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Basic")


def test_a_token_without_the_apis_scope_opens_nothing(comms_mining_emulator: EmulatorServer) -> None:
    token = _mint(comms_mining_emulator.url, scope="PM.User").json()["access_token"]
    assert Caller(comms_mining_emulator.url, token)("GET", "/api/v1/sources").status_code == 403


class _Clock:
    def __init__(self) -> None:
        self.time = datetime(2024, 2, 29, 12, 0, 0, 340295, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def timed(clock: _Clock) -> Iterator[EmulatorServer]:
    with EmulatorServer(clock=clock) as server:
        yield server


def test_minted_tokens_expire_by_the_emulators_clock(timed: EmulatorServer, clock: _Clock) -> None:
    timed.configure(token_lifetime=60)
    app = Caller(timed.url, _mint(timed.url).json()["access_token"])
    clock.time += timedelta(seconds=59)
    assert app("GET", "/api/v1/sources").status_code == 200
    clock.time += timedelta(seconds=1)
    answer = app("GET", "/api/v1/sources")
    assert (answer.status_code, answer.json()["message"]) == (401, "The token has expired")


def test_timestamps_and_the_date_header_follow_the_clock(timed: EmulatorServer, clock: _Clock) -> None:
    api = Caller(timed.url)
    assert api.create()["created_at"] == "2024-02-29T12:00:00.340295+00:00"
    timed.configure(timestamp_digits="trim")
    clock.time += timedelta(days=1, microseconds=5)
    answer = api.update(title="x")
    assert answer.headers["Date"] == "Fri, 01 Mar 2024 12:00:00 GMT"
    assert answer.json()["source"]["updated_at"] == "2024-03-01T12:00:00.3403+00:00"


def test_the_rate_limit_is_each_tokens_own(timed: EmulatorServer, clock: _Clock) -> None:
    timed.configure(rate_limit=2)
    api, viewer = Caller(timed.url), Caller(timed.url, "emulator-viewer")
    assert api("GET", "/api/v1/sources").status_code == 200
    clock.time += timedelta(seconds=20)
    assert api("GET", "/api/v1/sources").status_code == 200
    refused = api("GET", "/api/v1/sources")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "40")
    assert refused.json() == {"status": "error", "message": "429 Too Many Requests"}
    assert viewer("GET", "/api/v1/sources").status_code == 200
    clock.time += timedelta(seconds=40)
    assert api("GET", "/api/v1/sources").status_code == 200


@pytest.mark.parametrize("path", ["/", "/acme/dev/reinfer_", "/acme/prod/reinfer_"])
def test_each_tenant_is_its_own(comms_mining_emulator: EmulatorServer, path: str) -> None:
    tenant = comms_mining_emulator.tenant(path)
    api = Caller(tenant.endpoint)
    source = api.create("inbox", "acme-prod")
    assert tenant.sources() == [source] == [tenant.source("acme-prod", "inbox")]
    for other in {"/", "/acme/dev/reinfer_", "/acme/prod/reinfer_"} - {path}:
        assert comms_mining_emulator.tenant(other).sources() == []
    request = comms_mining_emulator.requests[0]
    assert request.path == path.rstrip("/") + "/api/v1/sources/acme-prod/inbox"
    assert (request.tenant, request.method, request.json) == (path, "PUT", {"source": {}})
    assert (request.status, request.token) == (200, "emulator-admin")
    assert request.headers["AUTHORIZATION"] == "Bearer emulator-admin"


def test_paths_beside_a_tenant_belong_to_the_root(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    assert api("GET", "/acme/dev/reinfer_x/api/v1/sources").json()["message"] == "404 Not Found"
    assert comms_mining_emulator.requests[-1].tenant == "/"


def test_connections(comms_mining_emulator: EmulatorServer) -> None:
    url = comms_mining_emulator.url
    root, dev = comms_mining_emulator.tenant("/"), comms_mining_emulator.tenant("/acme/dev/reinfer_")
    assert json.loads(json.dumps(root.connection())) == {
        "conn_type": "comms_mining",
        "host": url,
        "password": "emulator-admin",
        "extra": {},
    }
    assert root.connection("app") == {
        "conn_type": "comms_mining",
        "host": url,
        "login": "emulator-app",
        "password": "emulator-secret",
        "extra": {"identity_url": f"{url}/identity_/connect/token"},
    }
    assert dev.connection("app")["extra"] == {}
    assert dev.connection(token="emulator-viewer")["password"] == "emulator-viewer"
    assert dev.identity_url == f"{url}/acme/identity_/connect/token"


def test_a_tenants_own_token_is_unknown_to_the_others(comms_mining_emulator: EmulatorServer) -> None:
    dev, prod = (comms_mining_emulator.tenant(path) for path in ("/acme/dev/reinfer_", "/acme/prod/reinfer_"))
    value = dev.add_token("dev-loader")
    assert Caller(dev.endpoint, value)("GET", "/api/v1/sources").status_code == 200
    answer = Caller(prod.endpoint, value)("GET", "/api/v1/sources")
    assert (answer.status_code, answer.json()["message"]) == (401, "The token is not valid")
    # The mix-up that a connection can hold: one tenant's host, another's token.
    assert prod.connection(token="dev-loader")["password"] == value
    for path in ("/", "/acme/prod/reinfer_"):
        assert Caller(comms_mining_emulator.tenant(path).endpoint)("GET", "/api/v1/sources").status_code == 200
    with pytest.raises(RefusedRequestError, match="There is a token named 'dev-loader' already"):
        prod.add_token("dev-loader")


def test_a_token_minted_for_an_organisation_opens_its_tenants_only(comms_mining_emulator: EmulatorServer) -> None:
    acme = comms_mining_emulator.tenant("/acme/dev/reinfer_")
    form = {"grant_type": "client_credentials", "client_id": "emulator-app", "client_secret": "emulator-secret"}
    value = requests.post(acme.identity_url, data=form, timeout=5).json()["access_token"]
    assert Caller(acme.endpoint, value)("GET", "/api/v1/sources").status_code == 200
    assert Caller(comms_mining_emulator.url, value)("GET", "/api/v1/sources").status_code == 401
