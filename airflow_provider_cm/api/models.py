"""The source, as the API's JSON object and as a Python object.

Fields: the vendor's page "Sources", and the vendor's contract of 2025 for those that the page does not mention.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ProtocolError, printable
from airflow_provider_cm.api.source_fields import SETTABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONAL = frozenset({"bucket_id", "email_transform_tag"})  # absent from a complete response if there is none
_LONGEST_IDENTIFIER = 1024  # names have at most 256 characters


@dataclass(frozen=True, slots=True)
class Source:
    """A source, as one response showed it.

    ``None`` means that the source has no value, or that the response did not show it; :meth:`knows` tells which. The
    examples on the vendor's page omit some fields, such as ``language`` in listings; its contract omits only
    ``bucket_id`` and ``email_transform_tag``, if there is none.

    :param id: identifier, 16 hexadecimal digits.
    :param owner: the project.
    :param name: name within the project.
    :param raw: the API's own JSON object, unknown keys included.
    :param confirmed: the response to the write got lost, and this state was read afterwards.
    """

    id: str
    owner: str
    name: str
    title: str | None = None
    description: str | None = None
    language: str | None = None
    should_translate: bool | None = None
    sensitive_properties: tuple[str, ...] | None = None
    bucket_id: str | None = None
    kind: str | None = None
    email_transform_tag: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    confirmed: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, raw: object, *, confirmed: bool = False) -> Source:
        """Read the API's JSON object; only what identifies a source is required.

        :param raw: one source of a response.
        :param confirmed: see the class.
        :raises ProtocolError: if its ID, owner or name is missing or empty.
        """
        if not isinstance(raw, dict) or not all(_is_identifier(raw.get(key)) for key in ("id", "owner", "name")):
            raise ProtocolError(
                "the response holds a source without `id`, `owner` or `name`, so it is not from this API"
            )
        properties = raw.get("sensitive_properties")
        translate = raw.get("should_translate")
        return cls(
            raw["id"],
            raw["owner"],
            raw["name"],
            _text(raw.get("title")),
            _text(raw.get("description")),
            _text(raw.get("language")),
            translate if isinstance(translate, bool) else None,
            tuple(properties) if isinstance(properties, list) and all(isinstance(p, str) for p in properties) else None,
            _text(raw.get("bucket_id")),
            _text(raw.get("_kind")),
            _text(raw.get("email_transform_tag")),
            parse_timestamp(raw.get("created_at")),
            parse_timestamp(raw.get("updated_at")),
            raw,
            confirmed,
        )

    @property
    def project(self) -> str:
        """The project; the API's JSON calls it ``owner``."""
        return self.owner

    def to_dict(self) -> dict[str, Any]:
        """Return the API's own JSON object, as it came."""
        return dict(self.raw)

    def knows(self, name: str) -> bool:
        """Whether the response shows the field, or shows that it has no value.

        :param name: one of the keys of :data:`SETTABLE`.
        """
        if name in _OPTIONAL and "_kind" in self.raw:
            return True  # by the vendor's contract, a response with `_kind` is complete
        return getattr(self, name) is not None or SETTABLE[name] in self.raw

    def compare(self, wanted: Mapping[str, object]) -> tuple[dict[str, tuple[object, object]], list[str]]:
        """Compare the source with wanted values.

        :param wanted: the values, by their names in :data:`SETTABLE`. ``sensitive_properties`` are compared as a set.
        :return: the fields that differ, each with (actual, wanted), and the fields that the response does not show.
        """
        differences: dict[str, tuple[object, object]] = {}
        unknown: list[str] = []
        for name, value in wanted.items():
            if not self.knows(name):
                unknown.append(name)
            elif not same_value(name, getattr(self, name), value):
                differences[name] = (self.raw.get(SETTABLE[name]), value)
        return differences, unknown


def same_value(name: str, one: object, other: object) -> bool:
    """Whether two values of a field mean the same; the order of ``sensitive_properties`` means nothing."""
    if name == "sensitive_properties" and isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return set(one) == set(other)
    return one == other


def describe_differences(differences: Mapping[str, tuple[object, object]]) -> str:
    """Return ``title is 'a', not 'b'; ...`` for a message."""
    return "; ".join(
        f"{name} is {_shown(there)}, not {_shown(wanted)}" for name, (there, wanted) in differences.items()
    )


def _shown(value: object) -> str:
    return printable(repr(value), 120)


def parse_timestamp(value: object) -> datetime | None:
    """Read the API's timestamps, which come with any number of fractional digits; ``None`` for anything else.

    :param value: e.g. ``2016-02-10T23:13:28.340295+00:00``.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        moment.astimezone(UTC)  # the first and the last day of the calendar have no time in every zone
    except (ValueError, OverflowError):
        return None
    return moment


def _is_identifier(value: object) -> bool:
    """Whether it can identify something. These go into logs as they are, so they hold nothing that could forge one."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable() and len(value) <= _LONGEST_IDENTIFIER


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
