"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.loading.readers.errors import ReadError, UnreadableRow
from airflow_provider_cm.loading.readers.unpacking import unpacking_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of the longest line that is read: a file that is not JSON Lines may be one line of any size."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_jsonl(file: BinaryIO, name: str) -> Iterator[dict[str, Any] | UnreadableRow]:
    """Read a file of JSON Lines; empty lines are passed over.

    :param file: open for reading bytes, unpacked.
    :param name: what errors call the file.
    :raises ReadError: for a line of over 16 MiB, a file in UTF-16, a JSON array, and damaged gzip data.
    """
    with unpacking_errors(name):
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            if number == 1:
                line = _checked_start(line, name)  # noqa: PLW2901
            if len(line) > LONGEST_LINE:
                raise ReadError(
                    f"{name}, line {number}: it is longer than {LONGEST_LINE} bytes; write one JSON object a line"
                )
            if line.strip():
                yield _row(line, f"{name}, line {number}")


def _checked_start(line: bytes, name: str) -> bytes:
    if line.startswith(_UTF_16):
        raise ReadError(f"{name}: it is UTF-16; JSON Lines must be UTF-8, so convert it")
    line = line.removeprefix(_BYTE_ORDER_MARK)
    if line.lstrip().startswith(b"["):
        raise ReadError(f"{name}: it starts with a JSON array; write one JSON object a line, without commas between")
    return line


def _row(line: bytes, place: str) -> dict[str, Any] | UnreadableRow:
    remedy = "write one JSON object a line"
    try:
        row = json.loads(line.decode().strip())
    except UnicodeDecodeError as error:
        return UnreadableRow(place, f"byte {error.start + 1} is not UTF-8", "convert the file to UTF-8")
    except json.JSONDecodeError as error:
        return UnreadableRow(f"{place}, column {error.colno}", f"not JSON ({error.msg})", remedy)
    except (ValueError, RecursionError):
        return UnreadableRow(place, "a number in it is too long, or it is nested too deeply", remedy)
    if not isinstance(row, dict):
        return UnreadableRow(place, f"it is a JSON {_KINDS[type(row)]}", remedy)
    return row


_KINDS = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
