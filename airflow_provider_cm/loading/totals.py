"""What a load adds up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_cm.api.messages import SyncResult


@dataclass(slots=True)
class Totals:
    """Counts of what the server acknowledged.

    :param text_changed_at_most: updates that may have changed a text, for answers that do not say.
    :param charged_at_most: what the vendor can have charged for at most, lost attempts included.
    """

    sent: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    updated_text_changed: int = 0
    text_changed_at_most: int = 0
    charged_at_most: int = 0
    replayed: int = 0
    batches: int = 0
    splits: int = 0
    bytes: int = 0

    def add(self, other: Totals) -> None:
        """Add another's counts."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def count(self, result: SyncResult, *, again: bool = False, doubtful: bool = False) -> None:
        """Count an answer.

        :param result: the answer.
        :param again: its messages were counted before, all but those that are new or updated now.
        :param doubtful: an earlier request with them was refused, and may have stored some all the same.
        """
        replayed = result.replayed or (doubtful and result.unchanged > 0)
        self.new += result.new
        self.updated += result.updated
        self.unchanged += 0 if again else result.unchanged
        self.sent += result.new + result.updated + (0 if again else result.unchanged)
        if result.updated_text_changed is None:
            self.text_changed_at_most += result.updated
        else:
            self.updated_text_changed += result.updated_text_changed
        self.replayed += replayed
        self.charged_at_most += result.billable + (result.unchanged if replayed else 0)
        self.batches += 1

    @property
    def billable(self) -> int:
        """What the vendor charges for, as far as the server has said."""
        return self.new + self.updated_text_changed + self.text_changed_at_most
