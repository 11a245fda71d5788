"""What is waited for, and whether it is so. Sensor and trigger share this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import BadRequestError, CommsMiningError, ConfigurationError, NotShownError
from airflow_provider_cm.api.models import SETTABLE, Source, parse_timestamp
from airflow_provider_cm.triggers.reading import LISTED, ListingReader, Messages, MessagesReader, SourceReader

if TYPE_CHECKING:
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.triggers.reading import Reader, Seen

_MAY_BE_NOTHING = {"bucket_id", "email_transform_tag"}
UNTIL = ("exists", "absent", "updated", "has_messages")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look showed.

    :param mark: ``None`` while the wait goes on; otherwise what tells this fulfilment from another one, such as the id
        of the source that is there.
    :param facts: the source as the API's JSON object; for ``has_messages`` its statistics; ``None`` if there is none.
    :param summary: the same in a few words, for a log.
    """

    mark: str | None
    facts: dict[str, Any] | None
    summary: str

    @property
    def met(self) -> bool:
        """Whether the wait is over."""
        return self.mark is not None


@dataclass(frozen=True, slots=True)
class Condition:
    """What is waited for; arguments as for :class:`airflow_provider_cm.sensors.sources.SourceSensor`.

    :param address: which source.
    :param until: one of :data:`UNTIL`.
    :param updated_after: the moment that ``updated`` compares with; ``None`` for a watcher, which takes any change.
    :param min_messages: the number that ``has_messages`` asks for.
    :param match: values that the source must have.
    """

    address: values.SourceAddress
    until: str
    updated_after: datetime | None
    min_messages: int
    match: Mapping[str, object]

    @classmethod
    def parse(
        cls,
        *,
        project: object,
        source_name: object,
        source_id: object,
        until: object,
        updated_after: object,
        min_messages: object,
        match: object,
        watching: bool = False,
    ) -> Condition:
        """Judge the arguments of a sensor or trigger, after templates were rendered.

        :param watching: an asset watcher's, for which ``updated`` needs no moment to compare with.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        until = values.choice(until, "until", UNTIL)
        if until == "updated" and updated_after is None and not watching:
            raise ConfigurationError(
                "updated_after: until='updated' needs it; give a moment, such as the `updated_at` that the task before "
                "returned"
            )
        if until != "updated" and updated_after is not None:
            raise ConfigurationError(
                f"updated_after: it says nothing to until='{until}'; leave it out, or use 'updated'"
            )
        if match is not None and until in {"absent", "has_messages"}:
            raise ConfigurationError(f"match: it says nothing to until='{until}'; leave it out")
        count = values.integer(min_messages, "min_messages", minimum=1)
        if until != "has_messages" and count != 1:
            raise ConfigurationError(
                f"min_messages: it says nothing to until='{until}'; leave it out, or use 'has_messages'"
            )
        return cls(
            values.source_address(
                *(values.NOT_GIVEN if each is None else each for each in (project, source_name, source_id))
            ),
            until,
            None if updated_after is None else _moment(updated_after),
            count,
            _match(match),
        )

    def reader(self, *, alone: bool = False) -> Reader:
        """Give what to read for this wait.

        :param alone: for this wait only. Otherwise for a poll loop that others may share: a project's listing wherever
            that shows enough.
        """
        if self.until == "has_messages":
            return MessagesReader(self.address)
        listed = LISTED.issuperset(self.match)
        if self.address.source_id is None and listed and not alone:
            return ListingReader(self.address.project, self.address.source_name)
        return SourceReader(self.address, by_id=not listed)

    def look(self, sources: SourcesApi) -> Look:
        """Look once, for this wait alone: one small request, or two where one does not tell.

        :param sources: the client.
        :raises CommsMiningError: when the API could not be asked. That the source is missing is no error, but that its
            project is missing is one to ``absent``: a misspelt project must not pass for a source that is gone.
        """
        reader = self.reader(alone=True)
        seen = reader.read(sources)
        look = self.judge((reader.read(sources) if seen is None else seen) or {})
        if self.until == "absent" and look.met and self.address.source_id is None:
            sources.list(self.address.project)
        return look

    def judge(self, seen: Seen) -> Look:
        """Judge what was seen.

        :param seen: what a reader gave.
        :raises NotShownError: when the response does not show a field that ``match`` or ``updated`` needs.
        """
        found = seen.get(self.address.source_id or self.address.source_name)
        if found is None:
            return Look("absent" if self.until == "absent" else None, None, "it is not there")
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


def may_pass(error: CommsMiningError) -> bool:
    """Whether a look that failed may be followed by a better one, without a change to the DAG or the connection.

    Servers come back, tokens and permissions are mended while tasks wait, new projects appear late, and a gateway's
    page or redirect goes away again. What this side sends or is configured with stays as it is.

    :param error: why it failed.
    """
    return not isinstance(error, ConfigurationError | BadRequestError | NotShownError)


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        value = value.isoformat()
    moment = parse_timestamp(value)
    if moment is None:
        raise ConfigurationError(
            f"updated_after: {values.shown(value)} is not a moment such as 2026-11-22T08:06:14.944290+00:00"
        )
    return moment


def _match(value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"match: {values.shown(value)} is not a mapping of fields to values")
    parsed: dict[str, object] = {}
    for field, wanted in value.items():
        if field not in SETTABLE:
            raise ConfigurationError(f"match: a source has no field {values.shown(field)}; use {', '.join(SETTABLE)}")
        # A template renders text, and a "True" that is compared with true would be waited for in vain.
        nothing = wanted is None and field in _MAY_BE_NOTHING
        parsed[field] = None if nothing else values.setting(wanted, field, f"match: {field}")
    return parsed
