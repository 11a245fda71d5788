"""Readers: what one poll reads, with at most one request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import NotFoundError, ProtocolError
from airflow_provider_cm.api.models import Source

if TYPE_CHECKING:
    from airflow_provider_cm.api.arguments import SourceAddress
    from airflow_provider_cm.api.sources import SourcesApi

LISTED = frozenset({"title", "description", "should_translate", "sensitive_properties", "bucket_id"})
"""The fields that listings show, by the vendor's page; for other fields a source is read by its id."""


@dataclass(frozen=True, slots=True)
class Messages:
    """The number of messages of a source.

    :param project: the source's project.
    :param name: its name.
    :param count: messages.
    """

    project: str
    name: str
    count: int


Seen = Mapping[str, Source | Messages]
"""The sources that exist, by name or by id as the reader was asked. A source that is not in it does not exist."""


class Listed(dict[str, Source]):
    """The sources of a project by name, made in the polling thread, so that the event loop only looks one up.

    :param sources: the sources of the listing.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        super().__init__((source.name, source) for source in sources)
        self._alike = {name.casefold(): name for name in self}

    def alike(self, name: str) -> Source | None:
        """Return a source whose name differs by case only. Some servers treat it as the same source, some do not.

        :param name: the wanted name.
        """
        other = self._alike.get(name.casefold())
        return None if other is None or other == name else self[other]


class Reader(ABC):
    """Reads the same thing again and again. It may keep state between reads, so each poll loop has its own."""

    key: tuple[str, ...]
    """Identifies what is read: readers with equal keys read the same."""

    @abstractmethod
    def read(self, sources: SourcesApi) -> Seen | None:
        """Send one request.

        :param sources: the client.
        :return: the sources that exist, or ``None`` if the request only prepared the next one.
        :raises CommsMiningError: when the request failed.
        """


class ListingReader(Reader):
    """All sources of a project: one request for any number of waits. A missing project is an error.

    A listing omits sources that the user may not view, so an empty listing can mean that there is no source, or no
    permission. A read by name tells which: it replaces the listing after the first empty one, and then one listing in a
    hundred while the project stays empty.

    :param project: the project.
    :param name: any name, for that read.
    """

    _PROOF_LASTS = 100

    def __init__(self, project: str, name: str) -> None:
        self.key = ("listing", project)
        self._project = project
        self._name = name
        self._proven = 0  # how many more empty listings count as such
        self._in_doubt = False
        self._hidden = False  # a source that the listing before it did not show was there

    def read(self, sources: SourcesApi) -> Seen | None:
        """List the project, or check whether it really is empty; see :meth:`Reader.read`.

        :param sources: the client.
        """
        if self._in_doubt:
            self._in_doubt, self._proven = False, 0
            try:
                sources.get(self._project, self._name)
            except NotFoundError:
                # The user may view sources. Only the next listing tells which other sources exist.
                self._proven, self._hidden = self._PROOF_LASTS, False
                return None
            if not self._hidden:
                self._hidden = True  # it may have been created since
                return None
            raise ProtocolError(
                f"the listing of project '{self._project}' is empty, although its source '{self._name}' can be read, "
                "so the listing tells nothing"
            )
        listed = Listed(sources.list(self._project))
        if listed:
            self._proven, self._hidden = 0, False
            return listed
        proven, self._proven = self._proven > 0, max(0, self._proven - 1)
        self._in_doubt = self._proven == 0
        return listed if proven else None


class SourceReader(Reader):
    """Reads one source.

    :param address: the source.
    :param by_id: whether to read it by id, which shows all its fields, even if the address is a name.
    """

    def __init__(self, address: SourceAddress, *, by_id: bool) -> None:
        self.key = ("source", address.source_id or f"{address.project}/{address.source_name}", str(by_id))
        self._address = address
        self._by_id = by_id
        self._id = address.source_id

    def read(self, sources: SourcesApi) -> Seen | None:
        """Read the source, or look up its id; see :meth:`Reader.read`.

        :param sources: the client.
        """
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
    """Reads the number of messages of one source from its statistics.

    :param address: the source. Statistics need its name, so for an id the name is read first.
    """

    def __init__(self, address: SourceAddress) -> None:
        self.key = ("messages", address.source_id or f"{address.project}/{address.source_name}")
        self._address = address
        self._name = None if address.source_id else (address.project, address.source_name)

    def read(self, sources: SourcesApi) -> Seen | None:
        """Read the number, or look up the name; see :meth:`Reader.read`.

        :param sources: the client.
        """
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
