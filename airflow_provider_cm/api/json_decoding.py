"""JSON from a server, read so that every database and XCom backend of Airflow can hold the result.

What a server says goes on into XComs, trigger events and asset events. Several values that Python reads without
complaint cannot be stored there, and end the process that tries: half of a surrogate pair, NUL, ``NaN``, infinity,
integers beyond 64 bits, and deep nesting.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

MAX_DEPTH = 64
"""How many levels of lists and objects are read; Airflow's serialisers call themselves several times for each."""

MAX_MEMORY = 1024 * 1024 * 1024
"""The memory that reading one response may take, in bytes, by a careful estimate; a hostile body of 128 MiB of tiny
objects would take 3.3 GiB. A listing of 100,000 sources takes about 0.25 GiB."""

_INT64 = range(-(2**63), 2**63)
_LONGEST_INT64 = 20  # characters, the sign included
_NESTING = frozenset({dict, list})
_TOO_DEEP = f"with JSON that is nested more than {MAX_DEPTH} levels deep"
_RAW_SURROGATE = re.compile("[\ud800-\udfff]")
# JSON has backslashes only within strings, so from the first one on each match is one whole escape.
_NOTABLE_ESCAPE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)


class UnfitJson(ValueError):  # noqa: N818  # nobody else meets it: it becomes the text of a ProtocolError
    """The text may be JSON, but not one that is read here; the message says why and shows nothing of it."""


def decode_json(body: bytes) -> Any:
    """Read a body of JSON in UTF-8.

    Lone surrogates and NUL become U+FFFD, in keys too; integers beyond 64 bits (signed) stay text.

    :param body: the whole text.
    :return: dicts, lists, texts, finite numbers, booleans and ``None``, nested at most :data:`MAX_DEPTH` deep.
    :raises UnfitJson: for NaN and infinity, for deeper nesting, and for what takes more than :data:`MAX_MEMORY`.
    :raises ValueError: for what is not JSON.
    """
    text = _text(body)
    unstorable = _NOTABLE_ESCAPE.search(text) is not None
    if _estimate(body, text, unstorable=unstorable) > MAX_MEMORY:
        raise UnfitJson(f"with JSON that would take more than {MAX_MEMORY // 1024**2} MiB of memory to read")
    if unstorable:
        text = _ESCAPE.sub(_storable_escape, text)
    try:
        # `object_hook` lets other threads run: without a call of Python's the decoder holds them all for as long as
        # it takes, a second for a very long listing.
        value = json.loads(
            text, parse_int=_integer, parse_float=_number, parse_constant=_no_constant, object_hook=_same
        )
    except RecursionError:
        raise UnfitJson(_TOO_DEEP) from None
    _check_depth(value)
    return value


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Some servers encode a half of a surrogate pair as if it were a character.
        return _RAW_SURROGATE.sub("\ufffd", body.decode("utf-8-sig", "surrogatepass"))


def _storable_escape(match: re.Match[str]) -> str:
    escape = match[0]
    lone = len(escape) == 6 and escape[2] in "dD" and escape[3] in "89abcdefABCDEF"
    return r"\ufffd" if lone or escape == r"\u0000" else escape


def _estimate(body: bytes, text: str, *, unstorable: bool) -> int:
    """Return an upper estimate of the memory for a body, its text, its strings and its objects, in bytes.

    The weights are those of CPython: an object with one key, an empty list, a string with its place in a table, a
    number with its place in a list. What stands within strings is counted too.
    """
    return (
        len(body)
        + 5 * sys.getsizeof(text)
        + 200 * body.count(b"{")
        + 88 * body.count(b"[")
        + 60 * body.count(b'"')
        + 48 * body.count(b",")
        + (64 * body.count(b"\\") if unstorable else 0)
    )


def _integer(text: str) -> int | str:
    if len(text) > _LONGEST_INT64:
        return text
    number = int(text)
    return number if number in _INT64 else text


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnfitJson("with JSON that holds a number beyond all bounds")
    return number


def _no_constant(name: str) -> None:
    raise UnfitJson(f"with {name} in its body, which JSON does not have")


def _same(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _check_depth(value: Any) -> None:
    level = [value] if type(value) in _NESTING else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTING
        ]
    if level:
        raise UnfitJson(_TOO_DEEP)
