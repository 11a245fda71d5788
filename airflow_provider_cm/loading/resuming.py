"""Skipping the rows that an earlier attempt has loaded, as far as they prove to be the same."""

from __future__ import annotations

import pickle
import tempfile
from typing import TYPE_CHECKING, Self

from airflow_provider_cm.loading.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_cm.loading.checkpoint import Checkpoint

_IN_MEMORY = 8 * 1024 * 1024


class Resumption:
    """Skips rows by a checkpoint.

    Rows are read as if they were to be sent. At each of the checkpoint's marks their digest is compared; until then
    they are held, on disk where they are many, and sent if it differs.

    ``skipped`` is the number of rows at the last mark that agreed, and ``decided`` whether it stays so.

    :param checkpoint: of an earlier attempt; ``None`` for none.
    """

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self.skipped = 0
        self._marks = list(checkpoint.marks) if checkpoint else []
        self._refused = frozenset(checkpoint.refused) if checkpoint else frozenset()
        self._last = checkpoint.rows if checkpoint else 0
        self.decided = not self._marks

    @property
    def complete(self) -> bool:
        """Whether all that the checkpoint covers has been skipped."""
        return self.decided and 0 < self._last == self.skipped

    def unskipped(self, rows: Iterable[tuple[int, bytes, Message | None]]) -> Iterator[Message]:
        """Return the messages that are to be sent.

        :param rows: number of each row, digest up to it, and its message if it has one.
        """
        rows = iter(rows)
        if self._marks:
            with _Held() as held:
                yield from self._proven(rows, held)
                self.decided = True
        for _, _, message in rows:
            if message is not None:
                yield message

    def _proven(self, rows: Iterator[tuple[int, bytes, Message | None]], held: _Held) -> Iterator[Message]:
        for mark, expected in self._marks:
            digest = b""
            for number, digest, message in rows:  # noqa: B007  # the last one is compared below
                if message is not None:
                    held.add(message)
                if number == mark:
                    break
            else:
                self.decided = True
                yield from held  # there are fewer rows than before
                return
            if digest != expected:
                self.decided = True
                yield from held
                return
            self.skipped = mark
            # What the API refused before is sent again, so that the reason is known and the row is listed.
            yield from (each for each in held if each.row in self._refused)
            held.clear()


class _Held:
    """Messages that may have to be sent."""

    def __init__(self) -> None:
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, message: Message) -> None:
        pickle.dump(tuple(message), self._file, pickle.HIGHEST_PROTOCOL)
        self._count += 1

    def clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._count = 0

    def __iter__(self) -> Iterator[Message]:
        self._file.seek(0)
        for _ in range(self._count):
            yield Message(*pickle.load(self._file))  # noqa: S301  # written by this object, into a file without a name
