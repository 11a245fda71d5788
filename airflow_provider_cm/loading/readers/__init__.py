"""Files of messages, read as rows: JSON Lines, CSV, Parquet and emails; gzip by name.

A reader takes an open binary file and gives its rows one by one. It never holds the whole file, Parquet's row groups
aside, and does not close it. A row that cannot be read, where those after it can, is an :class:`UnreadableRow`; where
nothing after it can be trusted, the reader raises a :class:`ReadError`. Neither holds what the file says, since that is
somebody's message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.loading.readers.errors import ReadError, UnreadableRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["FORMATS", "GZIP_ENDING", "ReadError", "UnreadableRow", "format_of", "read_rows"]

FORMATS = ("jsonl", "csv", "parquet", "eml")
"""The formats that can be read."""

GZIP_ENDING = ".gz"
"""A file whose name ends like this is unpacked while it is read."""

_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".eml": "eml"}


def format_of(name: str) -> str | None:
    """Return the format that a file's name ends in; ``None`` if it tells none.

    :param name: of the file; an ending ``.gz`` is passed over.
    """
    plain = name.lower().removesuffix(GZIP_ENDING)
    return next((each for ending, each in _ENDINGS.items() if plain.endswith(ending)), None)


def read_rows(
    file: BinaryIO, name: str, file_format: str, *, delimiter: str = ",", encoding: str = "utf-8"
) -> Iterator[dict[str, Any] | UnreadableRow]:
    """Read a file's rows.

    :param file: open for reading bytes; for Parquet it must be able to seek.
    :param name: what errors call the file; unpacked if it ends in ``.gz``.
    :param file_format: one of :data:`FORMATS`.
    :param delimiter: what separates the columns of a CSV file, ``,`` by default.
    :param encoding: of a CSV file, ``utf-8`` by default; a byte order mark is passed over.
    :return: rows by column; for ``eml`` one document of the API's ``sync-raw-emails``.
    :raises ReadError: when the file, or what follows in it, cannot be read.
    """
    if file_format == "parquet":
        from airflow_provider_cm.loading.readers.parquet import read_parquet

        yield from read_parquet(file, name)
        return
    from airflow_provider_cm.loading.readers.unpacking import unpacked

    with unpacked(file, name) as plain:
        if file_format == "csv":
            from airflow_provider_cm.loading.readers.csv import read_csv

            yield from read_csv(plain, name, delimiter=delimiter, encoding=encoding)
        elif file_format == "eml":
            from airflow_provider_cm.loading.readers.eml import read_eml

            yield from read_eml(plain, name)
        else:
            from airflow_provider_cm.loading.readers.jsonl import read_jsonl

            yield from read_jsonl(plain, name)
