"""Nothing but the errors of this package leaves a call, whatever a header holds and whichever callback fails."""

from __future__ import annotations

import gzip
import json
import logging
import math
import re
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_cm.api import (
    CommsMiningError,
    DeveloperToken,
    OutcomeUnknownError,
    RetryPolicy,
    SourcesApi,
    TokenError,
    TransportError,
)
from airflow_provider_cm.api.transport import Transport
from airflow_provider_cm.api.wire import check_time, exchange
from tests.unit.api.server import RESET, Answer, Request, Server, Step, error, ok
from tests.unit.api.support import NEW_TOKEN, TOKEN, Clock, assert_no_secret, fails, session_to, source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve

ID = "18ba5ce699f8da1f"
SOON = 3

# --- headers

HEADERS = [
    "Date",
    "Retry-After",
    "Server-Timing",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Connection",
    "Keep-Alive",
    "Link",
    "Location",
    "WWW-Authenticate",
    "Set-Cookie",
    "Transfer-Encoding",
    "Upgrade",
]
ODD = [
    "",
    "-1",
    "0",
    "9" * 30,
    "9" * 5000,
    "1e999",
    "nan",
    "inf",
    "1, 2",
    "\u0663".encode().decode("latin-1"),
    "gzip",
    "gzip, gzip",
    "br",
    "deflate",
    "chunked",
    "chunked, chunked",
    "http://[half",
    "//",
    "a=b; Expires=Fri, 31 Dec 9999 23:59:59 -2359",
    "a=b; Max-Age=99999999999999999999999; Domain=127.0.0.1",
    "total;dur=" + "9" * 400,
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Sun, 22 Nov 2026 00:43:00 +99999999999999999999",
    "Sun, 22 Nov 99999999999999999999 00:43:00 GMT",
    "Basic realm=\xff\xfe",
]
NAMES = st.sampled_from(HEADERS) | st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=8)
VALUES = st.sampled_from(ODD) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
STATUSES = st.sampled_from([200, 201, 204, 206, 302, 304, 401, 404, 409, 429, 500, 503])
CALLS: dict[str, Callable[[SourcesApi], object]] = {
    "get": lambda api: api.get("acme", "example"),
    "list": lambda api: api.list("acme"),
    "statistics": lambda api: api.message_count("acme", "example"),
    "create": lambda api: api.create("acme", "example", title="T"),
    "update": lambda api: api.update("acme", "example", title="T"),
    "delete": lambda api: api.delete(ID),
}
GOOD: dict[str, Any] = {"sources": [], "source": source(title="T"), "statistics": {"num_comments": 1.0}}


def raw(status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    names = {name.lower() for name, _ in headers}
    lengths = [] if names & {"content-length", "transfer-encoding"} else [("Content-Length", str(len(body)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in [*headers, *lengths])
    return Answer(raw=f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + body)


def assert_finite(found: CommsMiningError) -> None:
    for number in (found.platform_ms, found.retry_after, found.status, found.attempts):
        assert number is None or math.isfinite(number)
    str(found).encode()


@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_header_holds_a_call_ends_as_calls_do(call: str) -> None:
    answers: list[Step] = []
    with Server(lambda _: answers.pop(0) if answers else ok(**GOOD)) as server:

        @given(STATUSES, st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4), st.integers(1, 3))
        @settings(max_examples=120, deadline=None)
        def hold(status: int, headers: list[tuple[str, str]], times: int) -> None:
            word = "ok" if status < 300 else "error"
            body = json.dumps({"status": word, **GOOD}).encode()
            answers[:] = [raw(status, headers, body)] * times
            seen: list[Any] = []
            api = sources_of(server, retry=Clock().policy(max_attempts=3), observer=seen.append, timeout=(2, 2))
            try:
                CALLS[call](api)
            except CommsMiningError as caught:
                assert_finite(caught)
                assert_no_secret(caught)
            assert seen
            assert all(each.platform_ms is None or math.isfinite(each.platform_ms) for each in seen)

        hold()


@pytest.mark.parametrize("call", CALLS)
def test_whatever_bytes_a_server_sends_a_call_ends_as_calls_do(call: str) -> None:
    answers: list[Step] = []
    with Server(lambda _: answers.pop(0) if answers else ok(**GOOD)) as server:

        @given(st.binary(max_size=80), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
        @settings(max_examples=60, deadline=None)
        def hold(noise: bytes, before: bytes) -> None:
            answers[:] = [Answer(raw=before + noise)]
            try:
                CALLS[call](sources_of(server, timeout=(2, 2)))
            except CommsMiningError as caught:
                assert_no_secret(caught)

        hold()


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", ODD)
def test_after_a_write_the_unexpected_is_settled_by_reading(name: str, value: str) -> None:
    """Whether the header spoils the answer or not, the write is carried out once and is never called refused."""
    acted: list[str] = []
    body = json.dumps({"status": "ok", "source": source(title="T")}).encode()

    def handler(request: Request) -> Step:
        if request.method == "GET":
            return ok(source=source(title="T"))
        acted.append(request.method)
        return raw(200, [(name, value)], body)

    with Server(handler) as server:
        assert sources_of(server, timeout=(2, 2)).update("acme", "example", title="T").title == "T"
    assert acted == ["POST"]


# --- callbacks


class AwayError(Exception):
    """What a secrets backend raises, with a secret in its text."""


def away(*_: object) -> Any:
    raise AwayError(f"could not read {NEW_TOKEN}")


@pytest.mark.parametrize("call", CALLS)
def test_an_observer_that_fails_does_not_fail_a_call(serve: Serve, call: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = iter([error(429)])
    server = serve(handler=lambda _: next(answers, None) or ok(**GOOD))
    CALLS[call](sources_of(server, observer=away, on_wait=away))
    assert "observer failed with AwayError" in caplog.text
    assert "on_wait failed with AwayError" in caplog.text
    assert_no_secret(caplog.text)


@pytest.mark.parametrize("call", CALLS)
def test_a_reload_that_fails_is_a_transient_error(serve: Serve, call: str) -> None:
    server = serve(handler=lambda _: error(401))
    auth = DeveloperToken(TOKEN, reload=away, on_renewal=away)
    with fails(TokenError) as caught:
        CALLS[call](sources_of(server, auth=auth, retry=Clock().policy(max_attempts=2)))
    assert caught.error.transient is True
    assert "AwayError" in caught.text
    assert caught.error.__cause__ is caught.error.__context__ is None


class Moody(DeveloperToken):
    """Credentials whose source is away for some calls."""

    def __init__(self, *troubles: bool, renews: bool = False) -> None:
        super().__init__(TOKEN)
        self.troubles = list(troubles)
        self.renews = renews

    def bearer(self, *args: Any) -> Any:
        return away() if not self.renews and self.troubles and self.troubles.pop(0) else super().bearer(*args)

    def renew(self, *args: Any) -> Any:
        if self.renews and self.troubles and self.troubles.pop(0):
            away()
        return self._bearer if self.renews else None


@pytest.mark.parametrize("call", CALLS)
def test_credentials_that_are_away_for_a_moment_are_asked_again(serve: Serve, call: str) -> None:
    server = serve(handler=lambda _: ok(**GOOD))
    CALLS[call](sources_of(server, auth=Moody(True, True)))
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_renewal_that_is_away_for_a_moment_is_tried_again(serve: Serve, call: str) -> None:
    answers = iter([error(401), error(401)])
    server = serve(handler=lambda _: next(answers, None) or ok(**GOOD))
    CALLS[call](sources_of(server, auth=Moody(True, renews=True)))


@pytest.mark.parametrize("call", CALLS)
def test_credentials_that_stay_away_are_a_transient_error(serve: Serve, call: str) -> None:
    with fails(TokenError) as caught:
        CALLS[call](sources_of(serve(), auth=Moody(*[True] * 99)))
    assert (caught.error.transient, caught.error.status) == (True, None)


def test_credentials_that_go_away_after_a_lost_write_leave_it_unknown(serve: Serve) -> None:
    server = serve(RESET)
    with fails(OutcomeUnknownError) as caught:
        sources_of(server, auth=Moody(False, *[True] * 99)).update("acme", "example", title="T")
    assert caught.error.attempts == 1


def test_the_attempts_of_a_tokens_error_are_its_own(serve: Serve) -> None:
    class Refusing(DeveloperToken):
        def bearer(self, *_: Any) -> Any:
            raise TokenError("no", attempts=3, path="https://identity", method="POST")

    for call in ("get", "create"):
        with fails(TokenError) as caught:
            CALLS[call](sources_of(serve(), auth=Refusing(TOKEN)))
        assert caught.error.attempts == 3


# --- encodings and memory


def test_encodings_within_each_other_are_refused_at_once(serve: Serve) -> None:
    body = gzip.compress(gzip.compress(b'{"status": "ok", "sources": []}'))
    for encoding in ("gzip, gzip", "gzip,gzip", "deflate, gzip", "br", "zstd", "GZIP,", "x" * 9999):
        server = serve(Answer(200, body, {"Content-Encoding": encoding}))
        with fails(TransportError) as caught:
            sources_of(server).list()
        assert "encoded" in caught.text
        assert caught.error.transient is False
        assert len(caught.text) < 300


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "x-gzip", "deflate", "identity"])
def test_one_encoding_is_read(serve: Serve, encoding: str) -> None:
    body = b'{"status": "ok", "sources": []}'
    packed = body if encoding == "identity" else zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    server = serve(Answer(200, packed, {"Content-Encoding": encoding}))
    assert sources_of(server).list() == []
    assert server.requests[0].headers["Accept-Encoding"] == "gzip, deflate"


def test_a_write_with_an_answer_in_another_encoding_is_looked_up(serve: Serve) -> None:
    server = serve(Answer(200, b"x", {"Content-Encoding": "gzip, gzip"}), ok(source=source(title="T")))
    assert sources_of(server).update("acme", "example", title="T").confirmed is True


def test_unpacking_ends_at_the_deadline(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_cm.api import transport as transport_module

    monkeypatch.setattr(transport_module, "MAX_RESPONSE_BYTES", 1 << 40)
    body = gzip.compress(b" " * 200_000_000, compresslevel=1)
    server = serve(Answer(200, body, {"Content-Encoding": "gzip"}))
    began = time.monotonic()
    with pytest.raises(TransportError, match="in time"):
        session_to(server, retry=RetryPolicy(max_seconds=0.1)).request("GET", "sources")
    assert time.monotonic() - began < SOON


def test_a_deadline_is_looked_at() -> None:
    with exchange(60):
        check_time()
    with exchange(-1), pytest.raises(TimeoutError):
        check_time()
    check_time()


def test_a_small_body_of_tiny_objects_does_not_take_gigabytes(serve: Serve) -> None:
    body = gzip.compress(b'{"status": "ok", "sources": [' + b"{}," * 40_000_000 + b"{}]}")
    assert len(body) < 256 * 1024
    server = serve(Answer(200, body, {"Content-Encoding": "gzip"}))
    del body
    tracemalloc.start()
    try:
        with pytest.raises(CommsMiningError, match="memory"):
            sources_of(server).list()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024**2


# --- logs


def test_headers_that_cannot_be_read_are_not_quoted_in_a_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    broken = b"HTTP/1.1 200 OK\r\nA: b\r\nAuthorization Bearer %s\r\nC: d\r\n\r\n{}" % TOKEN.encode()
    for _ in range(2):
        with pytest.raises(CommsMiningError):
            session_to(serve(Answer(raw=broken)), retry=Clock().policy(max_attempts=1)).request("GET", "x")
    for record in caplog.records:
        assert_no_secret(record.getMessage(), record.args, record.exc_info[1] if record.exc_info else None)
    assert not re.search("parse headers", caplog.text)


def test_other_users_of_urllib3_keep_their_logs(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("urllib3.connection").warning("Failed to parse headers of somebody else")
    assert "somebody else" in caplog.text


def test_a_half_made_transport_can_be_shown() -> None:
    assert repr(Transport.__new__(Transport)) == "Transport(timeout=?, verify='?')"
