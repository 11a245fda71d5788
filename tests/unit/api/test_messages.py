"""MessagesApi against a scripted server: what is sent, sent again, believed, and not shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_cm.api import (
    BadRequestError,
    ConfigurationError,
    Guards,
    MessagesApi,
    NotFoundError,
    OutcomeUnknownError,
    ProtocolError,
    RateLimitedError,
    SyncResult,
)
from airflow_provider_cm.api.echoes import Echoes
from tests.unit.api.server import Answer
from tests.unit.api.support import Clock, fails, session_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve
    from tests.unit.api.server import Server

COUNTS = {"new": 1, "updated": 3, "unchanged": 2, "updated_properties_only": 2, "updated_text_changed": 1}
COMMENTS = [{"id": f"m-{number}", "messages": [{"body": {"text": "Hello"}}]} for number in range(6)]


def ok(**fields: object) -> Answer:
    return Answer(body=json.dumps({"status": "ok", **fields}).encode())


def error(status: int, message: str = "no") -> Answer:
    return Answer(status, json.dumps({"status": "error", "message": message}).encode())


def api_of(server: Server, **settings: Any) -> MessagesApi:
    return MessagesApi(session_to(server, **settings))


def test_a_sync_sends_the_batch_and_gives_the_counts(serve: Serve) -> None:
    server = serve(ok(**COUNTS))
    result = api_of(server).sync("acme", "inbox", COMMENTS)
    assert str(server.requests[0]) == "POST /api/v1/sources/acme/inbox/sync"
    assert server.requests[0].json() == {"comments": COMMENTS}
    assert result == SyncResult(1, 3, 2, 2, 1)
    assert (result.stored, result.billable, result.billable_is_exact) == (6, 2, True)


def test_counts_that_a_server_does_not_give_are_none_and_the_bill_an_upper_bound(serve: Serve) -> None:
    result = api_of(serve(ok(new=1, updated=3, unchanged=2))).sync("acme", "inbox", COMMENTS)
    assert (result.updated_text_changed, result.billable, result.billable_is_exact) == (None, 4, False)


LOST = [
    Answer(raw=b""),
    error(500),
    error(503),
    Answer(504, b"<html>Gateway</html>"),
    Answer(body=b"<html>portal</html>"),
    Answer(body=b""),
    error(200),
    ok(new=1),
    ok(new=-1, updated=0, unchanged=0),
    ok(new=True, updated=0, unchanged=0),
    ok(new=7, updated=0, unchanged=0),
    ok(new=1, updated=0, unchanged=0, updated_text_changed=1),
    ok(source={"id": "x"}),
]


@pytest.mark.parametrize("lost", LOST)
def test_after_an_unknown_outcome_the_same_batch_is_sent_again(serve: Serve, lost: Answer) -> None:
    server = serve(lost, ok(**COUNTS))
    result = api_of(server).sync("acme", "inbox", COMMENTS)
    assert server.requests[0].body == server.requests[1].body
    assert result.replayed
    assert not result.billable_is_exact


@pytest.mark.parametrize("status", [408, 425, 429])
def test_what_was_not_done_is_no_replay(serve: Serve, status: int) -> None:
    server = serve(error(status), ok(**COUNTS))
    assert not api_of(server).sync("acme", "inbox", COMMENTS).replayed
    assert len(server.requests) == 2


def test_attempts_are_bounded(serve: Serve) -> None:
    server = serve(*[error(500)] * 5)
    with fails(OutcomeUnknownError) as caught:
        api_of(server).sync("acme", "inbox", COMMENTS)
    assert "sending the same again is safe" in caught.text
    assert caught.error.attempts == 5
    assert caught.error.transient
    with fails(RateLimitedError):
        api_of(serve(*[error(429)] * 5)).sync("acme", "inbox", COMMENTS)
    # One of them may have been carried out.
    with fails(OutcomeUnknownError):
        api_of(serve(error(500), *[error(429)] * 4)).sync("acme", "inbox", COMMENTS)


def test_retry_after_is_obeyed(serve: Serve) -> None:
    clock = Clock()
    busy = Answer(429, b'{"status": "error", "message": "no"}', headers={"Retry-After": "17"})
    api_of(serve(busy, ok(**COUNTS)), retry=clock.policy()).sync("acme", "inbox", COMMENTS)
    assert clock.slept == [17]


def test_a_refusal_is_no_matter_of_attempts(serve: Serve) -> None:
    server = serve(error(400, "comments[3] is not valid"))
    with fails(BadRequestError) as caught:
        api_of(server).sync("acme", "inbox", COMMENTS)
    assert "comments[3] is not valid" in caught.text


def test_a_load_has_more_patience_than_a_read(serve: Serve) -> None:
    slow = Answer(body=json.dumps({"status": "ok", **COUNTS}).encode(), drip="body", drip_every=0.02)
    slow_once = Answer(then_stall=True, stated_length=500)
    assert api_of(serve(slow), timeout=(5, 0.01), load_timeout=5).sync("acme", "inbox", COMMENTS).new == 1
    result = api_of(serve(slow_once, ok(**COUNTS)), timeout=(5, 60), load_timeout=0.2).sync("acme", "inbox", COMMENTS)
    assert (result.timeouts, result.replayed) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a b", "inbox", COMMENTS), "project: 'a b' is not allowed"),
        (("acme", "in/box", COMMENTS), "source_name: 'in/box' is not allowed"),
        (("acme", "inbox", {"id": "x"}), "comments: it is no list"),
        (("acme", "inbox", [{}] * 16_385), "comments: there are 16385, and a request takes 16384"),
        (("acme", "inbox", [{"id": float("nan")}]), "the messages cannot be written as JSON (ValueError)"),
        (("acme", "inbox", [{"id": {1, 2}}]), "the messages cannot be written as JSON (TypeError)"),
    ],
)
def test_what_cannot_be_sent_is_refused(serve: Serve, arguments: Any, told: str) -> None:
    with fails(ConfigurationError) as caught:
        api_of(serve()).sync(*arguments)
    assert caught.text.startswith(told)


# Emails


def email(**fields: Any) -> dict[str, Any]:
    return {"raw_email": {"headers": {"raw": "Subject: Hi"}, "body": {"plain": "Hello"}}, **fields}


def test_emails_are_sent_with_their_transform_tag(serve: Serve) -> None:
    server = serve(ok(new=1, updated=0, unchanged=0))
    api_of(server).sync_raw_emails("acme", "inbox", [email(comment_id="a")], transform_tag="generic.0.CONVKER5")
    assert str(server.requests[0]) == "POST /api/v1/sources/acme/inbox/sync-raw-emails"
    assert server.requests[0].json() == {"documents": [email(comment_id="a")], "transform_tag": "generic.0.CONVKER5"}


@pytest.mark.parametrize(
    "headers",
    [
        {"raw": "Subject: x\r\nMessage-ID: <a@b>\r\n"},
        {"raw": "MESSAGE-ID:\n <a@b>"},
        {"parsed": {"message-id": "<a@b>"}},
    ],
)
def test_a_message_id_is_an_id(serve: Serve, headers: dict[str, Any]) -> None:
    document = {"raw_email": {"headers": headers, "body": {}}}
    assert api_of(serve(ok(new=1, updated=0, unchanged=0))).sync_raw_emails("acme", "inbox", [document]).new == 1


@pytest.mark.parametrize("document", [email(), email(comment_id=""), {"raw_email": {"headers": {"parsed": {}}}}, {}])
def test_an_email_without_an_id_is_refused(serve: Serve, document: dict[str, Any]) -> None:
    with fails(ConfigurationError) as caught:
        api_of(serve()).sync_raw_emails("acme", "inbox", [email(comment_id="a"), document])
    assert caught.text.startswith("documents[1]: it has neither a `comment_id` nor a Message-ID")


# Reading, deleting, counting


def test_a_message_is_read_by_its_id(serve: Serve) -> None:
    server = serve(ok(comment={"id": "a&b#%+"}), ok(comment={"id": "a"}))
    assert api_of(server).get("acme", "inbox", "a&b#%+") == {"id": "a&b#%+"}
    assert server.requests[0].target == "/api/v1/sources/acme/inbox/comments/a%26b%23%25%2B"
    api_of(server).get("acme", "inbox", "a", include_markup=True)
    assert server.requests[1].target.endswith("/comments/a?include_markup=true")


def test_another_message_is_no_answer(serve: Serve) -> None:
    server = serve(ok(comment={"id": "other"}), ok(comment={"id": "m-1"}))
    assert api_of(server).get("acme", "inbox", "m-1") == {"id": "m-1"}
    with fails(ProtocolError):
        api_of(serve(*[ok(comment={"id": "other"})] * 5)).get("acme", "inbox", "m-1")


def test_messages_are_deleted_by_32(serve: Serve) -> None:
    server = serve(ok(), error(500), ok(), ok())
    ids = [f"m&{number}" for number in range(70)]
    assert api_of(server).delete("acme", "inbox", iter(ids)) == 70
    sent = [parse_qs(urlsplit(request.target).query)["id"] for request in server.requests]
    assert [len(each) for each in sent] == [32, 32, 32, 6]
    assert sent[0] + sent[2] + sent[3] == ids
    assert all(
        request.target.startswith("/api/v1/sources/acme/inbox/comments?id=m%260&") for request in server.requests[:1]
    )


@pytest.mark.parametrize("ids", ["m-1", [""], [None], ["."], [7]])
def test_what_is_no_id_is_not_deleted(serve: Serve, ids: Any) -> None:
    with fails(ConfigurationError):
        api_of(serve()).delete("acme", "inbox", ids)


def test_messages_are_counted_with_a_filter(serve: Serve) -> None:
    server = serve(ok(statistics={"num_comments": 3}))
    chosen = {"user_properties": {"string:Load": {"one_of": ["x"]}}}
    assert api_of(server).count("acme", "inbox", comment_filter=chosen) == 3
    assert server.requests[0].json() == {"comment_filter": chosen}


# Guards

LOADS: dict[str, Callable[[MessagesApi], object]] = {
    "sync": lambda api: api.sync("acme", "inbox", COMMENTS),
    "emails": lambda api: api.sync_raw_emails("acme", "inbox", [email(comment_id="a")]),
    "raw sync": lambda api: api.session.request("POST", "sources", "acme", "inbox", "sync", json={}),
    "slash": lambda api: api.session.request("POST", "sources", "acme", "inbox/sync", json={}),
    "case": lambda api: api.session.request("POST", "sources", "acme", "inbox", "Sync", json={}),
    "add": lambda api: api.session.request("PUT", "sources", "acme", "inbox", "comments", version="_private"),
    "csv": lambda api: api.session.request("PUT", "sources", "acme", "inbox", "sync-csv", version="_private"),
    "bucket": lambda api: api.session.request("PUT", "buckets", "acme", "b", "emails", version="_private"),
    "attachment": lambda api: api.session.request(
        "PUT", "sources", "id:18ba5ce699f8da1f", "comments", "a", "attachments", "0", version="_private"
    ),
}


@pytest.mark.parametrize("write", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize(
    ("guards", "named"),
    [
        (Guards(allow_load=False), "`allow_load`"),
        (Guards(read_only=True), "`read_only`"),
        (Guards(allowed_projects=("other",)), "`allowed_projects`"),
    ],
)
def test_loads_can_be_forbidden(
    serve: Serve, write: Callable[[MessagesApi], object], guards: Guards, named: str
) -> None:
    server = serve(handler=lambda request: ok(source={"id": "18ba5ce699f8da1f", "owner": "acme", "name": "x"}))
    with fails(ConfigurationError) as caught:
        write(api_of(server, guards=guards))
    assert named in caught.text
    assert [request.method for request in server.requests if request.method != "GET"] == []


def test_a_connection_that_may_not_load_may_do_all_else(serve: Serve) -> None:
    server = serve(handler=lambda request: ok(comment={"id": "a"}, statistics={"num_comments": 1}))
    api = api_of(server, guards=Guards(allow_load=False))
    api.count("acme", "inbox")
    api.session.request("PUT", "sources", "acme", "sync", json={"source": {}})  # a source of that name
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "guards", [Guards(allow_delete=False), Guards(read_only=True), Guards(allowed_projects=("x",))]
)
def test_deletes_of_messages_can_be_forbidden(serve: Serve, guards: Guards) -> None:
    with fails(ConfigurationError):
        api_of(serve(), guards=guards).delete("acme", "inbox", ["a"])


# What is not shown


@pytest.mark.parametrize(
    "call",
    [lambda api: api.get("acme", "inbox", "quagga-77"), lambda api: api.delete("acme", "inbox", ["quagga-77"])],
)
def test_ids_stand_in_no_error_and_no_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, call: Callable[[MessagesApi], object]
) -> None:
    caplog.set_level("DEBUG")
    server = serve(*[error(404, "Comment 'quagga-77' not found"), error(500, "quagga-77")] * 3)
    with fails(NotFoundError) as caught:
        call(api_of(server))
    assert "quagga" not in caught.text
    assert "quagga" not in caplog.text
    assert "not found" in caught.text


def test_words_that_tell_nothing_are_shown() -> None:
    clear = Echoes(json.dumps({"comments": [{"id": "kea-12", "text": "Where is my refund of 4711 EUR?"}]}).encode())
    assert clear("comments[12]: 'refund' is too long (70000 > 65536)") == (
        "comments[12]: '***' is too long (70000 > 65536)"
    )
    assert clear("the id kea-12 of EUR is not valid") == "the id ***-*** of *** is not valid"
    assert clear("refu") == "***"
    assert clear("Additional properties are not allowed ('colour' was unexpected)") == (
        "Additional properties are not allowed ('colour' was unexpected)"
    )
    assert clear("") == ""
