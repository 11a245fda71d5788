"""MessagesApi: the messages of a source, which the API calls comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_cm.api.session import ApiSession

MAX_BATCH = 16_384
"""Most messages in one sync, by the vendor's page."""

MAX_EMAILS = 4_096
"""Most emails in one sync, by a description in the vendor's contract."""

MAX_DELETES = 32
"""Most ids in one delete, by the vendor's client."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What became of a batch of messages.

    :param new: created.
    :param updated: changed, in text or properties.
    :param unchanged: there already, the same.
    :param updated_properties_only: changed in properties only; ``None`` where the server does not say.
    :param updated_text_changed: changed in text; ``None`` where the server does not say.
    :param replayed: the batch was sent again after its answer was lost: what the lost attempt did is counted as
        ``unchanged``, so that the other counts are "at least".
    :param timeouts: attempts that were not answered in time.
    """

    new: int
    updated: int
    unchanged: int
    updated_properties_only: int | None = None
    updated_text_changed: int | None = None
    replayed: bool = False
    timeouts: int = 0

    @property
    def stored(self) -> int:
        """Messages of the batch that the source holds."""
        return self.new + self.updated + self.unchanged

    @property
    def billable(self) -> int:
        """What the vendor charges for: created, or changed in text; the upper bound where the server does not say."""
        return self.new + (self.updated if self.updated_text_changed is None else self.updated_text_changed)

    @property
    def billable_is_exact(self) -> bool:
        """Whether ``billable`` is exact."""
        return self.updated_text_changed is not None and not self.replayed


class MessagesApi:
    """The messages of a tenant's sources.

    :param session: the tenant.
    """

    def __init__(self, session: ApiSession) -> None:
        self.session = session

    def sync(self, project: str, source_name: str, comments: Sequence[Mapping[str, Any]]) -> SyncResult:
        """Create messages, or overwrite those with the same id. Needs "Edit messages"."""
        raise NotImplementedError

    def sync_raw_emails(
        self,
        project: str,
        source_name: str,
        documents: Sequence[Mapping[str, Any]],
        *,
        transform_tag: str | None = None,
    ) -> SyncResult:
        """Create messages from emails, or overwrite those with the same id. Needs "Edit messages"."""
        raise NotImplementedError

    def get(self, project: str, source_name: str, message_id: str, *, include_markup: bool = False) -> dict[str, Any]:
        """Read one message. Needs "View sources"."""
        raise NotImplementedError

    def delete(self, project: str, source_name: str, ids: Iterable[str]) -> int:
        """Delete messages for good; those that are gone do not matter. Needs "Edit messages".

        :return: how many distinct ids were sent.
        """
        raise NotImplementedError

    def count(self, project: str, source_name: str, *, comment_filter: Mapping[str, Any] | None = None) -> int:
        """Count the messages of a source, or those that a filter lets through. Needs "View sources"."""
        raise NotImplementedError
