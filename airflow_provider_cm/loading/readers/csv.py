"""CSV files with a header line."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.loading.readers.errors import ReadError, UnreadableRow
from airflow_provider_cm.loading.readers.unpacking import unpacking_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

LONGEST_FIELD = 1024 * 1024
"""Characters of the longest field that is read: where a quote is not closed, a field may be the rest of the file."""


def read_csv(
    file: BinaryIO, name: str, *, delimiter: str = ",", encoding: str = "utf-8"
) -> Iterator[dict[str, Any] | UnreadableRow]:
    """Read a CSV file; its first line names the columns.

    A field is text, and ``None`` if it is empty. Quotes are ``"``, doubled inside a field; a quoted field may hold
    delimiters and line breaks. Empty lines are passed over.

    :param file: open for reading bytes, unpacked.
    :param name: what errors call the file.
    :param delimiter: one character.
    :param encoding: of the file; a byte order mark is passed over.
    :raises ReadError: for an unusable header, a quote that is not closed, bytes that are not of the encoding, and
        damaged gzip data.
    """
    # "utf-8-sig" also reads what has no mark.
    mark = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    text = io.TextIOWrapper(file, encoding=mark, newline="")
    # The limit is the process's: it is only ever raised, so that nobody else's files become too long.
    csv.field_size_limit(max(LONGEST_FIELD, csv.field_size_limit()))
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        with unpacking_errors(name), _reading_errors(lines, name, encoding):
            yield from _rows(lines, name)
    finally:
        text.detach()  # else it would close the file


def _rows(lines: Any, name: str) -> Iterator[dict[str, Any] | UnreadableRow]:
    columns = _header(next((fields for fields in lines if fields), []), name)
    end = lines.line_num
    for fields in lines:
        start, end = end + 1, lines.line_num
        if len(fields) == len(columns):
            yield dict(zip(columns, (each or None for each in fields), strict=True))
        elif fields:
            yield UnreadableRow(
                f"{name}, line {start}",
                f"it has {len(fields)} fields, but the header has {len(columns)}",
                "put a field that holds a delimiter or a line break in quotes",
            )


def _header(columns: list[str], name: str) -> list[str]:
    if not columns:
        raise ReadError(f"{name}: it is empty; the first line of a CSV file must name the columns")
    if empty := [number for number, column in enumerate(columns, 1) if not column.strip()]:
        raise ReadError(f"{name}: column {empty[0]} has no name; the first line must name each column")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise ReadError(f"{name}: two columns have the name {twice[0]!r}; rename one")
    return columns


class _reading_errors:  # noqa: N801  # a context manager that reads like a function
    """Turn what the csv module raises into a :class:`ReadError` that names the line."""

    def __init__(self, lines: Any, name: str, encoding: str) -> None:
        self._lines, self._name, self._encoding = lines, name, encoding

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        place = f"{self._name}, after line {self._lines.line_num}"
        if isinstance(error, UnicodeDecodeError):
            # Its text would quote the bytes.
            raise ReadError(f"{place}: the bytes are not {self._encoding}; give encoding=, such as 'cp1252'") from None
        if isinstance(error, csv.Error):
            raise ReadError(
                f"{place}: not CSV ({error}); is a quote not closed, or not doubled inside a field?"
            ) from None
