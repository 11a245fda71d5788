"""Messages: identity by id, the counts of a sync, what is billed, what is refused, and every setting about them."""

from __future__ import annotations

import copy
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_times import moment_of, read_time
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import TenantHandle

INBOX = "/api/v1/sources/acme-dev/inbox"
PRIVATE = "/api/_private/sources/acme-dev/inbox/comments"
COUNTS = ("new", "updated", "unchanged", "updated_properties_only", "updated_text_changed")


def message(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"m-{number}",
        "timestamp": f"2026-01-{number:02d}T09:12:00+00:00",
        "thread_id": "t",
        "user_properties": {"string:Region": "EU", "number:Priority": number},
        "messages": [
            {
                "subject": {"text": "Refund"},
                "body": {"text": "Where?"},
                "from": "a@example.org",
                "to": ["b@example.com"],
            }
        ],
        **changes,
    }


@pytest.fixture
def tenant(comms_mining_emulator: EmulatorServer) -> TenantHandle:
    tenant = comms_mining_emulator.tenant("/")
    tenant.add_source("acme-dev", "inbox")
    return tenant


def sync(api: Caller, *comments: Any, status: int = 200) -> Any:
    answer = api("POST", f"{INBOX}/sync?no_charge=false", {"comments": comments})
    assert answer.status_code == status, answer.text
    return [answer.json()[name] for name in COUNTS] if status == 200 else answer.json()["message"]


def count(api: Caller, **comment_filter: Any) -> int:
    answer = api("POST", f"{INBOX}/statistics", {"comment_filter": comment_filter})
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["statistics"]["num_comments"]
    return number


def test_a_sync_tells_new_unchanged_properties_and_texts_apart(api: Caller, tenant: TenantHandle) -> None:
    assert sync(api, message(1), message(2)) == [2, 0, 0, 0, 0]
    assert sync(api, message(1), message(2)) == [0, 0, 2, 0, 0]
    assert sync(api, message(1, user_properties={"number:Priority": 3}), message(3)) == [1, 1, 0, 1, 0]
    changed = message(1, user_properties={"number:Priority": 3})
    changed["messages"][0]["body"]["text"] = "New"
    assert sync(api, changed) == [0, 1, 0, 0, 1]
    assert (tenant.bill.created, tenant.bill.text_changed, tenant.bill.ai_units) == (3, 1, 4)
    assert sync(api) == [0, 0, 0, 0, 0]


def test_the_order_of_keys_is_no_change(api: Caller, tenant: TenantHandle) -> None:
    sync(api, message(1))
    turned = message(1, user_properties={"number:Priority": 1.0, "string:Region": "EU"})
    assert sync(api, dict(reversed(turned.items()))) == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("part", ["subject", "signature"])
def test_which_texts_are_billed_is_a_setting(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer, part: str
) -> None:
    sync(api, message(1))
    changed = message(1)
    changed["messages"][0][part] = {"text": "Other"}
    assert sync(api, changed) == [0, 1, 0, 0, 1]
    comms_mining_emulator.configure(billed_text="body")
    assert sync(api, message(1)) == [0, 1, 0, 1, 0]


def test_a_bill_outlives_the_messages_and_creating_again_is_billed_again(api: Caller, tenant: TenantHandle) -> None:
    sync(api, message(1))
    assert api("DELETE", f"{INBOX}/comments?id=m-1").status_code == 200
    assert sync(api, message(1)) == [1, 0, 0, 0, 0]
    tenant.delete_source("acme-dev", "inbox")
    tenant.add_source("acme-dev", "inbox")
    assert (tenant.messages("acme-dev", "inbox"), count(api)) == ([], 0)
    assert sync(api, message(1)) == [1, 0, 0, 0, 0]
    bills = api("GET", "/_emulator/bills").json()["bills"]
    assert bills["/"] == {"created": 3, "text_changed": 0, "ai_units": 3}
    assert bills["/acme/dev/reinfer_"]["ai_units"] == 0
    api("DELETE", "/_emulator/bills")
    assert tenant.bill.ai_units == 0


def test_a_message_is_shown_as_it_was_sent(api: Caller, tenant: TenantHandle) -> None:
    marked = {"text": "x", "text_markup": [{"kind": "break", "break_kind": "hr"}]}
    source = tenant.source("acme-dev", "inbox")
    assert source is not None
    sent = message(1, timestamp="2026-01-01T10:00:00+01:00", text_format="plain", messages=[{"body": marked}])
    sync(api, copy.deepcopy(sent))
    message_json = api("GET", f"{INBOX}/comments/m-1?include_markup=true").json()["comment"]
    assert message_json.pop("created_at") == message_json.pop("last_modified")
    assert message_json == {
        **sent,
        "uid": f"{source['id']}.m-1",
        "timestamp": "2026-01-01T09:00:00.000000+00:00",
        "attachments": [],
        "source_id": source["id"],
        "has_annotations": False,
    }
    plain = api("GET", f"{INBOX}/comments/m-1").json()["comment"]
    assert plain["messages"] == [{"body": {"text": "x"}}]
    assert api("GET", f"{INBOX}/comments/m-2").status_code == 404
    sync(api, {"id": "bare"})
    bare = api("GET", f"{INBOX}/comments/bare").json()["comment"]
    assert (bare["user_properties"], bare["messages"], bare["timestamp"]) == ({}, [], bare["created_at"])
    # The time of its arrival is no change.
    assert sync(api, {"id": "bare"}) == [0, 0, 1, 0, 0]


BAD = [
    ({"id": "a/b"}, "does not match", "id"),
    ({"id": "a b"}, "does not match", "id"),
    ({"timestamp": "2026-01-01"}, "'id' is a required property", None),
    ({"id": "x", "messages": [{"body": {"text": "x"}, "from": ""}]}, "should be non-empty", "messages[0].from"),
    ({"id": "x", "messages": [{"body": {"text": "x"}}] * 2}, "is too long", "messages"),
    ({"id": "x", "messages": [{"body": {"text": "x" * 65537}}]}, "is too long", "messages[0].body.text"),
    ({"id": "x", "color": 1}, "'color' was unexpected", None),
    ({"id": "x", "user_properties": {"string:A": None}}, "is not valid", "user_properties.string:A"),
    ({"id": "x", "timestamp": "yesterday"}, "does not match", "timestamp"),
]


@pytest.mark.parametrize(("bad", "wording", "place"), BAD)
def test_one_bad_message_and_the_batch_is_refused_or_the_message_left_out(
    api: Caller,
    tenant: TenantHandle,
    comms_mining_emulator: EmulatorServer,
    bad: dict[str, Any],
    wording: str,
    place: str | None,
) -> None:
    text = sync(api, message(1), bad, status=400)
    assert wording in text
    assert text.endswith(f"(in comments[1]{f'.{place}' if place else ''})")
    assert len(text) < 1000
    assert (tenant.messages("acme-dev", "inbox"), tenant.bill.ai_units) == ([], 0)
    comms_mining_emulator.configure(bad_message="skip")
    assert sync(api, message(1), bad) == [1, 0, 0, 0, 0]


def test_a_day_that_is_none_is_422_or_left_out(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    bad = message(2, timestamp="2026-02-30T00:00:00Z")
    text = sync(api, message(1), bad, status=422)
    assert text == "'2026-02-30T00:00:00Z' is not a valid timestamp (in comments[1].timestamp)"
    assert tenant.messages("acme-dev", "inbox") == []
    comms_mining_emulator.configure(bad_message="skip")
    assert sync(api, message(1), bad) == [1, 0, 0, 0, 0]


def test_what_an_overwrite_leaves_out_is_cleared_or_kept(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    shorter = {name: value for name, value in message(1).items() if name not in ("user_properties", "thread_id")}
    sync(api, message(1))
    comms_mining_emulator.configure(omitted_message_field="keep")
    assert sync(api, shorter) == [0, 0, 1, 0, 0]
    comms_mining_emulator.configure(omitted_message_field="clear")
    assert sync(api, shorter) == [0, 1, 0, 1, 0]
    message_json = tenant.messages("acme-dev", "inbox")[0]
    assert (message_json["user_properties"], "thread_id" in message_json) == ({}, False)


def test_duplicates_in_a_batch(api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    pair = [message(1), message(1, messages=[{"body": {"text": "Second"}}])]
    for status in (400, 409, 422):
        comms_mining_emulator.configure(duplicate_messages=status)
        assert sync(api, *pair, status=status) == "Comment 'm-1' appears more than once"
    comms_mining_emulator.configure(duplicate_messages="first")
    assert sync(api, *pair) == [1, 0, 0, 0, 0]
    assert tenant.messages("acme-dev", "inbox")[0]["messages"][0]["body"]["text"] == "Where?"
    comms_mining_emulator.configure(duplicate_messages="last")
    assert sync(api, *pair) == [0, 1, 1, 0, 1]
    assert tenant.messages("acme-dev", "inbox")[0]["messages"][0]["body"]["text"] == "Second"


def test_timestamps_that_are_missing_or_naive(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    naive = message(1, timestamp="2026-01-01T09:00:00")
    sync(api, naive)
    assert tenant.messages("acme-dev", "inbox")[0]["timestamp"] == "2026-01-01T09:00:00.000000+00:00"
    comms_mining_emulator.configure(naive_timestamp=400, message_without_timestamp=422)
    assert "has no offset from UTC (in comments[0].timestamp)" in sync(api, naive, status=400)
    assert "'timestamp' is a required property" in sync(api, {"id": "x"}, status=422)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026", "2026-01-01T00:00:00+00:00"),
        ("2026-03", "2026-03-01T00:00:00+00:00"),
        ("2026-060", "2026-03-01T00:00:00+00:00"),
        ("2026060", "2026-03-01T00:00:00+00:00"),
        ("2026-W01-1", "2025-12-29T00:00:00+00:00"),
        ("20260301T101112Z", "2026-03-01T10:11:12+00:00"),
        ("2026-03-01T24:00", "2026-03-02T00:00:00+00:00"),
        ("2026-03-01 10:30,5", "2026-03-01T10:30:30+00:00"),
        ("2026-03-01T10:00:00.5-01:30", "2026-03-01T11:30:00.500000+00:00"),
        ("2026-03-01T10:11:12,5z", "2026-03-01T10:11:12.500000+00:00"),
        ("2026-03-01T10+01", "2026-03-01T09:00:00+00:00"),
    ],
)
def test_times_in_all_the_notations_of_the_contract(text: str, moment: str) -> None:
    assert moment_of(read_time(text)).isoformat() == moment


@pytest.mark.parametrize("text", ["2026-02-30", "2026-366", "2026-W54", "x", "", "2026-13-01"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the text is not shown
        read_time(text)


def test_limits_of_a_batch_a_body_and_the_quota(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    three = [message(number) for number in (1, 2, 3)]
    comms_mining_emulator.configure(max_batch=2)
    assert sync(api, *three, status=400) == "A request may hold at most 2 items, and this one holds 3"
    comms_mining_emulator.configure(max_batch=16384, max_body_bytes=300)
    assert sync(api, *three, status=413) == "413 Request Entity Too Large"
    comms_mining_emulator.configure(max_body_bytes=None, message_quota=2)
    assert sync(api, *three, status=403) == "quotas exceeded: this tenant may hold 2 comments"
    assert tenant.messages("acme-dev", "inbox") == []
    sync(api, *three[:2])
    # What creates nothing needs no room.
    assert sync(api, message(1, user_properties={})) == [0, 1, 0, 1, 0]


def test_adding_does_not_overwrite(api: Caller, tenant: TenantHandle) -> None:
    add = [message(1), message(2)]
    assert api("PUT", f"{PRIVATE}?no_charge=false", {"comments": add}).json() == {"status": "ok"}
    assert api("PUT", PRIVATE, {"comments": add}).json() == {"status": "ok"}
    refused = api("PUT", PRIVATE, {"comments": [message(3), message(1, user_properties={})]})
    assert (refused.status_code, refused.json()["message"]) == (
        409,
        "Comment 'm-1' already exists with other content",
    )
    assert (len(tenant.messages("acme-dev", "inbox")), tenant.bill.created) == (2, 2)


def test_deleting_forgives_what_is_gone_and_takes_ids_in_both_ways(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer
) -> None:
    odd = ["a,b", "c&d", "e+f", "g%h", "i#j"]
    tenant.add_messages("acme-dev", "inbox", [{"id": each} for each in [*odd, "k", "l", "m"]])
    where = f"{INBOX}/comments"
    assert api("DELETE", where, params=[("id", each) for each in [*odd, "gone"]]).json() == {"status": "ok"}
    assert api("DELETE", f"{where}?ids=k,gone").status_code == 200
    assert api("DELETE", f"{where}?id=l,m").status_code == 200
    assert tenant.messages("acme-dev", "inbox") == []
    for most in (32, 128):
        comms_mining_emulator.configure(max_delete_ids=most)
        assert api("DELETE", where, params=[("id", str(n)) for n in range(most)]).status_code == 200
        assert api("DELETE", where, params=[("id", str(n)) for n in range(most + 1)]).status_code == 400


def test_who_may_load_may_not_administer(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    loader = Caller(comms_mining_emulator.url, tenant.add_token("loads", role="loader"))
    viewer = Caller(comms_mining_emulator.url, "emulator-viewer")
    with loader.session, viewer.session:
        assert sync(loader, message(1)) == [1, 0, 0, 0, 0]
        assert loader("DELETE", f"{INBOX}/comments?id=m-1").status_code == 200
        assert loader("PUT", "/api/v1/sources/acme-dev/other", {"source": {}}).status_code == 403
        assert sync(viewer, message(1), status=403) == "Permission denied: this needs the permission 'Edit messages'"
        assert viewer("GET", PRIVATE).json()["comments"] == []
        assert viewer("DELETE", f"{INBOX}/comments?id=m-1").status_code == 403
        free = loader("POST", f"{INBOX}/sync?no_charge=true", {"comments": []})
        assert free.status_code == 403


def test_the_number_that_a_test_sets_holds_until_messages_are_loaded(api: Caller, tenant: TenantHandle) -> None:
    tenant.set_message_count("acme-dev", "inbox", 7)
    assert count(api) == 7
    sync(api, message(1))
    assert count(api) == 1
    with pytest.raises(RefusedRequestError, match="holds messages that were loaded"):
        tenant.set_message_count("acme-dev", "inbox", 7)
    tenant.delete_messages("acme-dev", "inbox", ["m-1"])
    assert count(api) == 0


def test_messages_survive_with_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with EmulatorServer(state_file=path) as server:
        tenant = server.tenant("/")
        for name in ("inbox", "other"):
            tenant.add_source("acme-dev", name)
            tenant.add_messages("acme-dev", name, [message(1)])
    with EmulatorServer(state_file=path) as server:
        tenant = server.tenant("/")
        assert ([each["id"] for each in tenant.messages("acme-dev", "inbox")], tenant.bill.created) == (["m-1"], 2)
        tenant.delete_source("acme-dev", "other")
    with sqlite3.connect(tmp_path / "state.json.messages") as database:
        assert database.execute("SELECT COUNT(*) FROM messages").fetchone() == (1,)
    path.unlink()
    with EmulatorServer(state_file=path) as server:
        assert server.tenant("/").bill.created == 0


def test_long_bodies_are_dropped_from_the_record_oldest_first(
    api: Caller, tenant: TenantHandle, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_cm.emulator.request_log._MOST_BODY_BYTES", 1000)
    comms_mining_emulator.clear_requests()
    for number in range(1, 7):
        sync(api, message(number))
    sizes = [len(each.body) for each in comms_mining_emulator.requests]
    assert (sizes[:2], sum(sizes) <= 1000, sizes[-1] > 0, len(sizes)) == ([0, 0], True, True, 6)
    assert comms_mining_emulator.requests[0].dropped > 200


def test_no_ids_delete_nothing(api: Caller, tenant: TenantHandle) -> None:
    sync(api, message(1))
    for query in ("", "?ids="):
        assert api("DELETE", f"{INBOX}/comments{query}").json() == {"status": "ok"}
    assert len(tenant.messages("acme-dev", "inbox")) == 1
