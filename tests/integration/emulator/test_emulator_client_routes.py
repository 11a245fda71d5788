"""The requests of the vendor's official client besides those for sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator.operations import registered_operations
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

PROJECT = {"id", "name", "title", "description", "created_at", "updated_at", "user_auto_join"}
BUCKET = {"id", "name", "owner", "title", "created_at", "updated_at"}


def test_who_am_i(comms_mining_emulator: EmulatorServer) -> None:
    user = Caller(comms_mining_emulator.url, "emulator-viewer")("GET", "/auth/user").json()["user"]
    assert set(user) == {
        "id",
        "username",
        "email",
        "created",
        "global_permissions",
        "organisation_permissions",
        "sso_global_permissions",
        "verified",
    }
    assert user["username"] == "emulator-viewer"
    assert user["organisation_permissions"] == {
        "acme-dev": ["buckets-read", "sources-read", "triggers-read", "voc-readonly"],
        "acme-prod": ["buckets-read", "sources-read", "triggers-read", "voc-readonly"],
    }


def test_refresh_permissions(api: Caller) -> None:
    answer = api("POST", "/auth/refresh-user-permissions", {})
    assert answer.json() == {"permissions_refreshed": True, "status": "ok"}


def test_a_projects_life(api: Caller) -> None:
    made = api(
        "PUT", "/api/_private/projects/mine", {"project": {"title": "Mine"}, "user_ids": ["0123456789abcdef"]}
    ).json()
    assert (set(made["project"]), made["project"]["title"]) == (PROJECT, "Mine")
    assert api("PUT", "/api/_private/projects/mine", {"project": {}}).status_code == 409
    changed = api("POST", "/api/_private/projects/mine", {"project": {"description": "D"}}).json()["project"]
    assert (changed["title"], changed["description"]) == ("Mine", "D")
    assert api("GET", "/api/_private/projects/mine").json()["project"] == changed
    names = [project["name"] for project in api("GET", "/api/_private/projects").json()["projects"]]
    assert names == ["acme-dev", "acme-prod", "mine"]

    api.create("inbox", "mine")
    refused = api("DELETE", "/api/_private/projects/mine")
    message = 'Project contains child resources but force deletion was not requested: {"sources": 1}'
    assert (refused.status_code, refused.json()["message"]) == (409, message)
    assert api("DELETE", "/api/_private/projects/mine?force=maybe").status_code == 400
    assert api("DELETE", "/api/_private/projects/mine?force=true").json() == {"status": "ok"}
    assert api("GET", "/api/_private/projects/mine").status_code == 404
    assert api("GET", "/api/v1/sources").json()["sources"] == []


def test_a_buckets_life(api: Caller) -> None:
    body = {"bucket": {"bucket_type": "emails", "title": "Mail"}}
    bucket = api("PUT", "/api/_private/buckets/acme-dev/mail", body).json()["bucket"]
    assert (set(bucket), bucket["owner"], bucket["name"]) == (BUCKET, "acme-dev", "mail")
    assert api("PUT", "/api/_private/buckets/acme-dev/mail", body).status_code == 409
    for path in ("acme-dev/mail", "acme-dev%2Fmail", f"id:{bucket['id']}"):
        assert api("GET", f"/api/_private/buckets/{path}").json()["bucket"] == bucket, path
    assert api("GET", "/api/_private/buckets").json()["buckets"] == [bucket]

    api.create(bucket_id=bucket["id"])
    assert api("DELETE", f"/api/_private/buckets/id:{bucket['id']}").json() == {"status": "ok"}
    assert api("GET", "/api/_private/buckets").json()["buckets"] == []
    assert "bucket_id" not in api("GET", "/api/v1/sources/acme-dev/inbox").json()["source"]
    assert api("GET", f"/api/_private/buckets/id:{bucket['id']}").status_code == 404


@pytest.mark.parametrize("kind", ["documents", None])
def test_a_bucket_of_another_kind_is_400(api: Caller, kind: str | None) -> None:
    answer = api("PUT", "/api/_private/buckets/acme-dev/mail", {"bucket": {"bucket_type": kind}})
    assert answer.status_code == 400


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    methods = document["paths"].items()
    return {each["operationId"]: each for _, path in methods for key, each in path.items() if key != "parameters"}


def test_the_openapi_document_declares_what_happens(comms_mining_emulator: EmulatorServer) -> None:
    endpoint = comms_mining_emulator.tenant("/acme/dev/reinfer_").endpoint
    document = Caller(endpoint, None)("GET", "/openapi.json").json()
    assert document["servers"] == [{"url": "/acme/dev/reinfer_"}]
    operations = _operations(document)
    assert set(operations) == set(registered_operations())
    create = operations["createSource"]
    assert set(create["responses"]) == {"200", "4XX", "5XX"}
    assert document["components"]["securitySchemes"]["APIKeyHeader"]["scheme"] == "bearer"


def test_the_openapi_document_follows_the_settings(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    def fields(operation: str) -> dict[str, Any]:
        document = api("GET", "/openapi.json").json()
        body = _operations(document)[operation]["requestBody"]
        schemas = document["components"]["schemas"]
        request = schemas[body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        source: dict[str, Any] = request["properties"]["source"]
        source = schemas["SourceUpdate"] if "$ref" in source else source
        inner: dict[str, Any] = source["properties"]
        return inner

    assert fields("updateSource")["bucket_id"]["type"] == ["string", "null"]
    assert fields("createSource")["title"] == {"type": "string", "maxLength": 128}
    comms_mining_emulator.configure(language_on_update="refuse", languages="fr", max_title=9)
    assert fields("updateSource")["language"] == {"not": {}}
    assert fields("createSource")["language"] == {"type": "string", "enum": ["fr"]}
    assert fields("createSource")["title"] == {"type": "string", "maxLength": 9}
