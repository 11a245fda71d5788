"""One message of a load, encoded and ready to be sent."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One message, ready to be sent; its ``repr`` shows nothing of it.

    :param row: the number of its row, from 1.
    :param id: its id.
    :param body: its JSON.
    :param digest: of all rows up to this one; empty where no checkpoint is kept.
    :param raw: the row as JSON, if rejected rows are to be listed whole.
    :param again: its id was met before, in an earlier row.
    """

    row: int
    id: str
    body: bytes
    digest: bytes = b""
    raw: str | None = None
    again: bool = False

    def __repr__(self) -> str:
        return f"Message(row {self.row})"
