"""The seven sources endpoints, against the vendor's page on them (7 Oct 2025)."""

from __future__ import annotations

import http.client
import json
import re
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer
    from tests.integration.emulator.conftest import Caller

# The keys in the page's example responses: listings and get by name lack the language.
LISTED = {
    "created_at",
    "description",
    "id",
    "last_modified",
    "name",
    "owner",
    "sensitive_properties",
    "should_translate",
    "title",
    "updated_at",
}
SHOWN = LISTED | {"language"}
FULL = SHOWN | {"_kind"}
TITLE = "An Example Source"
DESCRIPTION = "An optional long form description."


def _everywhere(api: Caller) -> dict[str, dict[str, Any]]:
    """Call each endpoint once and give the source that each one shows."""
    created = api("PUT", "/api/v1/sources/acme-dev/example", {"source": {"description": DESCRIPTION, "title": TITLE}})
    source_id = created.json()["source"]["id"]
    answers = {
        "create": created,
        "list all": api("GET", "/api/v1/sources"),
        "list project": api("GET", "/api/v1/sources/acme-dev"),
        "by name": api("GET", "/api/v1/sources/acme-dev/example"),
        "by id": api("GET", f"/api/v1/sources/id:{source_id}"),
        "update": api("POST", "/api/v1/sources/acme-dev/example", {"source": {"description": "Another."}}),
    }
    shapes = {}
    for name, answer in answers.items():
        body = answer.json()
        key = "sources" if name.startswith("list") else "source"
        assert (answer.status_code, set(body), body["status"]) == (200, {key, "status"}, "ok"), name
        shapes[name] = body[key][0] if key == "sources" else body[key]
    return shapes


def test_docs_shapes_are_the_pages_examples(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    comms_mining_emulator.configure(shapes="docs")
    shapes = _everywhere(api)
    assert {name: set(source) for name, source in shapes.items()} == {
        "create": SHOWN,
        "list all": LISTED,
        "list project": LISTED,
        "by name": LISTED,
        "by id": SHOWN,
        "update": SHOWN,
    }


def test_full_shapes_are_what_the_official_client_needs(api: Caller) -> None:
    for name, source in _everywhere(api).items():
        assert set(source) == FULL, name
        assert (source["language"], source["_kind"]) == ("en", "unknown")


def test_a_created_source_has_the_pages_values_and_defaults(api: Caller) -> None:
    source = api.create("example", description=DESCRIPTION, title=TITLE)
    assert re.fullmatch(r"[0-9a-f]{16}", source["id"])
    assert (source["title"], source["description"]) == (TITLE, DESCRIPTION)
    assert (source["owner"], source["name"], source["language"]) == ("acme-dev", "example", "en")
    assert (source["should_translate"], source["sensitive_properties"]) == (False, [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", source["created_at"])
    assert source["created_at"] == source["updated_at"] == source["last_modified"]


def test_every_field_of_a_create_is_kept(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    bucket = comms_mining_emulator.tenant("/").add_bucket("acme-dev", "mail")
    fields = {
        "title": "T",
        "description": "D",
        "language": "de",
        "should_translate": True,
        "sensitive_properties": ["string:Sender"],
        "bucket_id": bucket["id"],
        "_kind": "call",
        "email_transform_tag": "generic.0.CONVKER5",
    }
    source = api.create(**fields)
    assert {name: source[name] for name in fields} == fields
    assert api("GET", "/api/v1/sources").json()["sources"] == [source]


def test_delete_and_list_are_read_your_writes(api: Caller) -> None:
    left, gone = api.create("kept"), api.create("gone")
    deleted = api("DELETE", f"/api/v1/sources/id:{gone['id']}")
    assert (deleted.status_code, deleted.json()) == (200, {"status": "ok"})
    assert [source["id"] for source in api("GET", "/api/v1/sources").json()["sources"]] == [left["id"]]
    for method in ("GET", "DELETE"):
        again = api(method, f"/api/v1/sources/id:{gone['id']}")
        assert (again.status_code, again.json()["status"]) == (404, "error")
    assert api.create("gone")["id"] != gone["id"]


def test_a_listing_by_project_holds_that_project_only(api: Caller) -> None:
    api.create("one", "acme-dev")
    api.create("two", "acme-prod")
    names = [source["name"] for source in api("GET", "/api/v1/sources/acme-prod").json()["sources"]]
    assert names == ["two"]


def test_an_update_changes_what_it_names(api: Caller) -> None:
    before = api.create(title="T", description="D", sensitive_properties=["string:a"], should_translate=True)
    after = api.update(description="An alternative description.").json()["source"]
    assert after["updated_at"] == after["last_modified"] > before["updated_at"]
    moved = {"description", "updated_at", "last_modified"}
    assert {key for key in before if before[key] != after[key]} == moved


def test_null_detaches_the_bucket_and_absence_does_not(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    bucket_id = comms_mining_emulator.tenant("/").add_bucket("acme-dev", "mail")["id"]
    api.create(bucket_id=bucket_id)
    assert api.update(title="x").json()["source"]["bucket_id"] == bucket_id
    assert "bucket_id" not in api.update(bucket_id=None).json()["source"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": 5}, "5 is not of type 'string'"),
        ({"title": None}, "None is not of type 'string'"),
        ({"bucket_id": "mailbox"}, "'mailbox' does not match '^[0-9a-f]{16}"),
        ({"_kind": "new"}, "'new' is not one of ['call', 'chat', 'unknown', 'ixp_design', 'ixp_runtime']"),
        ({"email_transform_tag": "nonsense"}, "'nonsense' does not match"),
        ({"should_translate": "true"}, "'true' is not of type 'boolean'"),
        ({"should_translate": 1}, "1 is not of type 'boolean'"),
        ({"sensitive_properties": "a"}, "'a' is not of type 'array'"),
        ({"sensitive_properties": ["string:a", 1]}, "1 is not of type 'string' (in source.sensitive_properties[1])"),
        ({"sensitive_properties": ["string:a"] * 4097}, "is too long"),
        ({"sensitive_properties": ["Sender"]}, "'Sender' does not match '^(?P<property_type>number|string):"),
        ({"sensitive_properties": ["string:" + "x" * 65]}, "does not match"),
        ({"sensitive_properties": ["string:x\n"]}, "does not match"),
        ({"sensitive_properties": ["text:x"]}, "does not match"),
        ({"title": "x" * 129}, "is too long"),
        ({"description": "x" * 16385}, "is too long"),
        ({"language": "klingon"}, "'klingon' is not one of ['en', 'de', 'xlm', 'Multilingual']"),
        ({"tittle": "x"}, "Additional properties are not allowed ('tittle' was unexpected)"),
    ],
)
def test_a_bad_field_is_400_and_creates_nothing(api: Caller, fields: dict[str, object], message: str) -> None:
    answer = api("PUT", "/api/v1/sources/acme-dev/inbox", {"source": fields})
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert message in answer.json()["message"]
    assert api("GET", "/api/v1/sources").json()["sources"] == []


def test_the_longest_values_are_accepted(api: Caller) -> None:
    source = api.create("n" * 256, title="x" * 128, description="ü" * 16384, sensitive_properties=["string:a"] * 4096)
    assert (len(source["title"]), len(source["description"])) == (128, 16384)


def test_sensitive_properties_that_break_the_pattern_are_refused_on_update_too(api: Caller) -> None:
    longest = f"number:{'x' * 64}"
    before = api.create(sensitive_properties=[longest])
    assert before["sensitive_properties"] == [longest]
    answer = api.update(sensitive_properties=["Sender"])
    assert (answer.status_code, "(in source.sensitive_properties[0])" in answer.json()["message"]) == (400, True)
    assert api("GET", "/api/v1/sources").json()["sources"] == [before]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"source": {"title": NaN}}', "not valid JSON"),
        (b'{"source": {"title": "\xff"}}', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"source": {"title": "\\ud800"}}', "not valid JSON"),
        ("[]", "[] is not of type 'object'"),
        ("{}", "'source' is a required property"),
        ('{"source": null}', "None is not of type 'object'"),
        ('{"source": {}, "more": 1}', "('more' was unexpected)"),
    ],
)
def test_a_bad_body_is_400(api: Caller, body: str | bytes, message: str) -> None:
    answer = api("PUT", "/api/v1/sources/acme-dev/inbox", data=body)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert message in answer.json()["message"]


def test_an_update_ignores_language_and_kind(api: Caller) -> None:
    before = api.create(language="de", _kind="call")
    after = api.update(language="en", _kind="chat").json()["source"]
    assert {name: after[name] for name in ("language", "_kind")} == {"language": "de", "_kind": "call"}
    assert after["id"] == before["id"]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_bad_transform_tag_is_422(api: Caller, method: str) -> None:
    api.create("there")
    name = "there" if method == "POST" else "new"
    answer = api(method, f"/api/v1/sources/acme-dev/{name}", {"source": {"email_transform_tag": "generic.0.NOSUCHTG"}})
    assert answer.status_code == 422
    assert answer.json() == {
        "status": "error",
        "message": "The value 'generic.0.NOSUCHTG' is not a valid transform tag.",
    }


@pytest.mark.parametrize("name", ["two%20words", "dot.ted", "n" * 257, "%C3%BC", "id:0", "line%0A"])
def test_a_bad_name_is_400(api: Caller, name: str) -> None:
    answer = api("PUT", f"/api/v1/sources/acme-dev/{name}", {"source": {}})
    assert (answer.status_code, "does not match" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/api/v1/nonexistent_page", 404, "404 Not Found"),
        ("GET", "/", 404, "404 Not Found"),
        ("GET", "/api/v1/sources/", 404, "404 Not Found"),
        ("PATCH", "/api/v1/sources", 405, "405 Method Not Allowed"),
        ("GET", "/api/v1/sources/acme-dev/absent", 404, "Source 'acme-dev/absent' not found"),
        ("GET", "/api/v1/sources/absent", 404, "Project 'absent' not found"),
        ("PUT", "/api/v1/sources/absent/inbox", 404, "Project 'absent' not found"),
        ("POST", "/api/v1/sources/acme-dev/absent", 404, "Source 'acme-dev/absent' not found"),
    ],
)
def test_errors_have_the_envelope(api: Caller, method: str, path: str, status: int, message: str) -> None:
    answer = api(method, path, {"source": {}})
    assert (answer.status_code, answer.json()) == (status, {"status": "error", "message": message})


@pytest.mark.parametrize("path", ["/api/v1/sources", "/api/v1/nonexistent_page", "/identity_/connect/token"])
def test_every_answer_tells_its_time(api: Caller, path: str) -> None:
    headers = api("GET", path).headers
    duration = re.fullmatch(r"total;dur=(\d+\.\d)", headers["Server-Timing"])
    assert duration is not None
    assert 0 <= float(duration[1]) < 1000
    now = datetime.now().astimezone()
    assert abs((parsedate_to_datetime(headers["Date"]) - now).total_seconds()) < 5


def test_statistics_count_what_a_test_says(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    api.create()
    url = "/api/v1/sources/acme-dev/inbox/statistics"
    assert api("POST", url, {"comment_filter": {}}).json() == {"statistics": {"num_comments": 0}, "status": "ok"}
    comms_mining_emulator.tenant("/").set_message_count("acme-dev", "inbox", 5)
    answer = api("POST", url, {"comment_filter": {}})
    assert '"num_comments":5' in answer.text
    assert api("POST", url, {}).json() == answer.json()
    assert api("POST", url, {"comment_filter": {"reviewed": "perhaps"}}).status_code == 400


def test_an_encoded_slash_separates_and_slashes_collapse(comms_mining_emulator: EmulatorServer, api: Caller) -> None:
    source = api.create()
    paths = [
        "/api/v1/sources/acme-dev%2Finbox",
        "//api//v1/sources/acme-dev%2Finbox",
        "/api/v1///sources/acme-dev/inbox?a=%2F",
    ]
    # Without requests, whose older versions collapse slashes themselves.
    connection = http.client.HTTPConnection(api.base.removeprefix("http://"), timeout=5)
    for path in paths:
        connection.request("GET", path, headers={"Authorization": "Bearer emulator-admin"})
        assert json.load(connection.getresponse())["source"]["id"] == source["id"], path
    connection.close()
    # A slash that is encoded twice is part of a name.
    assert api("GET", "/api/v1/sources/acme-dev%252Finbox").status_code == 400
    assert [request.path for request in comms_mining_emulator.requests][1:4] == paths


def test_any_text_comes_back_as_it_was_sent(api: Caller) -> None:
    title = "ü \0 \U0001f600 {{ x }} <b>"
    assert api.create(title=title)["title"] == title
    assert api("GET", "/api/v1/sources").json()["sources"][0]["title"] == title


def test_a_bug_is_an_envelope_too(
    comms_mining_emulator: EmulatorServer, api: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    comms_mining_emulator.state.on_change = broken
    try:
        answer = api("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {}})
    finally:
        comms_mining_emulator.state.on_change = None
    assert (answer.status_code, answer.json()) == (500, {"status": "error", "message": "500 Internal Server Error"})
    deadline = time.monotonic() + 5
    while "ZeroDivisionError" not in caplog.text:  # it is logged when the answer is out
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Date" in answer.headers
    assert "Server-Timing" in answer.headers


def test_one_connection_serves_many_requests(comms_mining_emulator: EmulatorServer) -> None:
    with requests.Session() as session:
        session.trust_env = False
        sizes = set()
        for _ in range(3):
            answer = session.get(comms_mining_emulator.url + "/api/v1/sources", stream=True, timeout=5)
            sizes.add(id(answer.raw.connection))
            assert answer.content
    assert len(sizes) == 1
