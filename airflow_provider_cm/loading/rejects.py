"""Rows that were not loaded: counted, and listed for the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST = 3


def open_local(path: str) -> TextIO:
    """Open a local file for writing text.

    :param path: its path; its folder is made if it is not there.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("w", encoding="utf-8")


class Rejects:
    """Counts the rows that were not loaded, and writes one JSON object a line for each.

    :param path: where to; ``None`` to count only.
    :param with_rows: write the row itself too.
    :param log_ids: whether errors may name ids.
    :param open_text: opens ``path``.
    """

    def __init__(
        self, path: str | None, *, with_rows: bool, log_ids: bool, open_text: Callable[[str], TextIO] | None
    ) -> None:
        self.path = path
        self.count = 0
        self.with_rows = with_rows
        self.first: list[str] = []
        self._log_ids = log_ids
        # At once, so that a path that cannot be written to is known before anything is sent.
        self._file = None if path is None else (open_text or open_local)(path)

    def add(self, row: int, message_id: str | None, stage: str, reason: str, raw: str | None) -> None:
        """Put a row aside.

        :param row: its number, from 1.
        :param message_id: its id, if it has one.
        :param stage: ``mapping``, ``validation`` or ``api``.
        :param reason: why, without values of the row.
        :param raw: the row as JSON, if it is to be written.
        """
        self.count += 1
        if len(self.first) < _FIRST:
            self.first.append(f"row {row:,}{self.shown_id(message_id)}: {reason}")
        if self._file is not None:
            line = json.dumps({"row_number": row, "id": message_id, "stage": stage, "reason": reason})
            self._file.write(f"{line}\n" if raw is None else f'{line[:-1]}, "row": {raw}}}\n')

    def shown_id(self, message_id: str | None) -> str:
        """Return an id as an error may show it: not at all, unless the user asked for it."""
        return f" (id {message_id!r})" if self._log_ids and message_id else ""

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

    def __str__(self) -> str:
        where = (
            f"; all are listed in {self.path}" if self.path else "; give a `rejects_path` to have all of them listed"
        )
        return f"{'; '.join(self.first)}{where}"
