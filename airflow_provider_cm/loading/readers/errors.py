"""What a reader says of a file, or of a row, that it cannot read."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_cm.api.errors import CommsMiningError


class ReadError(CommsMiningError):
    """The rows' origin cannot be read, or not any further; the message names the place and the remedy."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """Stands for a row that cannot be read; the rows after it can. A load rejects it. It holds none of the row.

    :param place: the file, and the line in it.
    :param problem: what is wrong.
    :param remedy: what to do.
    """

    place: str
    problem: str
    remedy: str

    @property
    def reason(self) -> str:
        """All of it in one sentence."""
        return f"{self.place}: {self.problem}; {self.remedy}"
