"""Each call gets its own answer: interim responses, unread bytes, answers about another source, and pages."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import (
    ConfigurationError,
    Guards,
    NotFoundError,
    OutcomeUnknownError,
    ProtocolError,
    RetryPolicy,
    SourcesApi,
    TransportError,
)
from airflow_provider_cm.api.response_checks import expect_listing
from tests.unit.api.server import Answer, Request, Step, error, ok
from tests.unit.api.support import Clock, fails, session_to, source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve

ID = "18ba5ce699f8da1f"
OTHER_ID = "0123456789abcdef"
ONCE = Clock().policy(max_attempts=1)
THEIRS = source(name="theirs", id=OTHER_ID)


def interim(status: int) -> bytes:
    return f"HTTP/1.1 {status} Interim\r\nLink: </style.css>\r\nContent-Length: 5\r\n\r\n".encode()


def named(request: Request) -> dict[str, Any]:
    name = request.target.rpartition("/")[2]
    return source(id=name[3:]) if name.startswith("id:") else source(name=name)


# --- in step


@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
@pytest.mark.parametrize("times", [1, 3])
def test_interim_responses_are_read_past(serve: Serve, status: int, times: int) -> None:
    server = serve(handler=lambda request: replace(ok(source=named(request)), before=interim(status) * times))
    api = sources_of(server, retry=ONCE)
    for name in ("a", "b", "c"):
        assert api.get("acme", name).name == name
    assert api.update("acme", "d").name == "d"
    assert server.connections == 1


def test_a_refused_delete_after_an_interim_response_is_refused(serve: Serve) -> None:
    """The answer to the call before would say that it was done."""
    server = serve(replace(ok(source=source(name="a")), before=interim(103)), error(409, "in use"))
    api = sources_of(server, retry=ONCE)
    api.get("acme", "a")
    with pytest.raises(Exception, match="in use"):
        api.delete(ID)


def test_what_is_no_interim_response_but_looks_like_one_ends_the_connection(serve: Serve) -> None:
    """101 is a promise to speak another protocol, which nobody asked for."""
    server = serve(Answer(raw=interim(101), stays_open=True), ok(source=source()))
    with fails(TransportError) as caught:
        sources_of(server, retry=ONCE).get("acme", "example")
    assert "interim" in caught.text
    assert sources_of(server, retry=ONCE).get("acme", "example").name == "example"


def test_interim_responses_without_an_end_are_no_answer(serve: Serve) -> None:
    server = serve(Answer(raw=interim(103) * 100_000), Answer(raw=interim(100) * 100_000))
    for _ in range(2):
        with fails(TransportError):
            session_to(server, retry=RetryPolicy(max_attempts=1, max_seconds=5)).request("GET", "x")


@pytest.mark.parametrize("pause", [0, 0.2])
@pytest.mark.parametrize(
    "more",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}',
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"x",
        b"\r\n",
        b"x" * 300_000,
    ],
)
@pytest.mark.parametrize("first", [ok(source=source(name="a")), error(404), Answer(204, b"")])
def test_what_comes_after_a_response_is_not_the_next_one(
    serve: Serve, more: bytes, pause: float, first: Answer
) -> None:
    answers = iter([replace(first, after=more)])
    server = serve(handler=lambda request: next(answers, None) or ok(source=named(request)))
    session = session_to(server, retry=ONCE)
    session.run(session.prepare("GET", "sources", "acme", "a"), session.budget())
    time.sleep(pause)
    assert SourcesApi(session).get("acme", "b").name == "b"
    assert server.connections == 2


def test_a_connection_that_is_in_step_is_used_again(serve: Serve) -> None:
    server = serve(handler=lambda request: ok(source=named(request)))
    api = sources_of(server)
    for name in ("a", "b", "c"):
        api.get("acme", name)
    assert server.connections == 1


# --- about what was asked for


READS: dict[str, Callable[[SourcesApi], object]] = {
    "get": lambda api: api.get("acme", "example"),
    "by id": lambda api: api.get_by_id(ID),
    "list": lambda api: api.list("acme"),
    "statistics": lambda api: api.statistics("acme", "example"),
}
ANSWERS = {
    "another name": ok(source=source(name="theirs", id=OTHER_ID)),
    "another project": ok(source=source(owner="other", id=OTHER_ID), sources=[source(), source(owner="other")]),
    "a list": ok(sources=[THEIRS, source(owner="other")]),
    "statistics": ok(statistics={"num_comments": 1}),
}


# Statistics do not say of which source they are.
MIXED_UP = [(read, wrong) for read in READS for wrong in ANSWERS if (read, wrong) != ("statistics", "statistics")]


@pytest.mark.parametrize(("read", "wrong"), MIXED_UP)
def test_an_answer_to_another_call_is_asked_for_again_on_another_connection(
    serve: Serve, read: str, wrong: str
) -> None:
    right = ok(source=source(), sources=[source()], statistics={"num_comments": 1})
    server = serve(ANSWERS[wrong], right, *[ANSWERS[wrong]] * 5)
    api = sources_of(server)
    READS[read](api)
    assert server.connections == 2
    with fails(ProtocolError) as caught:
        READS[read](api)
    assert "another" in caught.text
    assert caught.error.transient is True


@pytest.mark.parametrize("wrong", ANSWERS)
def test_an_answer_to_another_call_settles_no_write(serve: Serve, wrong: str) -> None:
    server = serve(ANSWERS[wrong], ok(source=source(title="T")), ANSWERS[wrong], ok(source=source(title="T")))
    api = sources_of(server)
    assert api.create("acme", "example", title="T").confirmed is True
    assert api.update("acme", "example", title="T").confirmed is True
    assert server.methods == ["PUT", "GET", "POST", "GET"]


@pytest.mark.parametrize("wrong", ANSWERS)
def test_an_answer_to_another_call_does_not_delete(serve: Serve, wrong: str) -> None:
    server = serve(ANSWERS[wrong], ok(source=source()), ok())
    assert sources_of(server).delete(ID) is True
    assert server.methods == ["DELETE", "GET", "DELETE"]


def test_a_look_at_another_source_settles_nothing(serve: Serve) -> None:
    wrong = ok(source=source(name="theirs", title="T"))
    server = serve(error(500), wrong, ok(source=source(title="T")))
    assert sources_of(server).update("acme", "example", title="T").confirmed is True
    server = serve(error(500), *[wrong] * 9)
    with fails(OutcomeUnknownError):
        sources_of(server, retry=Clock().policy(max_attempts=3)).update("acme", "example", title="T")


def test_upper_and_lower_case_make_no_other_source(serve: Serve) -> None:
    """Where names mind no case, a server answers with the name as it was given first."""
    there = source(owner="Acme", name="Example", id=ID.upper())
    server = serve(handler=lambda _: ok(source=there, sources=[there]))
    api = sources_of(server, retry=ONCE)
    assert api.get("acme", "example").name == "Example"
    assert api.get_by_id(ID).id == ID.upper()
    assert [each.owner for each in api.list("acme")] == ["Acme"]
    assert api.create("acme", "example").name == "Example"
    assert api.update("acme", "example").name == "Example"
    assert api.delete(ID) is True


def test_a_guard_does_not_take_another_sources_project_for_this_ones(serve: Serve) -> None:
    server = serve(handler=lambda _: ok(source=source(owner="allowed", id=OTHER_ID)))
    api = sources_of(server, retry=ONCE, guards=Guards(allowed_projects=("allowed",)))
    with pytest.raises((ProtocolError, ConfigurationError)):
        api.delete(ID)
    assert "DELETE" not in server.methods


# --- the whole of a listing


PAGED = [
    {"continuation": "abc"},
    {"next": "/sources?page=2"},
    {"next_page_token": "x"},
    {"nextLink": "x"},
    {"@odata.nextLink": "x"},
    {"nextpagetoken": "x"},
    {"cursor": "x"},
    {"end_cursor": "x"},
    {"has_more": True},
    {"hasMore": True},
    {"hasmore": True},
    {"more_results": True},
    {"is_truncated": True},
    {"page": 1},
    {"pagination": {"next": 2}},
    {"meta": {"next_offset": 1}},
    {"_links": {"next": {"href": "x"}}},
    {"links": {"next": "x"}},
    {"after": "x"},
    {"lastEvaluatedKey": {"id": 1}},
    {"last": False},
    {"complete": False},
    {"total": 2},
    {"total_count": 1000},
    {"count": 3.0},
    {"limit": 1},
    {"continuation": 5},
]
HARMLESS = [
    {"continuation": None},
    {"next": ""},
    {"has_more": False},
    {"pagination": {"next": None}},
    {"cursor": None, "next_page": None},
    {"total": 1},
    {"count": 1},
    {"limit": 1000},
    {"last": True},
    {"request_id": "after-next-page"},
    {"context": {"user": "x"}},
    {"message": "there is more on the next page"},
    {"warnings": ["x"]},
    {"rate_limit_remaining": 99},
    {"homepage": "https://x"},
    {"num_comments": 12.0},
    {"sources_by_id": {ID: {"next": "x"}}},
]


@pytest.mark.parametrize("project", [None, "acme"])
@pytest.mark.parametrize("extra", PAGED, ids=str)
def test_a_page_is_not_taken_for_the_whole(serve: Serve, extra: dict[str, Any], project: str | None) -> None:
    server = serve(ok(sources=[source()], **extra))
    with fails(ProtocolError) as caught:
        sources_of(server).list(project)
    assert "one page of a longer listing" in caught.text
    assert next(iter(extra)) in caught.text
    assert caught.error.transient is False


@pytest.mark.parametrize("extra", HARMLESS, ids=str)
def test_what_is_new_in_a_listing_does_no_harm(serve: Serve, extra: dict[str, Any]) -> None:
    assert len(sources_of(serve(ok(sources=[source()], **extra))).list()) == 1


@pytest.mark.parametrize("link", ['</x?page=2>; rel="next"', "</a>; rel=prev, </b>; REL=next", '</b>; rel="last next"'])
def test_a_link_to_the_next_page_is_one_too(serve: Serve, link: str) -> None:
    with fails(ProtocolError):
        sources_of(serve(ok({"Link": link}, sources=[]))).list()


def test_a_link_to_something_else_is_none(serve: Serve) -> None:
    assert sources_of(serve(ok({"Link": '</style.css>; rel="preload"; title="next"'}, sources=[]))).list() == []


def test_a_delete_is_not_believed_on_the_word_of_a_page(serve: Serve) -> None:
    answers: list[Step] = [error(404), error(404), ok(sources=[], continuation="x")]
    with fails(OutcomeUnknownError):
        sources_of(serve(*answers)).delete(ID)


def test_a_source_that_is_missing_is_missing(serve: Serve) -> None:
    with fails(NotFoundError):
        sources_of(serve(error(404))).get("acme", "example")


def test_a_long_key_is_cut_in_the_message() -> None:
    payload = {"sources": [], "k" * 70: {"next": "x", "n" * 70 + "_cursor": 1}}
    with fails(ProtocolError) as caught:
        expect_listing(None)(payload, {})
    assert f"`{'k' * 60}... (70 characters).next`" in caught.text
    with fails(ProtocolError) as caught:
        expect_listing(None)({"sources": [], "n" * 70 + "_cursor": 1}, {})
    assert f"`{'n' * 60}... (77 characters)`" in caught.text
