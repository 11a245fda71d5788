"""What is waited for, and the one request that shows whether it is so. Sensor and trigger share this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import values
from airflow_provider_cm.api.errors import ConfigurationError, NotFoundError, ProtocolError
from airflow_provider_cm.api.models import SETTABLE, Source, parse_timestamp

if TYPE_CHECKING:
    from airflow_provider_cm.api.sources import SourcesApi

_MAY_BE_NOTHING = {"bucket_id", "email_transform_tag"}
UNTIL = ("exists", "absent", "updated", "has_messages")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look showed.

    :param met: whether the wait is over.
    :param facts: the source as the API's JSON object; for ``has_messages`` its statistics; ``None`` if there is none.
    :param summary: the same in a few words, for a log.
    """

    met: bool
    facts: dict[str, Any] | None
    summary: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What is waited for; arguments as for :class:`airflow_provider_cm.sensors.sources.SourceSensor`.

    :param address: which source.
    :param until: one of :data:`UNTIL`.
    :param updated_after: the moment that ``updated`` compares with.
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
    ) -> Condition:
        """Judge the arguments of a sensor or trigger, after templates were rendered.

        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        until = values.choice(until, "until", UNTIL)
        if until == "updated" and updated_after is None:
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
            values.source_address(project, source_name, source_id),
            until,
            None if updated_after is None else _moment(updated_after),
            count,
            _match(match),
        )

    def look(self, sources: SourcesApi) -> Look:
        """Ask the API once.

        Twice for the messages of a source that is given by id, and for a field of ``match`` that a read by name does
        not show on this server.

        :param sources: the client.
        :raises CommsMiningError: when the API could not be asked. That the source is missing is no error.
        """
        try:
            if self.until == "has_messages":
                return self._count(sources)
            source = self._read(sources)
            if self.match and source.compare(self.match)[1]:
                source = sources.get_by_id(source.id)
        except NotFoundError:
            return Look(self.until == "absent", None, "it is not there")
        return self.judge(source)

    def judge(self, source: Source) -> Look:
        """Judge a source that is there.

        :param source: as one response showed it.
        :raises ProtocolError: when the response does not show a field that ``match`` or ``updated`` needs.
        """
        met = self.until == "exists"
        summary = f"it is there, with id {source.id}"
        if self.until == "updated" and self.updated_after is not None:
            if source.updated_at is None:
                raise ProtocolError(f"{self.address} has no readable `updated_at`, so a wait for it cannot end")
            met = source.updated_at > self.updated_after
            summary += f", updated at {source.updated_at.isoformat()}"
        differences, unknown = source.compare(self.match)
        if unknown:
            raise ProtocolError(
                f"the server does not show {', '.join(unknown)} of {self.address}, so `match` cannot be judged; leave "
                "it out"
            )
        if differences:
            met, summary = False, f"{summary}; not as asked for yet: {', '.join(differences)}"
        return Look(met, source.to_dict(), summary)

    def _read(self, sources: SourcesApi) -> Source:
        if self.address.source_id is not None:
            return sources.get_by_id(self.address.source_id)
        return sources.get(self.address.project, self.address.source_name)

    def _count(self, sources: SourcesApi) -> Look:
        project, name = self.address.project, self.address.source_name
        if self.address.source_id is not None:
            source = sources.get_by_id(self.address.source_id)
            project, name = source.project, source.name
        count = sources.message_count(project, name)
        facts = {"project": project, "source_name": name, "num_comments": count}
        return Look(count >= self.min_messages, facts, f"it holds {count} messages of at least {self.min_messages}")


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
