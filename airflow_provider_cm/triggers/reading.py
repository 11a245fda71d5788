"""What one poll reads: at most one request a read, so that no wait costs more than one an interval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import NotFoundError
from airflow_provider_cm.api.models import Source

if TYPE_CHECKING:
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.api.values import SourceAddress

LISTED = frozenset({"title", "description", "should_translate", "sensitive_properties", "bucket_id"})
"""The fields that the vendor's page shows in listings; for the others a source is read by its id."""


@dataclass(frozen=True, slots=True)
class Messages:
    """How many messages a source holds.

    :param project: the source's project.
    :param name: its name.
    :param count: messages.
    """

    project: str
    name: str
    count: int


Seen = Mapping[str, Source | Messages]
"""What was there, by name for a reader of names, by id for a reader of ids. What is missing was not there."""


class Reader(ABC):
    """Reads one thing, again and again. It may remember between two reads, so each poll loop has its own.

    :param key: what is read; readers with equal keys read the same.
    """

    def __init__(self, *key: str) -> None:
        self.key = key

    @abstractmethod
    def read(self, sources: SourcesApi) -> Seen | None:
        """Send one request.

        :param sources: the client.
        :return: what was there, or ``None`` if the request only found out what to ask for next time.
        :raises CommsMiningError: when nothing was learnt.
        """


class ListingReader(Reader):
    """All sources of a project: one request for any number of waits. A missing project is an error.

    :param project: the project.
    """

    def __init__(self, project: str) -> None:
        super().__init__("listing", project)
        self._project = project

    def read(self, sources: SourcesApi) -> Seen:
        """List the project."""
        return {source.name: source for source in sources.list(self._project)}


class SourceReader(Reader):
    """One source.

    :param address: which.
    :param by_id: read it by id, which shows all its fields, even if it was given by name.
    """

    def __init__(self, address: SourceAddress, *, by_id: bool) -> None:
        super().__init__("source", address.source_id or f"{address.project}/{address.source_name}", str(by_id))
        self._address = address
        self._by_id = by_id
        self._id = address.source_id

    def read(self, sources: SourcesApi) -> Seen | None:
        """Read it, or find out its id."""
        named = self._address.source_id or self._address.source_name
        try:
            if self._id is not None:
                return {named: sources.get_by_id(self._id)}
            source = sources.get(self._address.project, self._address.source_name)
        except NotFoundError:
            self._id = self._address.source_id  # another source of this name has another id
            return {}
        if not self._by_id:
            return {named: source}
        self._id = source.id
        return None


class MessagesReader(Reader):
    """The number of messages of one source, by its statistics.

    :param address: which. The statistics are asked for by name, so for an id the name is found out first.
    """

    def __init__(self, address: SourceAddress) -> None:
        super().__init__("messages", address.source_id or f"{address.project}/{address.source_name}")
        self._address = address
        self._name = None if address.source_id else (address.project, address.source_name)

    def read(self, sources: SourcesApi) -> Seen | None:
        """Count, or find out the name."""
        try:
            if self._name is not None:
                count = sources.message_count(*self._name)
                return {self._address.source_id or self._address.source_name: Messages(*self._name, count)}
            source = sources.get_by_id(self._address.source_id or "")
        except NotFoundError:
            if self._address.source_id:
                self._name = None
            return {}
        self._name = (source.project, source.name)
        return None
