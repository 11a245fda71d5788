"""How far a load has got, in a form that proves it to the next attempt.

The state is what the rows up to some numbers amount to: a digest of the messages made of them. Rows are skipped only
while their digests agree, so that a row that was changed or put in front is sent. The messages' ids are the guarantee;
a checkpoint only saves time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cm.loading.totals import Totals

if TYPE_CHECKING:
    from airflow_provider_cm.loading.mapping import Mapping
    from airflow_provider_cm.loading.options import LoadOptions
    from airflow_provider_cm.loading.sending import Target

VERSION = 1
_MOST_MARKS = 16
_MOST_REFUSED = 50


class CheckpointStore(Protocol):
    """Where a checkpoint is kept between two attempts; a JSON object of at most 2 KiB."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, ``None`` if nothing was."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this in place of what was saved before; called in the thread of ``load()``, after each batch."""

    def clear(self) -> None:
        """Forget what was saved; called when the load has succeeded."""


@dataclass(slots=True)
class Checkpoint:
    """What an attempt knows of the rows that the server has acknowledged.

    :param fingerprint: of where rows come from and go to.
    :param before: messages in the source before the first attempt; ``None`` if they were not counted.
    :param marks: numbers of rows, each with the digest of all rows up to it; the last is how far the load has got.
    :param refused: rows that the API refused, which are sent again in order to know why.
    :param totals: what was counted up to the last mark.
    """

    fingerprint: str
    before: int | None = None
    marks: list[tuple[int, bytes]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    @property
    def rows(self) -> int:
        """How many rows the last mark covers."""
        return self.marks[-1][0] if self.marks else 0

    def advance(self, row: int, digest: bytes, refused: list[int]) -> bool:
        """Note that all up to a row is acknowledged; whether there is room to note it.

        :param row: the number of the row.
        :param digest: of all rows up to it.
        :param refused: rows since the last mark that the API refused.
        """
        if len(self.refused) + len(refused) > _MOST_REFUSED:
            return False
        self.refused += refused
        self.marks.append((row, digest))
        if len(self.marks) > _MOST_MARKS:
            del self.marks[-2::-2]  # every other one, but not the last
        return True

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "before": self.before,
            "rows": self.rows,
            "marks": [[row, digest.hex()] for row, digest in self.marks],
            "refused": self.refused,
            "counts": asdict(self.totals),
        }

    @classmethod
    def parse(cls, state: object, fingerprint: str) -> Checkpoint | None:
        """Read a checkpoint; ``None`` for one that is not of this load, or cannot be understood.

        :param state: what :meth:`as_dict` gave.
        :param fingerprint: of this load.
        """
        try:
            if state["version"] != VERSION or state["fingerprint"] != fingerprint:  # type: ignore[index]
                return None
            marks = [(int(row), bytes.fromhex(digest)) for row, digest in state["marks"]]  # type: ignore[index]
            if not marks or [row for row, _ in marks] != sorted({row for row, _ in marks}):
                return None
            before = state["before"]  # type: ignore[index]
            refused = [int(row) for row in state["refused"]]  # type: ignore[index]
            totals = Totals(**state["counts"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return None
        return cls(fingerprint, None if before is None else int(before), marks, refused, totals)


def fingerprint_of(origin: str, target: Target, options: LoadOptions, mapping: Mapping | None) -> str:
    """Return a text that is the same for loads of the same rows into the same place, by the same mapping.

    :param origin: identifies where the rows come from.
    :param target: where they go.
    :param options: how.
    :param mapping: what makes messages of them.
    """
    parts = [
        origin,
        target.messages.session.endpoint,
        target.project,
        target.source_name,
        target.endpoint,
        target.rest.decode(),
        options.on_duplicate,
        options.verify,
        mapping.fingerprint() if mapping is not None else "",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
