"""What a load reports: while it runs, at its end, and when it fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_cm.api.errors import CommsMiningError

AI_UNITS = 1.0
"""AI units for each billable message (the vendor's page on metering, Flex plan)."""

PLATFORM_UNITS = 0.2
"""Platform units for each billable message (the same page, Unified Pricing)."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did; every field is JSON, and none holds a text, an address or an id of a message.

    :param project: the project of the source.
    :param source_name: the source.
    :param rows: rows read.
    :param sent: messages that the server acknowledged, this time and before a resumption; 0 for a dry run.
    :param new: messages created.
    :param updated: messages changed, in text or properties.
    :param unchanged: messages that were there already, the same.
    :param updated_text_changed: updates that changed a text; ``None`` where the server does not say.
    :param billable: messages that the vendor charges for; for a dry run the most that it could charge for.
    :param billable_is_exact: whether ``billable`` is exact. If not, it is the most that can be charged where the server
        does not say which updates changed a text, and "at least" where ``replayed``.
    :param replayed: a request was sent again after an answer was lost, or the load was resumed: what the lost attempt
        did is counted as ``unchanged``, so that ``new``, ``updated`` and ``billable`` are "at least".
    :param rejected: rows that were not loaded.
    :param rejects_path: where they are listed; ``None`` if no path was given.
    :param duplicates: rows whose id an earlier row has (``on_duplicate="last"``).
    :param batches: requests that stored messages.
    :param splits: requests that were refused and sent again in halves.
    :param bytes: bytes of the messages that were sent, as JSON; for a dry run of those that would be.
    :param seconds: duration.
    :param resumed_at_row: rows that an earlier attempt had loaded and this one skipped; ``None`` if not resumed.
    :param dry_run: nothing was sent.
    :param ai_units: ``billable`` in AI units.
    :param platform_units: ``billable`` in Platform units.
    """

    project: str
    source_name: str
    rows: int = 0
    sent: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    updated_text_changed: int | None = 0
    billable: int = 0
    billable_is_exact: bool = True
    replayed: bool = False
    rejected: int = 0
    rejects_path: str | None = None
    duplicates: int = 0
    batches: int = 0
    splits: int = 0
    bytes: int = 0
    seconds: float = 0.0
    resumed_at_row: int | None = None
    dry_run: bool = False
    ai_units: float = 0.0
    platform_units: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, for an XCom or an asset event."""
        return asdict(self)

    def __str__(self) -> str:
        if self.dry_run:
            return (
                f"dry run: {self.rows} rows, {self.rejected} rejected, {self.duplicates} duplicates; "
                f"to load costs at most {self.ai_units:g} AI units or {self.platform_units:g} Platform units"
            )
        least = "at least " if self.replayed else ""
        most = "" if self.billable_is_exact or self.replayed else "at most "
        return (
            f"{self.rows} rows: {least}{self.new} new, {least}{self.updated} updated, {self.unchanged} unchanged, "
            f"{self.rejected} rejected; billable: {least or most}{self.billable}"
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has got.

    :param rows: rows read so far.
    :param sent: messages that the server has acknowledged.
    :param rejected: rows rejected.
    :param billable: messages that the vendor charges for, as far as the server has said.
    :param batches: requests that stored messages.
    :param splits: requests that were refused and sent again in halves.
    :param seconds: time since the start.
    """

    rows: int
    sent: int
    rejected: int
    billable: int
    batches: int
    splits: int
    seconds: float


class LoadError(CommsMiningError):
    """A load that failed: rows are missing, or may be.

    :param message: what happened, and what to do next; without texts, addresses and ids of messages.
    :param report: what was done until then.
    """

    def __init__(self, message: str, *, report: LoadReport | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.report = report
