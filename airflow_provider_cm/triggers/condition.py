"""The condition of a wait, and whether it is true. Sensor and trigger share it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import NotShownError
from airflow_provider_cm.triggers import wait_arguments
from airflow_provider_cm.triggers.readers import LISTED, Listed, ListingReader, Messages, MessagesReader, SourceReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Unpack

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.triggers.readers import Reader, Seen

# A server with several replicas may show a new source only some seconds later. Before a missing source ends a wait, a
# second look after so many seconds confirms it.
SECOND_LOOK_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look.

    :param mark: ``None`` while the condition is false; otherwise a text that identifies this way of being true, such as
        the id of the source.
    :param facts: the source as the API's JSON object; for ``has_messages`` its statistics; ``None`` if there is none.
    :param summary: the same in a few words, for a log.
    :param missing: whether the source is missing.
    :param alike: id of a source whose name differs by case only, if the source itself is missing.
    """

    mark: str | None
    facts: dict[str, Any] | None
    summary: str
    missing: bool = False
    alike: str | None = None

    @property
    def met(self) -> bool:
        """Whether the wait is over."""
        return self.mark is not None


class ConditionArguments(TypedDict):
    """The arguments of a sensor or trigger that make its condition; ``None`` for one that was not given."""

    project: object
    source_name: object
    source_id: object
    until: object
    updated_after: object
    min_messages: object
    match: object


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a wait; arguments as for :class:`airflow_provider_cm.sensors.sources.SourceSensor`.

    :param address: the source.
    :param until: one of :data:`airflow_provider_cm.triggers.wait_arguments.UNTIL`.
    :param updated_after: the moment that ``updated`` compares with; ``None`` for a watcher, which takes any change.
    :param min_messages: the number that ``has_messages`` asks for.
    :param match: values that the source must have.
    """

    address: arguments.SourceAddress
    until: str
    updated_after: datetime | None
    min_messages: int
    match: Mapping[str, object]

    @classmethod
    def parse(cls, *, watching: bool = False, **given: Unpack[ConditionArguments]) -> Condition:
        """Parse the arguments of a sensor or trigger, after templates were rendered.

        :param watching: whether they are an asset watcher's, for which ``updated`` needs no moment to compare with.
        :param given: the arguments.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        until = arguments.choice(given["until"], "until", wait_arguments.UNTIL)
        count = wait_arguments.count(given["min_messages"], "min_messages")
        after, match = given["updated_after"], given["match"]
        wait_arguments.check_together(
            until,
            updated_after=after is not None,
            match=match is not None,
            min_messages=count != 1,
            watching=watching,
        )
        address = (given["project"], given["source_name"], given["source_id"])
        return cls(
            arguments.source_address(*(arguments.NOT_GIVEN if each is None else each for each in address)),
            until,
            None if after is None else wait_arguments.moment(after, "updated_after"),
            count,
            {} if match is None else wait_arguments.match(match, "match"),
        )

    def __str__(self) -> str:
        """Return the condition as words that follow "waiting for"."""
        if self.until == "absent":
            return f"{self.address} to be gone"
        if self.until == "has_messages":
            return f"{self.address} to hold at least {self.min_messages} message{'s'[: self.min_messages > 1]}"
        what = "exist"
        if self.until == "updated":
            what = "change" + (f" after {self.updated_after.isoformat()}" if self.updated_after else "")
        asked = f" with the {', '.join(self.match)} of `match`" if self.match else ""
        return f"{self.address} to {what}{asked}"

    def reader(self, *, alone: bool = False) -> Reader:
        """Return the reader for this wait.

        :param alone: whether it reads for this wait only, ``False`` by default: other waits may share the poll, so it
            lists the project wherever a listing shows enough.
        """
        if self.until == "has_messages":
            return MessagesReader(self.address)
        listed = LISTED.issuperset(self.match)
        if self.address.source_id is None and listed and not alone:
            return ListingReader(self.address.project, self.address.source_name)
        return SourceReader(self.address, by_id=not listed)

    def look(self, sources: SourcesApi) -> Look:
        """Look once, for this wait alone, with one small request or two.

        ``absent`` needs a listing and a second look some seconds later as well.

        :param sources: the client.
        :raises CommsMiningError: when the look failed. A missing source is no error. For ``absent``, a missing project
            is one, so that a misspelled project does not pass for a source that is gone.
        """
        look = self.judge(self.read_alone(sources))
        if self.until != "absent" or not look.met:
            return look
        if self.address.source_id is None:
            listed = self.judge(Listed(sources.list(self.address.project)))
            if not listed.met:
                return listed
        time.sleep(SECOND_LOOK_AFTER)
        return self.judge(self.read_alone(sources))

    def read_alone(self, sources: SourcesApi) -> Seen:
        """Read the source by its name or id, not from a listing.

        :param sources: the client.
        :return: the source by its name or id; empty if it is missing.
        """
        reader = self.reader(alone=True)
        seen = reader.read(sources)
        return (reader.read(sources) if seen is None else seen) or {}

    def judge(self, seen: Seen, known_as: str | None = None) -> Look:
        """Decide whether the condition is true.

        :param seen: the result of a reader.
        :param known_as: id of a source that the server treats as this one, although the case of its name differs.
        :raises NotShownError: when the response does not show a field that ``match`` or ``updated`` needs.
        """
        found = seen.get(self.address.source_id or self.address.source_name)
        alike = seen.alike(self.address.source_name) if found is None and isinstance(seen, Listed) else None
        if alike is not None and alike.id == known_as:
            found = alike
        if found is None:
            mark = "absent" if self.until == "absent" else None
            return Look(mark, None, "it is not there", missing=True, alike=alike.id if alike else None)
        if isinstance(found, Messages):
            facts = {"project": found.project, "source_name": found.name, "num_comments": found.count}
            enough = f"at least {self.min_messages}" if found.count >= self.min_messages else None
            return Look(enough, facts, f"it holds {found.count} messages of at least {self.min_messages}")
        return self._judge_source(found)

    def _judge_source(self, source: Source) -> Look:
        mark = None if self.until == "absent" else source.id
        summary = f"it is there, with id {source.id}"
        if self.until == "updated":
            if source.updated_at is None:
                raise NotShownError(f"{self.address} has no readable `updated_at`, so a wait for it cannot end")
            newer = self.updated_after is None or source.updated_at > self.updated_after
            mark = f"{source.id} {source.updated_at.isoformat()}" if newer else None
            summary += f", updated at {source.updated_at.isoformat()}"
        differences, unknown = source.compare(self.match)
        if unknown:
            raise NotShownError(
                f"the server does not show {', '.join(unknown)} of {self.address}, so `match` cannot be judged; leave "
                "it out"
            )
        if differences:
            mark, summary = None, f"{summary}; not as asked for yet: {', '.join(differences)}"
        return Look(mark, source.to_dict(), summary)
