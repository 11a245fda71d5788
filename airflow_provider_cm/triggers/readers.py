"""What one poll reads: at most one request a read, so that no wait costs more than one an interval."""

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


class Listed(dict[str, Source]):
    """The sources of a project by name, made in the thread that polls, so that judging one costs no time.

    :param sources: what the listing showed.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        super().__init__((source.name, source) for source in sources)
        self._alike = {name.casefold(): name for name in self}

    def alike(self, name: str) -> Source | None:
        """Give a source whose name differs by case only. Servers may take it for the same, or for another.

        :param name: the name that was asked for.
        """
        other = self._alike.get(name.casefold())
        return None if other is None or other == name else self[other]


class Reader(ABC):
    """Reads one thing, again and again. It may remember between two reads, so each poll loop has its own."""

    key: tuple[str, ...]
    """What is read; readers with equal keys read the same."""

    @abstractmethod
    def read(self, sources: SourcesApi) -> Seen | None:
        """Send one request.

        :param sources: the client.
        :return: what was there, or ``None`` if the request only found out what to ask for next time.
        :raises CommsMiningError: when nothing was learnt.
        """


class ListingReader(Reader):
    """All sources of a project: one request for any number of waits. A missing project is an error.

    A listing leaves out what a user may not see, so an empty one can mean that there is no source as well as that there
    is no permission. A read by name tells the two apart: it takes the place of a listing after the first empty one, and
    of one in a hundred while the project stays empty.

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
        """List the project, or find out whether it is as empty as it looks; see :meth:`Reader.read`.

        :param sources: the client.
        """
        if self._in_doubt:
            self._in_doubt, self._proven = False, 0
            try:
                sources.get(self._project, self._name)
            except NotFoundError:
                # It was allowed to look. What is there beside it, only the next listing tells.
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
    """One source.

    :param address: which.
    :param by_id: read it by id, which shows all its fields, even if it was given by name.
    """

    def __init__(self, address: SourceAddress, *, by_id: bool) -> None:
        self.key = ("source", address.source_id or f"{address.project}/{address.source_name}", str(by_id))
        self._address = address
        self._by_id = by_id
        self._id = address.source_id

    def read(self, sources: SourcesApi) -> Seen | None:
        """Read it, or find out its id; see :meth:`Reader.read`.

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
    """The number of messages of one source, by its statistics.

    :param address: which. The statistics are asked for by name, so for an id the name is found out first.
    """

    def __init__(self, address: SourceAddress) -> None:
        self.key = ("messages", address.source_id or f"{address.project}/{address.source_name}")
        self._address = address
        self._name = None if address.source_id else (address.project, address.source_name)

    def read(self, sources: SourcesApi) -> Seen | None:
        """Count, or find out the name; see :meth:`Reader.read`.

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
