"""What a reader says of a file, or of a row, that it cannot read."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_cm.api.errors import CommsMiningError


class ReadError(CommsMiningError):
    """The rows' origin cannot be read, or not any further; the message names the place and the remedy."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """Stands for a row that cannot be read; the rows after it can. A load rejects it.

    :param reason: the place and the problem, without the row's content.
    """

    reason: str
