"""Whatever a server says, what a call gives back can be stored by every database and XCom backend of Airflow."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_cm.api import ConflictError, NotFoundError, ProtocolError, Source
from airflow_provider_cm.api import json_decoding as decoding_module
from airflow_provider_cm.api.envelope import parse_server_timing
from airflow_provider_cm.api.json_decoding import MAX_DEPTH, MAX_MEMORY, UnfitJson, decode_json
from tests.unit.api.server import Answer, error, ok
from tests.unit.api.support import Clock, fails, session_to, source, sources_of

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve

ONCE = Clock().policy(max_attempts=1)
BEYOND = "1" + "0" * 30
MANY_DIGITS = "7" * 5000  # more than Python makes a number of by default


def assert_storable(value: Any) -> None:
    """Strict JSON, strict UTF-8, no NUL, 64 bits: what PostgreSQL, SQLite and msgpack can all hold."""
    json.dumps(value, allow_nan=False)
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            each.encode()
            assert "\0" not in each
        elif isinstance(each, dict):
            todo += [*each, *each.values()]
        elif isinstance(each, list):
            todo += each
        elif isinstance(each, int):
            assert -(2**63) <= each < 2**63
        elif isinstance(each, float):
            assert math.isfinite(each)


def answered(serve: Serve, text: str | bytes, status: int = 200) -> dict[str, Any]:
    body = text.encode() if isinstance(text, str) else text
    payload = session_to(serve(Answer(status, body)), retry=ONCE).request("GET", "sources")
    assert_storable(payload)
    return payload


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"\uDE00"', "\ufffd"),
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\u0041"', "\ufffdA"),
        (r'"\ud83d\\ude00"', "\ufffd\\ude00"),
        (r'"\\ud83d"', "\\ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
        (r'"\\\\ud83d\u0000"', "\\\\ud83d\ufffd"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"a\u0000b"', "a\ufffdb"),
        (r'"\\u0000"', "\\u0000"),
        (r'"\u00e9\n\u2028"', "\u00e9\n\u2028"),
        ('"\U0001f600"', "\U0001f600"),
        (b'"\xed\xa0\xbd"', "\ufffd"),
        (b'\xef\xbb\xbf"mark"', "mark"),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        (BEYOND, BEYOND),
        (f"-{BEYOND}", f"-{BEYOND}"),
        (MANY_DIGITS, MANY_DIGITS),
        ("1.5", 1.5),
        ("-0.0", -0.0),
        ("1e308", 1e308),
        ("1e-999", 0.0),
        (r'{"\ud83d": 1, "\ude00": 2, "\u0000": 3}', {"\ufffd": 3}),
        ("[true, false, null]", [True, False, None]),
    ],
)
def test_what_cannot_be_stored_is_replaced(text: str | bytes, read: Any) -> None:
    value = decode_json(text.encode() if isinstance(text, str) else text)
    assert value == read
    assert type(value) is type(read)
    assert_storable(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400 + ".5"])
@pytest.mark.parametrize("form", ['{{"status": "ok", "x": {}}}', '{{"status": "ok", "x": [{{"y": {}}}]}}'])
def test_numbers_that_json_does_not_have_are_a_protocol_error_at_once(serve: Serve, text: str, form: str) -> None:
    server = serve(Answer(200, form.format(text).encode()))
    with fails(ProtocolError) as caught:
        session_to(server).request("GET", "sources")
    assert (caught.error.status, caught.error.transient) == (200, False)
    assert "JSON" in caught.text


@pytest.mark.parametrize("text", [r'"\ud83d"', r'"a\u0000"', BEYOND, MANY_DIGITS, r'{"\udc00": "\u0000"}'])
def test_a_bad_source_does_no_harm_wherever_it_comes_from(serve: Serve, text: str) -> None:
    body = json.dumps({"status": "ok", "source": source(new="HERE"), "sources": [source(new="HERE")]})
    bad = Answer(200, body.replace('"HERE"', text).encode())
    api = sources_of(serve(handler=lambda _: bad))
    found: list[Source] = [
        api.get("acme", "example"),
        api.get_by_id("18ba5ce699f8da1f"),
        api.create("acme", "example"),
        api.update("acme", "example"),
        *api.list(),
        *api.list("acme"),
    ]
    for each in found:
        assert_storable(each.to_dict())
        assert each.raw["new"] == decode_json(text.encode())


@pytest.mark.parametrize("text", ["NaN", "1e999"])
def test_a_write_whose_answer_cannot_be_read_is_settled_by_reading(serve: Serve, text: str) -> None:
    broken = Answer(200, b'{"status": "ok", "source": {"x": %s}}' % text.encode())
    server = serve(broken, ok(source=source(title="T")))
    assert sources_of(server).update("acme", "example", title="T").confirmed is True
    assert server.methods == ["POST", "GET"]


def test_the_message_of_an_error_can_be_stored_too(serve: Serve) -> None:
    body = rb'{"status": "error", "message": "cut \ud83d here \u0000", "code": 1e3}'
    with fails(NotFoundError) as caught:
        session_to(serve(Answer(404, body))).request("GET", "sources")
    for text in (caught.text, caught.error.api_message):
        text.encode()
        assert "\0" not in text


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 900, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_an_error_and_not_a_crash_of_whoever_stores_it(
    serve: Serve, depth: int, opening: str, closing: str
) -> None:
    inner = opening * (depth - 1) + "1" + closing * (depth - 1)
    server = serve(Answer(200, f'{{"status": "ok", "x": {inner}}}'.encode()))
    with fails(ProtocolError) as caught:
        session_to(server).request("GET", "sources")
    assert "nested" in caught.text
    assert len(caught.text) < 300


def test_nesting_up_to_the_limit_is_read(serve: Serve) -> None:
    inner = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert "x" in answered(serve, f'{{"status": "ok", "x": {inner}}}')


@given(st.text(st.characters(), max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_that_json_can_write_is_read(text: str) -> None:
    """Lone surrogates included, which ``ensure_ascii`` writes as escapes; a pair is one character to JSON."""
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _lone(text) else text
    value = decode_json(json.dumps({text: [text]}).encode())
    assert_storable(value)
    if not _lone(text):
        assert value == {text.replace("\0", "\ufffd"): [paired.replace("\0", "\ufffd")]}


def _lone(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = decode_json(body)
    except ValueError:
        return
    assert_storable(value)


def hostile_bodies(size: int) -> dict[str, bytes]:
    def repeated(unit: str) -> bytes:
        whole = unit.encode()
        return b"[" + whole * (size // len(whole)) + b"0]"

    return {
        "objects": repeated("{},"),
        "lists": repeated("[],"),
        "pairs": repeated("[1,1],"),
        "one key": repeated('{"a":1},'),
        "nested": repeated('[[[{"a":[]}]]],'),
        "numbers": repeated("1.5,"),
        "texts": repeated('"\u00e9\u0436",'),
        "emojis": repeated('"\U0001f600",'),
        "keys": b"{" + b",".join(b'"%x":1.5' % n for n in range(size // 11)) + b"}",
        "one text": b'["' + "\U0001f600".encode() * (size // 4) + b'"]',
        "escapes": b'["' + rb"\ud83d" * (size // 6) + b'"]',
        "short escapes": b'["' + rb"\n" * (size // 2) + rb"\ud83d" + b'"]',
    }


@pytest.mark.parametrize("name", hostile_bodies(100))
def test_the_estimate_of_the_memory_is_not_too_low(name: str) -> None:
    body = hostile_bodies(2_000_000)[name]
    tracemalloc.start()
    try:
        decode_json(body)
        peak = tracemalloc.get_traced_memory()[1] + len(body)
    finally:
        tracemalloc.stop()
    estimate = decoding_module._estimate(body, decoding_module._text(body), unstorable="escapes" in name)
    assert peak < 1.1 * estimate


@pytest.mark.parametrize("name", ["objects", "lists", "nested"])
def test_a_body_that_would_take_gigabytes_is_refused_for_a_fraction_of_that(serve: Serve, name: str) -> None:
    body = hostile_bodies(48 * 1024**2)[name]
    tracemalloc.start()
    try:
        with pytest.raises(UnfitJson, match="memory"):
            decode_json(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY / 4


def test_a_listing_of_a_hundred_thousand_sources_fits() -> None:
    one = json.dumps(source(description="d" * 200)).encode()
    body = b'{"status": "ok", "sources": [' + b",".join([one] * 100_000) + b"]}"
    assert decoding_module._estimate(body, body.decode(), unstorable=True) < MAX_MEMORY


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("total;dur=37.7", 37.7),
        ("db;dur=1, total;dur=2", 2.0),
        (f"total;dur={'9' * 400}", None),
        (f"total;dur={'9' * 400}.5", None),
        ("total;dur=1000000001", None),
        ("total;dur=1000000000", 1e9),
        ("total;dur=inf", None),
        ("total;dur=nan", None),
        ("total;dur=-1", None),
        ("total;dur=\u0663", None),
        ("total" + ";" * 60_000, None),
        (None, None),
    ],
)
def test_the_platforms_own_time_is_finite(header: str | None, value: float | None) -> None:
    assert parse_server_timing({"Server-Timing": header} if header else {}) == value


def test_what_an_error_says_of_times_is_finite(serve: Serve) -> None:
    headers = {"Server-Timing": f"total;dur={'9' * 400}", "Retry-After": "9" * 400}
    server = serve(error(409, headers=headers))
    with fails(ConflictError) as caught:
        sources_of(server).create("acme", "example")
    assert caught.error.platform_ms is None
    assert caught.error.retry_after < 1e10


def test_a_part_of_an_answer_is_no_answer(serve: Serve) -> None:
    body = json.dumps({"status": "ok", "sources": []}).encode()
    with fails(ProtocolError) as caught:
        sources_of(serve(Answer(206, body))).list()
    assert "only a part" in caught.text


@pytest.mark.parametrize("key", ["id", "owner", "name"])
@pytest.mark.parametrize("value", ["", " ", "\u2003", None, 1, "a\nb"])
def test_an_empty_identifier_identifies_nothing(key: str, value: object) -> None:
    with fails(ProtocolError):
        Source.parse(source(**{key: value}))
