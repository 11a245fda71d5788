"""Messages as the vendor's client uses them: pages, filters, threads, raw emails, bytes, and its habits on the wire."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.integration.emulator.conftest import Caller
from tests.integration.emulator.test_emulator_messages import INBOX, PRIVATE, count, message, sync, tenant
from tests.integration.emulator.test_emulator_official_client import Client

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import TenantHandle

__all__ = ["tenant"]


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["id"] for each in answer["comments"]]


# Iterating


def test_pages_follow_the_timestamp_and_end(api: Caller, tenant: TenantHandle) -> None:
    # Two with the same timestamp, on either side of a page's end.
    sent = [message(3), message(1), message(2), {**message(2), "id": "m-2b"}, message(4)]
    tenant.add_messages("acme-dev", "inbox", sent)
    pages: list[list[str]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = api("GET", PRIVATE, params=query).json()
        pages.append(ids(page))
        if "continuation" not in page:
            break
        query["after"] = page["continuation"]
    assert pages == [["m-1", "m-2"], ["m-2b", "m-3"], ["m-4"]]
    turned = api("GET", PRIVATE, params={"direction": "descending", "limit": 3}).json()
    assert ids(turned) == ["m-4", "m-3", "m-2b"]
    rest = api("GET", PRIVATE, params={"direction": "descending", "after": turned["continuation"]}).json()
    assert ids(rest) == ["m-2", "m-1"]
    # A page that is just full is the last.
    assert "continuation" not in api("GET", PRIVATE, params={"limit": 5}).json()


@pytest.mark.parametrize(("end", "expected"), [("inclusive", ["m-2", "m-3"]), ("exclusive", ["m-2"])])
def test_the_end_of_a_range_is_a_setting(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer, end: str, expected: list[str]
) -> None:
    comms_mining_emulator.configure(range_end=end)
    tenant.add_messages("acme-dev", "inbox", [message(number) for number in (1, 2, 3, 4)])
    bounds = {"from_timestamp": message(2)["timestamp"], "to_timestamp": "2026-01-03T10:12:00+01:00"}
    assert ids(api("GET", PRIVATE, params=bounds).json()) == expected
    window = {"minimum": bounds["from_timestamp"], "maximum": bounds["to_timestamp"]}
    assert count(api, timestamp=window) == len(expected)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 400),
        ({"limit": 257}, 400),
        ({"limit": "x"}, 400),
        ({"after": "nonsense"}, 400),
        ({"after": "WzEsMl0="}, 400),
        ({"from_timestamp": "yesterday"}, 422),
        ({"direction": "up"}, 400),
        ({"direction": "descending", "from_timestamp": "2026-01-01"}, 400),
    ],
)
def test_unusable_queries_are_refused(api: Caller, tenant: TenantHandle, query: dict[str, Any], status: int) -> None:
    assert api("GET", PRIVATE, params=query).status_code == status


# Counting


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, "1 2 3"),
        ({"timestamp": {"minimum": "2026-01-02T00:00:00Z"}}, "2 3"),
        ({"timestamp": {"minimum": "2026-01-02", "maximum": "2026-01-03"}}, "2"),
        ({"user_properties": {"string:Region": {"one_of": ["EU", "US"]}}}, "1 2"),
        ({"user_properties": {"string:Region": {"not_one_of": ["EU"]}}}, "2 3"),
        ({"user_properties": {"string:Region": {"one_of": ["US"], "include_missing": True}}}, "2 3"),
        ({"user_properties": {"number:Priority": {"minimum": 2}}}, "2 3"),
        ({"user_properties": {"number:Priority": {"minimum": None, "maximum": 1.5}}}, "1"),
        ({"user_properties": {"number:Priority": {"one_of": [3, 1]}}}, "1 3"),
        ({"messages": {"from": {"one_of": ["a@example.org"]}}}, "1 2"),
        ({"messages": {"from": {"domain_one_of": ["other.net"]}}}, "3"),
        ({"messages": {"recipient": {"domain_not_one_of": ["example.com"]}}}, "3"),
        ({"messages": {"to": {"one_of": ["b@example.com"]}}}, "1 2"),
        ({"messages": {"cc": {"one_of": ["x@y.z"], "include_missing": True}}}, "1 2 3"),
        ({"sources": ["0" * 16]}, ""),
        ({"reviewed": "only_reviewed"}, ""),
        ({"reviewed": "only_unreviewed"}, "1 2 3"),
        ({"annotations": {"labels": {"one_of": ["Refund"]}}}, ""),
        ({"annotations": {"labels": {"not_one_of": ["Refund"]}}}, "1 2 3"),
        ({"thread_properties": {"id": {"one_of": ["t"]}}}, "1 2"),
        ({"thread_properties": {"num_messages": {"minimum": 2}}}, "1 2"),
        ({"thread_properties": {"thread_position": {"maximum": 0}}}, "1 3"),
        ({"thread_properties": {"duration": {"minimum": 86400}}}, "1 2"),
        (
            {"user_properties": {"number:Priority": {"minimum": 2}}, "messages": {"from": {"one_of": ["c@other.net"]}}},
            "3",
        ),
    ],
)
def test_a_filter_counts_what_it_says(api: Caller, tenant: TenantHandle, rules: Any, expected: str) -> None:
    third = {
        "id": "m-3",
        "timestamp": "2026-01-03T09:12:00Z",
        "thread_id": "u",
        "user_properties": {"number:Priority": 3},
        "messages": [{"body": {"text": "x"}, "from": "c@other.net", "to": ["d@other.net"]}],
    }
    second = message(2, user_properties={"string:Region": "US", "number:Priority": 2})
    tenant.add_messages("acme-dev", "inbox", [message(1), second, third])
    assert count(api, **rules) == len(expected.split())


def test_a_filter_is_a_closed_object_and_its_times_are_times(api: Caller, tenant: TenantHandle) -> None:
    for comment_filter, status in (
        ({"color": "red"}, 400),
        ({"user_properties": {"Region": {"one_of": ["EU"]}}}, 400),
        ({"timestamp": {"minimum": "yesterday"}}, 422),
    ):
        answer = api("POST", f"{INBOX}/statistics", {"comment_filter": comment_filter})
        assert (answer.status_code, comment_filter) == (status, comment_filter)


def test_statistics_lag_behind_what_is_added() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with EmulatorServer(clock=lambda: now) as server:
        server.configure(statistics_lag_s=60)
        server.tenant("/").add_source("acme-dev", "inbox")
        api = Caller(server.url)
        with api.session:
            sync(api, message(1), message(2))
            assert (count(api), count(api, timestamp={"minimum": "2026-01-02"})) == (0, 0)
            assert len(api("GET", PRIVATE).json()["comments"]) == 2
            now += timedelta(seconds=60)
            assert (count(api), count(api, timestamp={"minimum": "2026-01-02"})) == (2, 1)
            api("DELETE", f"{INBOX}/comments?id=m-1")
            assert count(api) == 1


def test_threads(api: Caller, tenant: TenantHandle) -> None:
    answer = message(2, messages=[{"body": {"text": "Here"}, "from": "b@example.com", "to": ["a@example.org"]}])
    tenant.add_messages("acme-dev", "inbox", [answer, message(1), {"id": "alone"}])
    assert api("GET", f"{INBOX}/threads").json()["threads"] == [{"thread_id": "t", "comments": ["m-1", "m-2"]}]
    page = api("GET", PRIVATE, params={"include_thread_properties": "true"}).json()
    common = {
        "duration": 86400.0,
        "response_time": 86400.0,
        "num_messages": 2,
        "num_participants": 2,
        "first_sender": "a@example.org",
    }
    by_id = dict(zip(ids(page), page["thread_properties"], strict=True))
    assert by_id["m-2"] == {**common, "thread_position": 1}
    assert by_id["alone"] == {}


# Raw emails


EMAIL = (
    "From: A <a@example.org>\nTo: B <b@example.com>, c@example.com\nSubject: Refund\n"
    "Date: Mon, 5 Jan 2026 10:12:00 +0100\n"
    "Message-ID: <2@example.org>\nReferences: <0@example.org> <1@example.org>"
)


def test_raw_emails_become_messages(api: Caller, tenant: TenantHandle) -> None:
    parsed = {"From": "a@example.org", "To": ["b@example.com"], "Message-ID": "<3@example.org>"}
    html = "<style>p {}</style><p>Hello<br>you</p>"
    documents = [
        {"raw_email": {"headers": {"raw": EMAIL}, "body": {"plain": "Where?"}}, "user_properties": {"string:A": "x"}},
        {"raw_email": {"headers": {"parsed": parsed}, "body": {"html": html}}, "comment_id": "mine"},
    ]
    body = {"documents": documents, "transform_tag": "generic.0.CONVKER5", "include_comments": True}
    answer = api("POST", f"{INBOX}/sync-raw-emails?no_charge=false", body).json()
    assert [answer[name] for name in ("new", "updated", "unchanged")] == [2, 0, 0]
    first, second = answer["comments"]
    assert (first["id"], first["thread_id"]) == (b"<2@example.org>".hex(), "<0@example.org>")
    assert (first["timestamp"], first["user_properties"]) == ("2026-01-05T09:12:00.000000+00:00", {"string:A": "x"})
    assert first["messages"] == [
        {
            "body": {"text": "Where?"},
            "subject": {"text": "Refund"},
            "from": "A <a@example.org>",
            "to": ["b@example.com", "c@example.com"],
            "sent_at": "2026-01-05T10:12:00+01:00",
        }
    ]
    assert (second["id"], second["messages"][0]["body"]["text"]) == ("mine", "Hello\nyou")
    again = api("POST", f"{INBOX}/sync-raw-emails", body).json()
    assert [again[name] for name in ("new", "updated", "unchanged")] == [0, 0, 2]


@pytest.mark.parametrize(
    ("overridden", "expected"),
    [
        (None, {"string:A": "2", "string:C": "2"}),
        ([], {"string:A": "1", "string:B": "1"}),
        (["string:A", "string:B"], {"string:A": "2"}),
        (["string:C"], {"string:A": "1", "string:B": "1", "string:C": "2"}),
    ],
)
def test_an_email_that_is_there_keeps_the_user_properties_that_are_not_overridden(
    api: Caller, tenant: TenantHandle, overridden: list[str] | None, expected: dict[str, str]
) -> None:
    def send(**body: Any) -> None:
        answer = api("POST", f"{INBOX}/sync-raw-emails", body)
        assert answer.status_code == 200, answer.text

    email = {"raw_email": {"headers": {"raw": EMAIL}, "body": {"plain": "Where?"}}, "comment_id": "mine"}
    send(documents=[{**email, "user_properties": {"string:A": "1", "string:B": "1"}}])
    chosen = {} if overridden is None else {"override_user_properties": overridden}
    send(documents=[{**email, "user_properties": {"string:A": "2", "string:C": "2"}}], **chosen)
    assert api("GET", f"{INBOX}/comments/mine").json()["comment"]["user_properties"] == expected


def test_unusable_emails_are_refused(api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    def send(status: int, *documents: Any, **more: Any) -> str:
        answer = api("POST", f"{INBOX}/sync-raw-emails", {"documents": documents, **more})
        assert answer.status_code == status, answer.text
        text: str = answer.json().get("message", "")
        return text

    good = {"raw_email": {"headers": {"raw": EMAIL}, "body": {}}}
    nameless = {"raw_email": {"headers": {"raw": "From: a@b.c"}, "body": {}}}
    tag = "generic.0.NOSUCHTG"
    assert send(422, good, transform_tag=tag) == f"The value '{tag}' is not a valid transform tag."
    assert send(422, good, nameless) == "An email without a Message-ID needs a comment_id (in documents[1])"
    assert send(422, {**good, "comment_id": "a b"}).endswith("(in id) (in documents[0])")
    assert send(400, good, {"raw_email": {"headers": {}, "body": {}}}).endswith("(in documents[1].raw_email.headers)")
    comms_mining_emulator.configure(max_raw_email_batch=1)
    assert send(400, good, good) == "A request may hold at most 1 items, and this one holds 2"
    assert tenant.messages("acme-dev", "inbox") == []
    comms_mining_emulator.configure(max_raw_email_batch=4096, bad_message="skip")
    send(200, good, nameless, {"raw_email": {}})
    assert len(tenant.messages("acme-dev", "inbox")) == 1


# Bytes


def test_attachments_are_uploaded_first_and_found_by_reference(api: Caller, tenant: TenantHandle) -> None:
    source = tenant.source("acme-dev", "inbox")
    assert source is not None
    content = bytes(range(256)) * 40 + b"\r\n--x\r\n"
    digest = hashlib.sha256(content).hexdigest()
    upload = f"/api/_private/sources/id:{source['id']}/comments/m-1/attachments/0"
    answer = api("PUT", upload, files={"file": ("a.bin", content, "application/pdf")})
    assert answer.json() == {"content_hash": digest, "status": "ok"}
    metadata = {"name": "a.bin", "size": len(content), "content_type": "application/pdf"}
    bare = {**metadata, "name": "b.bin", "content_hash": "0" * 64}
    sync(api, message(1, attachments=[{**metadata, "content_hash": digest}, bare]))
    attachments = api("GET", f"{INBOX}/comments/m-1").json()["comment"]["attachments"]
    # Metadata without bytes is allowed, and has no reference.
    assert attachments == [{**metadata, "content_hash": digest, "attachment_reference": digest}, bare]
    assert api("GET", f"/api/v1/attachments/{digest}").content == content
    assert api("GET", f"/api/v1/attachments/{'0' * 64}").status_code == 404
    assert Caller(tenant.endpoint + "/acme/dev/reinfer_")("GET", f"/api/v1/attachments/{digest}").status_code == 404
    for body in ({"data": b"x"}, {"files": {"other": b"x"}}, {"json": {"file": "x"}}):
        assert api("PUT", upload, **body).status_code == 400
    tenant.delete_source("acme-dev", "inbox")
    assert api("GET", f"/api/v1/attachments/{digest}").status_code == 404


def test_recordings(api: Caller, tenant: TenantHandle) -> None:
    source = tenant.source("acme-dev", "inbox")
    assert source is not None
    where = f"/api/_private/sources/id:{source['id']}/comments/m-1/audio"
    assert api("PUT", where, files={"file": b"x"}).status_code == 404
    sync(api, message(1))
    assert api("GET", where).status_code == 404
    assert api("PUT", where, files={"file": ("call.flac", b"fLaC\x00")}).json() == {"status": "ok"}
    assert api("GET", where).content == b"fLaC\x00"


# The client's habits on the wire: one segment for project and source, doubled slashes, no_charge=false on each load.

JANUARY = "from_timestamp=2026-01-01T00%3A00%3A00Z&to_timestamp=2026-02-01T00%3A00%3A00Z"
HABITS: list[tuple[str, str, object, int]] = [
    ("PUT", "/api/_private/sources/acme-dev%2Finbox/comments?no_charge=false", {"comments": [message(1)]}, 200),
    ("POST", "/api/v1/sources/acme-dev%2Finbox/sync?no_charge=false", {"comments": [message(2)]}, 200),
    (
        "PUT",
        "/api/_private/sources/acme-dev%2Finbox/comments?no_charge=false",
        {"comments": [message(2, user_properties={})]},
        409,
    ),
    ("POST", "/api/v1/sources/acme-dev%2Finbox/sync?no_charge=false", {"comments": [{"id": "a/b"}]}, 400),
    ("GET", "/api/_private/sources/acme-dev%2Finbox/comments?limit=256&include_markup=true", None, 200),
    (
        "GET",
        f"/api/_private/sources/acme-dev%2Finbox/comments?{JANUARY}&limit=64&include_markup=true",
        None,
        200,
    ),
    ("GET", "/api/v1/sources/acme-dev%2Finbox/comments/m-1?include_markup=true", None, 200),
    ("GET", "/api/v1/sources/acme-dev%2Finbox/comments/m%2D9", None, 404),
    ("POST", "/api/v1/sources/acme-dev%2Finbox/statistics", {"comment_filter": {}}, 200),
    (
        "POST",
        "/api/v1/sources/acme-dev%2Finbox/sync-raw-emails?no_charge=false",
        {
            "documents": [{"raw_email": {"headers": {"raw": EMAIL}, "body": {"plain": "x"}}, "user_properties": {}}],
            "transform_tag": "generic.0.CONVKER5",
            "include_comments": False,
        },
        200,
    ),
    ("DELETE", "/api/v1/sources/acme-dev%2Finbox/comments?id=m-1&id=gone", None, 200),
    ("DELETE", "/api/v1/sources/acme-dev%2Finbox/comments?id=m-1", None, 200),
    ("POST", "/api/v1/sources/acme-dev%2Fabsent/sync?no_charge=false", {"comments": []}, 404),
    ("DELETE", "/api/v1/sources/acme-dev%2Fabsent/comments?id=m-1", None, 404),
]


@pytest.mark.parametrize("base", ["", "/", "/acme/dev/reinfer_", "/acme/dev/reinfer_/"])
@pytest.mark.parametrize("shapes", ["full", "docs"])
def test_the_clients_requests_are_understood(comms_mining_emulator: EmulatorServer, base: str, shapes: str) -> None:
    comms_mining_emulator.configure(shapes=shapes)
    comms_mining_emulator.tenant(base or "/").add_source("acme-dev", "inbox")
    client = Client(comms_mining_emulator, base)
    for method, path, body, status in HABITS:
        client(method, path, body, status)
    left = client("GET", "/api/_private/sources/acme-dev%2Finbox/comments?limit=64&include_markup=true")
    assert ids(left) == ["m-2", b"<2@example.org>".hex()]
