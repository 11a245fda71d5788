"""One call: what its answer means, what its errors tell, and what an observer sees of it."""

from __future__ import annotations

import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import (
    ApiError,
    ApiSession,
    AuthenticationError,
    BadRequestError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    DeveloperToken,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    RequestRecord,
    RetryPolicy,
    RetryWait,
    ServerError,
    TransportError,
)
from tests.unit.api.server import RESET, STALL, Answer, Request, Step, error, html, ok
from tests.unit.api.support import PROXY_PASSWORD, TOKEN, Clock, assert_no_secret, fails, session_to, source, sources_of

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve

ONCE = Clock().policy(max_attempts=1)


@pytest.mark.parametrize(
    ("status", "kind", "transient", "advice"),
    [
        (400, BadRequestError, False, "Correct the value"),
        (401, AuthenticationError, False, "generating a new developer token invalidates the previous one"),
        (403, PermissionDeniedError, False, "quota"),
        (404, NotFoundError, False, "what a user may not see looks missing"),
        (409, ConflictError, False, "exists already"),
        (418, ApiError, False, ""),
        (422, BadRequestError, False, "Correct the value"),
        (408, ApiError, True, ""),
        (425, ApiError, True, ""),
        (429, RateLimitedError, True, "pool"),
        (500, ServerError, True, "retry later"),
        (502, ServerError, True, "retry later"),
        (503, ServerError, True, "retry later"),
        (504, ServerError, True, "retry later"),
        (599, ServerError, True, "retry later"),
    ],
)
def test_each_status_is_one_typed_error_that_keeps_the_facts(
    serve: Serve, status: int, kind: type[CommsMiningError], transient: bool, advice: str
) -> None:
    timing = {"Server-Timing": "total;dur=37.7"}
    server = serve(error(status, f"the API's own words for {status}.", timing))
    with fails(kind) as caught:
        session_to(server, retry=ONCE).request("GET", "sources", "acme", "in box")
    found = caught.error
    assert (found.status, found.method, found.path) == (status, "GET", "sources/acme/in%20box")
    assert found.api_message == f"the API's own words for {status}."
    assert (found.attempts, found.platform_ms, found.transient) == (1, 37.7, transient)
    assert f"{status}" in caught.text
    assert f"the API's own words for {status}" in caught.text
    assert "platform 37.7 ms" in caught.text
    assert advice in caught.text
    assert ".." not in caught.text


def test_a_refusal_names_the_permission_that_the_vendors_page_asks_for(serve: Serve) -> None:
    server = serve(*[error(403, "nope")] * 2, error(401, "nope"))
    with fails(PermissionDeniedError) as caught:
        sources_of(server).get("acme", "example")
    assert "'View sources'" in caught.text
    with fails(PermissionDeniedError) as caught:
        sources_of(server).create("acme", "example")
    assert "'Sources admin'" in caught.text
    with fails(AuthenticationError) as unauthenticated:
        sources_of(server).delete("18ba5ce699f8da1f")
    assert "'Sources admin'" in unauthenticated.text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(200, b'{"status": "error", "message": "quota is full"}'), "has status 'error' (quota is full)"),
        (Answer(404, b'{"status": "ok", "source": {}}'), "has status 'ok'"),
        (Answer(200, b'{"sources": []}'), "no status 'ok' or 'error'"),
        (Answer(200, b'{"status": []}'), "no status 'ok' or 'error'"),
        (Answer(200, b'{"status": {"a": 1}}'), "no status 'ok' or 'error'"),
        (Answer(200, b'{"status": "OK"}'), "no status 'ok' or 'error'"),
        (Answer(404, b'{"detail": "Not Found"}'), "no status 'ok' or 'error'"),
        (Answer(200, b"[]"), "no status 'ok' or 'error'"),
        (Answer(200, b'"ok"'), "no status 'ok' or 'error'"),
        (Answer(200, b"null"), "no status 'ok' or 'error'"),
        (Answer(200, b"\xff\xfe\xfd"), "not JSON"),
        (html(200, "<html><style>p{}</style><h1>Sign&nbsp;in</h1>\n\n<p>please</p></html>"), "Sign&nbsp;in please"),
        (html(404), "not JSON"),
        (html(403), "not JSON"),
        (Answer(404, b""), "empty body"),
    ],
)
def test_an_answer_that_is_not_this_apis_is_a_protocol_error_at_once(serve: Serve, answer: Answer, says: str) -> None:
    server = serve(answer)
    with fails(ProtocolError) as caught:
        session_to(server).request("GET", "sources")
    assert says in caught.text
    assert caught.error.status == answer.status
    assert caught.error.transient is False
    assert caught.error.attempts == 1
    assert "<" not in caught.text


@pytest.mark.parametrize("body", [b"", b"  \n", b'{"status": "ok", "sources": [', b'{"status'])
def test_an_empty_or_cut_off_success_may_pass_and_is_asked_again(serve: Serve, body: bytes) -> None:
    server = serve(Answer(200, body), ok(sources=[]))
    assert session_to(server).request("GET", "sources")["sources"] == []


def test_a_gateways_page_keeps_its_status_and_a_short_excerpt(serve: Serve) -> None:
    server = serve(
        html(502, "<html><script>var a='<p>';</script><body>Bad <b>gateway</b>" + "x" * 9999 + "</body></html>")
    )
    with fails(ProtocolError) as caught:
        session_to(server, retry=ONCE).request("GET", "sources")
    assert (caught.error.status, caught.error.transient) == (502, True)
    assert "Bad gateway" in caught.text
    assert len(caught.text) < 400


@pytest.mark.parametrize("depth", [100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"status":'])
def test_deeply_nested_json_is_an_error_and_no_crash(serve: Serve, opening: bytes, depth: int) -> None:
    server = serve(Answer(200, opening * depth))
    with fails(ProtocolError):
        session_to(server, retry=ONCE).request("GET", "sources")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_redirect_is_not_followed_and_the_error_says_where_it_points(serve: Serve, status: int, method: str) -> None:
    elsewhere = serve()
    there = f"{elsewhere.url}/login?next=/api"
    server = serve(Answer(status, b"", {"Location": there}))
    with fails(ProtocolError) as caught:
        session_to(server).request(method, "sources", "acme", "example")
    assert there in caught.text
    assert "redirect" in caught.text
    assert caught.error.status == status
    assert elsewhere.connections == 0
    assert len(server.requests) == 1


def test_a_redirect_to_something_that_is_no_url_is_still_a_redirect(serve: Serve) -> None:
    server = serve(Answer(302, b"", {"Location": "http://[half"}), Answer(302, b""))
    for expected in ("http://[half", "nowhere"):
        with fails(ProtocolError) as caught:
            session_to(server).request("GET", "sources")
        assert expected in caught.text


def test_a_redirect_to_the_same_host_is_not_followed_either(serve: Serve) -> None:
    server = serve(Answer(307, b"", {"Location": "/api/v1/sources"}))
    with fails(ProtocolError):
        session_to(server).request("GET", "sources")
    assert len(server.requests) == 1


HOSTILE = "red \x1b[31malert\x1b[0m\r\nINFO fake log line\u202egnp.exe \x00\x9b1m"


@pytest.mark.parametrize(
    "answer",
    [
        error(403, HOSTILE),
        Answer(200, json.dumps({"status": "error", "message": HOSTILE}).encode()),
        html(403, f"<p>{HOSTILE}</p>"),
        Answer(302, b"", {"Location": "/\x1b[31m"}),
    ],
)
def test_what_a_server_says_cannot_forge_or_colour_a_log(serve: Serve, answer: Answer) -> None:
    with pytest.raises(CommsMiningError) as caught:
        session_to(serve(answer)).request("GET", "sources")
    assert str(caught.value).isprintable()
    assert (caught.value.api_message or "").isprintable()


def test_a_megabyte_of_message_is_cut(serve: Serve) -> None:
    server = serve(error(400, "m" * 1_000_000), Answer(200, b'{"status": "error", "message": "%s"}' % (b"m" * 10**6)))
    for kind in (BadRequestError, ProtocolError):
        with fails(kind) as caught:
            session_to(server).request("GET", "sources")
        assert 300 < len(caught.text) < 1000
        assert "characters" in caught.text


@pytest.mark.parametrize("message", [None, 17, ["a"], {"b": 1}, ""])
def test_a_message_that_is_no_text_does_no_harm(serve: Serve, message: Any) -> None:
    with fails(BadRequestError) as caught:
        session_to(serve(error(400, message))).request("GET", "sources")
    assert "400 Bad Request" in caught.text


@pytest.mark.parametrize("at", [0, 150, 180, 195])
@pytest.mark.parametrize("status", [200, 403, 502])
def test_a_server_that_echoes_our_header_does_not_put_the_token_into_the_error(
    serve: Serve, status: int, at: int
) -> None:
    def echo(request: Request) -> Step:
        said = "x" * at + request.headers["Authorization"]
        if request.target.endswith("html"):
            return html(status, f"<p>{said}</p>")
        if request.target.endswith("moved"):
            return Answer(302, b"", {"Location": f"/login?was={said}"})
        return error(status, said)

    server = serve(handler=echo)
    for page in ("html", "json", "moved"):
        with pytest.raises(CommsMiningError) as caught:
            session_to(server, retry=ONCE).request("GET", page)
        assert_no_secret(caught.value)
        assert "Bearer" in str(caught.value) or at > 150
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


# --- generic calls


def test_any_endpoint_can_be_called(serve: Serve) -> None:
    server = serve(ok(user={}), ok(), ok())
    session = session_to(f"{server.url}/acme/prod/reinfer_/api/v1/")
    assert session.request("get", "auth", "user", version="_private") == {"status": "ok", "user": {}}
    session.request("POST", "datasets", "a/b", "é?#%", json={"x": 1}, params={"limit": 5, "tag": ["a b", "c&d"]})
    session.request("GET", "sources", "acme%2Fx")
    assert server.log == [
        "GET /acme/prod/reinfer_/api/_private/auth/user",
        "POST /acme/prod/reinfer_/api/v1/datasets/a%2Fb/%C3%A9%3F%23%25?limit=5&tag=a+b&tag=c%26d",
        "GET /acme/prod/reinfer_/api/v1/sources/acme%252Fx",
    ]


def test_a_body_that_is_no_json_is_refused_without_a_request(serve: Serve) -> None:
    for body in ({"x": {1, 2}}, {"x": float("nan")}, object()):
        with fails(ConfigurationError) as caught:
            session_to(serve()).request("POST", "things", json=body)
        assert caught.text.startswith("json: ")


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("step", [RESET, error(500), html(502), html(200), Answer(200, b"")])
def test_a_generic_write_with_a_lost_response_is_not_repeated(serve: Serve, method: str, step: Step) -> None:
    server = serve(step)
    with fails(OutcomeUnknownError) as caught:
        session_to(server).request(method, "datasets", "acme", "d", json={})
    assert caught.error.transient is True
    assert f"{method} datasets/acme/d" in caught.text
    assert isinstance(caught.error.__cause__, CommsMiningError)


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_generic_write_that_was_not_processed_is_repeated(serve: Serve, status: int) -> None:
    server = serve(error(status), ok())
    assert session_to(server).request("POST", "datasets", "acme", "d", json={}) == {"status": "ok"}


# --- observer


def test_an_observer_is_told_of_each_call_with_its_route(serve: Serve) -> None:
    seen: list[RequestRecord] = []
    timing = {"Server-Timing": 'edge;dur=3.5, total;desc="all of it";dur=38.2'}
    server = serve(
        ok(timing, sources=[]),
        ok(timing, source=source(name="inbox")),
        ok(timing, statistics={}),
        ok(timing, source=source()),
        error(404),
        ok(timing),
        ok(timing),
    )
    api = sources_of(server, observer=seen.append)
    api.list()
    api.get("acme", "inbox")
    api.statistics("acme", "inbox")
    api.get_by_id("18ba5ce699f8da1f")
    with fails(NotFoundError):
        api.list("acme")
    api.delete("18ba5ce699f8da1f")
    api.session.request("GET", "datasets", "acme", "d")
    assert [(r.method, r.path, r.route, r.status, r.attempts, r.platform_ms, r.error) for r in seen] == [
        ("GET", "sources", "sources", 200, 1, 38.2, None),
        ("GET", "sources/acme/inbox", "sources/{project}/{name}", 200, 1, 38.2, None),
        ("POST", "sources/acme/inbox/statistics", "sources/{project}/{name}/statistics", 200, 1, 38.2, None),
        ("GET", "sources/id:18ba5ce699f8da1f", "sources/id:{id}", 200, 1, 38.2, None),
        ("GET", "sources/acme", "sources/{project}", 404, 1, None, "NotFoundError"),
        ("DELETE", "sources/id:18ba5ce699f8da1f", "sources/id:{id}", 200, 1, 38.2, None),
        ("GET", "datasets/acme/d", "datasets/{}/{}", 200, 1, 38.2, None),
    ]


def test_a_record_reads_as_one_line() -> None:
    record = RequestRecord("PUT", "sources/acme/inbox", "sources/{project}/{name}", 200, 1, 84.4, 38.2)
    assert str(record) == "PUT sources/acme/inbox -> 200 in 84 ms (platform 38 ms)"
    record = RequestRecord("GET", "sources", "sources", 503, 3, 2100.0, None, "ServerError")
    assert str(record) == "GET sources -> 503 in 2100 ms, 3 attempts"
    record = RequestRecord("GET", "sources", "sources", None, 5, 9.0, None, "TransportError")
    assert str(record) == "GET sources -> TransportError in 9 ms, 5 attempts"


def test_the_observed_time_includes_the_waits(serve: Serve) -> None:
    seen: list[RequestRecord] = []
    server = serve(error(503, headers={"Retry-After": "7"}), ok())
    session_to(server, observer=seen.append).request("GET", "sources")
    (record,) = seen
    assert record.total_ms == 7000
    assert record.attempts == 2


def test_an_observer_is_told_of_each_request_and_each_wait(serve: Serve) -> None:
    seen: list[RequestRecord] = []
    waits: list[RetryWait] = []
    server = serve(error(503, headers={"Retry-After": "7"}), error(429), html(200), ok())
    session = session_to(server, observer=seen.append, on_wait=waits.append)
    with fails(ProtocolError):
        session.request("GET", "sources")
    session.request("GET", "sources")
    failed, fine = seen
    assert [(each.status, each.error) for each in failed.exchanges] == [
        (503, "ServerError"),
        (429, "RateLimitedError"),
        (200, "ProtocolError"),
    ]
    assert all(each.total_ms == 0 for each in failed.exchanges), "the waits are no time of a request"
    assert failed.total_ms == pytest.approx(sum(each.seconds for each in waits) * 1000)
    assert (failed.attempts, failed.repeats) == (3, 2)
    assert [(each.status, each.requested) for each in waits] == [(503, True), (429, False)]
    assert waits[0].seconds == 7
    assert ([(each.status, each.error) for each in fine.exchanges], fine.repeats) == ([(200, None)], 0)


def test_a_wait_is_announced_with_its_reason(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(error(503, f"no {TOKEN} today", headers={"Retry-After": "7"}), ok())
    session_to(server).request("GET", "sources")
    (record,) = [record for record in caplog.records if record.name == "airflow_provider_cm.api.retry"]
    assert record.levelname == "WARNING"
    assert "GET sources: 503 Service Unavailable: no *** today" in record.getMessage()
    assert record.getMessage().endswith("trying again in 7.0 s")


@pytest.mark.parametrize(
    "header", ["", "total", "total;dur=", "total;dur=abc", "subtotal;dur=5", "cache;desc=total;dur=5", "\x00"]
)
def test_a_timing_header_without_a_total_is_no_time(serve: Serve, header: str) -> None:
    seen: list[RequestRecord] = []
    session_to(serve(ok({"Server-Timing": header})), observer=seen.append).request("GET", "sources")
    assert seen[0].platform_ms is None


# --- threads and connections


def test_thirty_two_threads_share_one_session(serve: Serve) -> None:
    def answer(request: Request) -> Step:
        return ok(source=source(name=request.target.rsplit("/", 1)[1]))

    server = serve(handler=answer)
    seen: list[RequestRecord] = []
    api = sources_of(server, observer=seen.append)
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(5):
            name = f"s{number}-{turn}"
            if api.get("acme", name).name != name:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.requests) == len(seen) == 160
    assert server.connections == 32


def test_many_calls_use_one_connection(serve: Serve) -> None:
    server = serve(handler=lambda request: error(404) if "missing" in request.target else ok(source=source()))
    api = sources_of(server)
    for _ in range(20):
        api.get("acme", "example")
        api.create("acme", "example", title="t")
        with fails(NotFoundError):
            api.get("acme", "missing")
    assert len(server.requests) == 60
    assert server.connections == 1


def test_a_closed_session_connects_anew(serve: Serve) -> None:
    server = serve(ok(), ok())
    session = session_to(server)
    session.request("GET", "sources")
    session.close()
    session.close()
    session.request("GET", "sources")
    assert server.connections == 2


def test_closing_reaches_the_connections_of_other_threads(serve: Serve) -> None:
    server = serve(ok(), ok())
    session = session_to(server)
    with ThreadPoolExecutor(1) as other:
        other.submit(session.request, "GET", "sources").result()
        session.close()
        other.submit(session.request, "GET", "sources").result()
    assert server.connections == 2


def test_a_session_with_less_time_shares_its_connections(serve: Serve) -> None:
    server = serve(ok(), STALL)
    session = session_to(server, retry=RetryPolicy(max_attempts=1))
    session.request("GET", "sources")
    started = time.monotonic()
    with pytest.raises(TransportError, match="in time"):
        session.within(0.2).request("GET", "sources")
    assert time.monotonic() - started < 2
    assert server.connections == 1
    assert session.retry.max_seconds > 100
    assert session.within(10**6).retry.max_seconds == session.retry.max_seconds


def test_a_session_shows_where_it_goes_and_nothing_else() -> None:
    session = session_to(
        "https://cloud.uipath.com/acme/prod/reinfer_", proxies={"https": f"http://u:{PROXY_PASSWORD}@h"}
    )
    assert "https://cloud.uipath.com/acme/prod/reinfer_" in repr(session)
    assert_no_secret(session, session.__dict__, sources_of("https://x.reinfer.io"))


def test_the_error_tree_is_the_one_in_the_documents() -> None:
    assert issubclass(ConfigurationError, ValueError)
    for kind in (BadRequestError, AuthenticationError, PermissionDeniedError, NotFoundError, ConflictError):
        assert issubclass(kind, ApiError)
        assert kind.transient is False
    for passing in (RateLimitedError, ServerError, TransportError, OutcomeUnknownError):
        assert issubclass(passing, CommsMiningError)
        assert passing.transient is True


def test_an_error_survives_being_pickled() -> None:
    before = NotFoundError("gone", method="GET", path="sources/a", status=404, attempts=2)
    after = pickle.loads(pickle.dumps(before))
    assert (str(after), after.status, after.path) == (str(before), 404, "sources/a")


def test_an_error_that_ends_a_constructor_can_be_shown_with_its_variables() -> None:
    with fails(ConfigurationError):
        ApiSession("ftp://x", DeveloperToken(TOKEN), proxies={"https": f"http://u:{PROXY_PASSWORD}@proxy"})
