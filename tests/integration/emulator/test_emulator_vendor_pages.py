"""
``shapes=docs``: every example on the vendor's pages, answered to the last key and value.

The pages are "Sources" (7 Oct 2025) and "Using the API" (20 Dec 2024 and 13 Mar 2026). The emulator's clock shows the
times of the examples, so that whole answers can be compared.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from airflow_provider_cm.emulator.records import SourceFields
    from airflow_provider_cm.emulator.state import State

ID = "18ba5ce699f8da1f"
MADE = datetime(2016, 2, 10, 23, 13, 28, 340295, tzinfo=UTC)
CHANGED = datetime(2016, 2, 11, 8, 6, 14, 944290, tzinfo=UTC)
SHORT: dict[str, Any] = {
    "created_at": "2016-02-10T23:13:28.340295+00:00",
    "description": "An optional long form description.",
    "id": ID,
    "last_modified": "2016-02-10T23:13:28.340295+00:00",
    "name": "example",
    "owner": "acme",
    "sensitive_properties": [],
    "should_translate": False,
    "title": "An Example Source",
    "updated_at": "2016-02-10T23:13:28.340295+00:00",
}
LONG = {**SHORT, "language": "en"}
UPDATED = {
    **LONG,
    "description": "An alternative description.",
    "last_modified": "2016-02-11T08:06:14.944290+00:00",
    "updated_at": "2016-02-11T08:06:14.944290+00:00",
}
CREATE = {"source": {"description": "An optional long form description.", "title": "An Example Source"}}
UPDATE = {"source": {"description": "An alternative description."}}

# Each section of the page: method, path, body, and the whole answer.
SECTIONS: dict[str, tuple[str, str, object, dict[str, Any]]] = {
    "Get all sources": ("GET", "", None, {"sources": [SHORT], "status": "ok"}),
    "Get sources by project": ("GET", "/acme", None, {"sources": [SHORT], "status": "ok"}),
    "Get a source by project and name": ("GET", "/acme/example", None, {"source": SHORT, "status": "ok"}),
    "Get a source by id": ("GET", f"/id:{ID}", None, {"source": LONG, "status": "ok"}),
    "Update a source": ("POST", "/acme/example", UPDATE, {"source": UPDATED, "status": "ok"}),
    "Delete a source": ("DELETE", f"/id:{ID}", None, {"status": "ok"}),
}


class _Clock:
    def __init__(self) -> None:
        self.time = MADE

    def __call__(self) -> datetime:
        return self.time


def _fill(state: State) -> None:
    for path in ("/", "/umbrella/hive/reinfer_"):
        tenant = state.add_tenant(path)
        for project in ("acme", "other"):
            tenant.add_project(project, {}, state.settings)
        fields: SourceFields = {"description": SHORT["description"], "title": SHORT["title"]}
        tenant.create_source("acme", "example", fields, state.settings, source_id=ID)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[EmulatorServer, _Clock]]:
    clock = _Clock()
    with EmulatorServer(settings=EmulatorSettings(shapes="docs"), clock=clock, fill=_fill) as server:
        yield server, clock


@pytest.fixture
def clock(running: tuple[EmulatorServer, _Clock]) -> _Clock:
    return running[1]


@pytest.fixture
def server(running: tuple[EmulatorServer, _Clock]) -> EmulatorServer:
    server, clock = running
    clock.time = MADE
    server.reset()
    return server


def _call(server: EmulatorServer, base: str, section: str) -> requests.Response:
    method, path, body, _ = SECTIONS[section]
    with (api := Caller(server.url + base)).session:
        return api(method, "/api/v1/sources" + path, body)


@pytest.mark.parametrize("base", ["", "/umbrella/hive/reinfer_"])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_sections_example(server: EmulatorServer, clock: _Clock, section: str, base: str) -> None:
    clock.time = CHANGED
    answer = _call(server, base, section)
    assert (answer.status_code, answer.json()) == (200, SECTIONS[section][3])
    assert answer.headers["Content-Type"] == "application/json"


def test_the_example_of_a_create(server: EmulatorServer) -> None:
    api = Caller(server.url)
    answer = api("PUT", "/api/v1/sources/other/example", CREATE)
    body = answer.json()
    assert re.fullmatch("[0-9a-f]{16}", body["source"].pop("id"))
    expected = {key: value for key, value in LONG.items() if key != "id"} | {"owner": "other"}
    assert (answer.status_code, body) == (200, {"source": expected, "status": "ok"})


def test_a_delete_is_gone_from_every_section(server: EmulatorServer) -> None:
    assert _call(server, "", "Delete a source").json() == {"status": "ok"}
    assert _call(server, "", "Get all sources").json() == {"sources": [], "status": "ok"}
    assert _call(server, "", "Get sources by project").json() == {"sources": [], "status": "ok"}
    for section in ("Get a source by project and name", "Get a source by id", "Update a source"):
        answer = _call(server, "", section)
        assert (answer.status_code, set(answer.json()), answer.json()["status"]) == (
            404,
            {"message", "status"},
            "error",
        )


def test_the_example_of_an_error(server: EmulatorServer) -> None:
    answer = Caller(server.url)("GET", "/api/v1/nonexistent_page")
    assert (answer.status_code, answer.json()) == (404, {"message": "404 Not Found", "status": "error"})


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_of_the_timing(server: EmulatorServer, section: str) -> None:
    assert re.fullmatch(r"total;dur=\d+\.\d", _call(server, "", section).headers["Server-Timing"])


def test_the_permissions_of_each_section(server: EmulatorServer) -> None:
    """View sources opens the four that read, Sources admin all of them; no token none."""
    for section, (method, path, body, _) in SECTIONS.items():
        reads = method == "GET"
        assert Caller(server.url, "emulator-viewer")(method, f"/api/v1/sources{path}", body).ok == reads, section
        assert Caller(server.url, None)(method, f"/api/v1/sources{path}", body).status_code == 401, section


# The tables of fields: name, a value of its type, and whether an update takes it too.
FIELDS: list[tuple[str, object, bool]] = [
    ("language", "en", False),
    ("language", "Multilingual", False),
    ("title", "One line", True),
    ("description", "Several\nlines", True),
    ("should_translate", True, True),
    ("sensitive_properties", ["string:Sender", "number:Age"], True),
]


@pytest.mark.parametrize(("name", "value", "updatable"), FIELDS)
def test_the_tables_of_fields(server: EmulatorServer, name: str, value: object, updatable: bool) -> None:
    api = Caller(server.url)
    made = api.create("new", "acme", **{name: value})
    assert made == LONG | {"id": made["id"], "name": "new", "title": "", "description": ""} | {name: value}
    answer = api.update("example", "acme", **{name: value})
    assert answer.status_code == 200
    # The page has no language in an update; the contract has, to an effect that is not known.
    assert answer.json()["source"] == LONG | ({name: value} if updatable else {})


def test_bucket_id_is_taken_and_never_shown(server: EmulatorServer) -> None:
    bucket = server.tenant("/").add_bucket("acme", "mail")
    api = Caller(server.url)
    assert set(api.create("new", "acme", bucket_id=bucket["id"])) == set(LONG)
    assert set(api.update("example", "acme", bucket_id=bucket["id"]).json()["source"]) == set(LONG)
    assert server.tenant("/").source("acme", "example") == {
        **LONG,
        "bucket_id": bucket["id"],
        "_kind": "unknown",
    }


def test_changes_hold_everything_whatever_the_shapes(server: EmulatorServer, clock: _Clock) -> None:
    clock.time = CHANGED
    _call(server, "/umbrella/hive/reinfer_", "Update a source")
    (change,) = Caller(server.url, None)("GET", "/_emulator/changes").json()["changes"]
    unseen = {"_kind": "unknown"}
    assert json.loads(json.dumps(change)) == {
        "at": CHANGED.isoformat(),
        "tenant": "/umbrella/hive/reinfer_",
        "action": "update",
        "request": 1,
        "before": {**LONG, **unseen},
        "after": {**UPDATED, **unseen},
    }
