"""
``shapes=full``: what the vendor's command-line client sends and insists on, request by request.

The client pushes a full name as one path segment (``acme-dev%2Finbox``), doubles the slash after a base URL that ends
in one, sends nothing but Authorization besides the body's type, and refuses an answer without a ``status`` that agrees
with HTTP's, or a source without ``language`` and ``_kind``. The requests are written by hand, byte for byte.
"""

from __future__ import annotations

import http.client
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

BASES = ["", "/", "/acme/dev/reinfer_", "/acme/dev/reinfer_/"]


class Client:
    """Sends requests as the client does, and checks answers as it does."""

    def __init__(self, server: EmulatorServer, base: str = "", token: str = "emulator-admin") -> None:
        self.host = server.url.removeprefix("http://")
        self.base = base
        self.token = token

    def __call__(self, method: str, path: str, body: object = None, status: int = 200) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        # Not request(), which adds headers and would tidy up.
        connection.putrequest(method, self.base + path, skip_accept_encoding=True)
        connection.putheader("authorization", f"Bearer {self.token}")
        connection.putheader("accept", "*/*")
        connection.putheader("accept-encoding", "gzip")
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        payload: dict[str, Any] = json.loads(answer.read())
        connection.close()
        assert answer.status == status, payload
        assert payload["status"] == ("ok" if status < 400 else "error")
        if status >= 400:
            assert isinstance(payload["message"], str)
        return payload


def _source(source: dict[str, Any]) -> dict[str, Any]:
    for name in ("id", "owner", "name", "title", "description", "language", "_kind"):
        assert isinstance(source[name], str), name
    assert isinstance(source["should_translate"], bool)
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(source[name]).utcoffset() is not None
    assert isinstance(source.get("bucket_id"), str | None)
    assert isinstance(source.get("email_transform_tag"), str | None)
    return source


@pytest.fixture(params=BASES)
def client(comms_mining_emulator: EmulatorServer, request: pytest.FixtureRequest) -> Client:
    return Client(comms_mining_emulator, request.param)


def test_every_command_starts_with_who_am_i(client: Client) -> None:
    user = client("GET", "/auth/user")["user"]
    for name in ("id", "username", "email", "created"):
        assert isinstance(user[name], str), name
    assert isinstance(user["verified"], bool)
    assert user["global_permissions"] == user["sso_global_permissions"] == []
    assert set(user["organisation_permissions"]) == {"acme-dev", "acme-prod"}
    assert "sources-admin" in user["organisation_permissions"]["acme-dev"]


def test_writing_commands_refresh_permissions(client: Client) -> None:
    assert client("POST", "/auth/refresh-user-permissions", {})["permissions_refreshed"] in (True, False, None)


def test_create_get_update_delete_source(client: Client) -> None:
    # As "re create source acme-dev/inbox --title ..." sends it; kind and tag only if given.
    wanted = {"title": "T", "description": "D", "should_translate": False, "language": "de"}
    made = _source(client("PUT", "/api/v1/sources/acme-dev%2Finbox", {"source": wanted})["source"])
    assert {name: made[name] for name in wanted} == wanted
    assert (made["owner"], made["name"], made["_kind"]) == ("acme-dev", "inbox", "unknown")
    assert _source(client("GET", "/api/v1/sources/acme-dev%2Finbox")["source"]) == made
    assert _source(client("GET", f"/api/v1/sources/id:{made['id']}")["source"]) == made
    assert [_source(each) for each in client("GET", "/api/v1/sources")["sources"]] == [made]
    # What the client never asks for has the same shape.
    assert client("GET", "/api/v1/sources/acme-dev")["sources"] == [made]

    empty = _source(client("POST", "/api/v1/sources/acme-dev%2Finbox", {"source": {}})["source"])
    times = ("updated_at", "last_modified")
    assert {name: value for name, value in empty.items() if name not in times} == {
        name: value for name, value in made.items() if name not in times
    }
    partial = {"source": {"title": "U", "should_translate": True}}
    changed = _source(client("POST", "/api/v1/sources/acme-dev%2Finbox", partial)["source"])
    assert (changed["title"], changed["should_translate"], changed["description"]) == ("U", True, "D")

    # It deletes by id, found by name first, and forgives a 404 only after a retry.
    assert client("DELETE", f"/api/v1/sources/id:{made['id']}") == {"status": "ok"}
    client("DELETE", f"/api/v1/sources/id:{made['id']}", status=404)
    client("GET", "/api/v1/sources/acme-dev%2Finbox", status=404)
    assert client("GET", "/api/v1/sources")["sources"] == []


def test_a_source_can_be_made_from_nothing(client: Client) -> None:
    name = "3f1e4f0c-5b9b-4a83-a7a8-3c1f8f9f2f6e"
    assert _source(client("PUT", f"/api/v1/sources/acme-dev%2F{name}", {"source": {}})["source"])["name"] == name


@pytest.mark.parametrize("kind", ["call", "chat", "ixp_runtime", "ixp_design", "unknown"])
def test_kinds_come_back(comms_mining_emulator: EmulatorServer, kind: str) -> None:
    client = Client(comms_mining_emulator)
    body = {"source": {"_kind": kind, "email_transform_tag": "generic.0.CONVKER5"}}
    client("PUT", "/api/v1/sources/acme-dev%2Finbox", body)
    source = _source(client("GET", "/api/v1/sources")["sources"][0])
    assert (source["_kind"], source["email_transform_tag"]) == (kind, "generic.0.CONVKER5")


def test_buckets_are_attached_kept_and_detached(client: Client) -> None:
    made = client("PUT", "/api/_private/buckets/acme-dev%2Fmail", {"bucket": {"bucket_type": "emails"}})["bucket"]
    for name in ("id", "name", "owner", "created_at"):
        assert isinstance(made[name], str), name
    assert client("GET", "/api/_private/buckets/acme-dev%2Fmail")["bucket"] == made
    assert client("GET", f"/api/_private/buckets/id:{made['id']}")["bucket"] == made
    assert client("GET", "/api/_private/buckets")["buckets"] == [made]

    path = "/api/v1/sources/acme-dev%2Finbox"
    assert client("PUT", path, {"source": {"bucket_id": made["id"]}})["source"]["bucket_id"] == made["id"]
    # Since 0.37.2 it reads the source and sends its bucket along; 0.37.0 sent null, which detached it.
    updated = client("POST", path, {"source": {"title": "T", "bucket_id": made["id"]}})["source"]
    assert updated["bucket_id"] == made["id"]
    detached = client("POST", path, {"source": {"title": "U", "bucket_id": None}})["source"]
    assert detached.get("bucket_id") is None
    assert client("DELETE", f"/api/_private/buckets/id:{made['id']}") == {"status": "ok"}


def test_projects(client: Client) -> None:
    user = client("GET", "/auth/user")["user"]["id"]
    body = {"project": {"title": "Mine", "description": "D"}, "user_ids": [user]}
    made = client("PUT", "/api/_private/projects/mine", body)["project"]
    for name in ("id", "name", "title", "description", "created_at", "updated_at"):
        assert isinstance(made[name], str), name
    assert client("GET", "/api/_private/projects/mine")["project"] == made
    assert made in client("GET", "/api/_private/projects")["projects"]
    assert client("POST", "/api/_private/projects/mine", {"project": {}})["project"]["title"] == "Mine"
    client("PUT", "/api/v1/sources/mine%2Finbox", {"source": {}})
    refused = client("DELETE", "/api/_private/projects/mine", status=409)
    # The client reads the counts out of the message.
    assert json.loads(refused["message"].partition(": ")[2]) == {"sources": 1}
    client("DELETE", "/api/_private/projects/mine?force=true")
    client("GET", "/api/_private/projects/mine", status=404)


def test_statistics_are_an_integer(client: Client) -> None:
    client("PUT", "/api/v1/sources/acme-dev%2Finbox", {"source": {}})
    path = "/api/v1/sources/acme-dev%2Finbox/statistics"
    for comment_filter in ({}, {"reviewed": "only_reviewed", "timestamp": {"minimum": "2024-01-01T00:00:00Z"}}):
        statistics = client("POST", path, {"comment_filter": comment_filter})["statistics"]
        assert isinstance(statistics["num_comments"], int)


# Whatever goes wrong, the client wants the envelope.
FAILURES: list[tuple[str, str, object, int, str]] = [
    ("GET", "/api/v1/nothing", None, 404, "emulator-admin"),
    ("PATCH", "/api/v1/sources", {}, 405, "emulator-admin"),
    ("PUT", "/api/v1/sources/acme-dev%2Fa%20b", {"source": {}}, 400, "emulator-admin"),
    ("PUT", "/api/v1/sources/acme-dev%2Fb", {"source": {"language": "klingon"}}, 400, "emulator-admin"),
    (
        "PUT",
        "/api/v1/sources/acme-dev%2Fb",
        {"source": {"email_transform_tag": "generic.0.NOSUCHTG"}},
        422,
        "emulator-admin",
    ),
    ("PUT", "/api/v1/sources/acme-dev%2Fb", {"source": {"bucket_id": "0123456789abcdef"}}, 422, "emulator-admin"),
    ("PUT", "/api/v1/sources/acme-dev%2Fthere", {"source": {}}, 409, "emulator-admin"),
    ("PUT", "/api/v1/sources/absent%2Fb", {"source": {}}, 404, "emulator-admin"),
    ("POST", "/api/v1/sources/acme-dev%2Fabsent", {"source": {}}, 404, "emulator-admin"),
    ("GET", "/api/v1/sources/absent", None, 404, "emulator-admin"),
    ("GET", "/api/v1/sources", None, 401, "nobody"),
    ("GET", "/auth/user", None, 401, "nobody"),
    ("PUT", "/api/v1/sources/acme-dev%2Fb", {"source": {}}, 403, "emulator-viewer"),
    ("DELETE", "/api/_private/projects/acme-dev", None, 403, "emulator-viewer"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "token"), FAILURES)
@pytest.mark.parametrize("base", ["", "/acme/dev/reinfer_/"])
def test_failures_have_a_status_and_a_message(
    comms_mining_emulator: EmulatorServer, base: str, method: str, path: str, body: object, status: int, token: str
) -> None:
    tenant = comms_mining_emulator.tenant(base or "/")
    tenant.add_source("acme-dev", "there")
    before = tenant.sources()
    Client(comms_mining_emulator, base, token)(method, path, body, status)
    assert tenant.sources() == before


def test_users(client: Client) -> None:
    # "re get users --project mine --user <id>", after a project was created for that user.
    me = client("GET", "/auth/user")["user"]
    client("PUT", "/api/_private/projects/mine", {"project": {}, "user_ids": [me["id"]]})
    assert "mine" in client("GET", f"/api/_private/users/{me['id']}")["user"]["organisation_permissions"]
    assert me["id"] in [user["id"] for user in client("GET", "/api/_private/users")["users"]]

    new = {"username": "ada", "email": "ada@example.com", "global_permissions": [], "organisation_permissions": {}}
    made = client("PUT", "/api/_private/users", {"user": new})["user"]
    assert (made["username"], made["email"]) == ("ada", "ada@example.com")
    client("PUT", "/api/_private/users", {"user": new}, status=409)
    permissions = {"mine": ["sources-read"]}
    changed = client("POST", f"/api/_private/users/{made['id']}", {"user": {"organisation_permissions": permissions}})
    assert changed["user"]["organisation_permissions"] == permissions
    assert "ada" in [user["username"] for user in client("GET", "/api/v1/users")["users"]]
    assert client("DELETE", f"/api/_private/users/{made['id']}") == {"status": "ok"}
    client("GET", f"/api/_private/users/{made['id']}", status=404)


def test_an_absent_project_is_named_as_the_client_looks_for_it(client: Client) -> None:
    assert client("GET", "/api/_private/projects/absent", status=404)["message"] == "No such project: 'absent'"


_COUNT: dict[str, Any] = {"comment_filter": {}, "label_property_timeseries": False, "label_timeseries": True}
# Method, path with its odd habits, body, and the key of the answer.
HABITS: list[tuple[str, str, object, str]] = [
    ("GET", "/api/_private/buckets/acme-dev%2Fmail", None, "bucket"),
    ("GET", "//api/_private/buckets", None, "buckets"),
    ("GET", "/api/_private/buckets/acme-dev", None, "buckets"),
    ("GET", "/api/_private/buckets/acme-dev%2Fmail/statistics", None, "statistics"),
    ("GET", "/api/_private/buckets/id:{bucket}/keyed-sync-states%2F", None, "keyed_sync_states"),
    ("POST", "/api/_private/buckets/id:{bucket}/keyed-sync-state-ids", {}, "keyed_sync_state_ids"),
    ("POST", "/api/v1/sources/acme-dev%2Finbox", {"source": {"title": "T", "bucket_id": None}}, "source"),
    ("PUT", "/api/v1/sources/acme-dev%2Fother", {"source": {"bucket_id": None}}, "source"),
    ("POST", "/api/v1/sources/acme-dev%2Finbox/statistics", {"comment_filter": {}}, "statistics"),
    ("GET", "/api/v1/sources/acme-dev%2Finbox/threads", None, "threads"),
    ("GET", "/api/v1/projects", None, "projects"),
    ("GET", "/api/_private/projects", None, "projects"),
    ("POST", "/auth/refresh-user-permissions", {}, "permissions_refreshed"),
    ("GET", "/api/_private/quotas", None, "quotas"),
    ("GET", "/api/v1/datasets", None, "datasets"),
    ("GET", "/api/v1/datasets/acme-dev%2Fall", None, "dataset"),
    ("GET", "/api/v1/datasets/id:{dataset}", None, "dataset"),
    ("POST", "/api/_private/datasets/acme-dev%2Fall/statistics", {**_COUNT, "time_resolution": "day"}, "statistics"),
    ("POST", "/api/_private/datasets/acme-dev%2Fall/summary", {"filter": {}}, "summary"),
    ("POST", "/api/_private/datasets/acme-dev%2Fall/labellers", {}, "labellers"),
    ("POST", "/api/v1/datasets/acme-dev%2Fall/labellers/1/predict-comments", {"uids": ["{source}.1"]}, "predictions"),
    ("GET", "/api/v1/datasets/acme-dev%2Fall/streams", None, "streams"),
    ("PUT", "/api/v1/datasets/acme-dev%2Fall/streams", {"stream": {"name": "mine"}}, "stream"),
]


@pytest.mark.parametrize(("method", "path", "body", "key"), HABITS)
def test_habits_on_the_wire(
    comms_mining_emulator: EmulatorServer, method: str, path: str, body: object, key: str
) -> None:
    for base in BASES:
        comms_mining_emulator.reset()
        tenant = comms_mining_emulator.tenant(base)
        bucket = tenant.add_bucket("acme-dev", "mail")
        source = tenant.add_source("acme-dev", "inbox")
        tenant.add_messages("acme-dev", "inbox", [{"id": "1", "messages": [{"body": {"text": "Hello"}}]}])
        dataset = tenant.add_dataset("acme-dev", "all", sources=["inbox"])
        made = {"bucket": bucket["id"], "source": source["id"], "dataset": dataset["id"]}
        sent = body
        if isinstance(body, dict) and "uids" in body:
            sent = {"uids": [each.format(**made) for each in body["uids"]]}
        answer = Client(comms_mining_emulator, base)(method, path.format(**made), sent)
        assert set(answer) == {key, "status"}
