"""From a row to a message, by data that is checked before a row is read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping as MappingOf
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_property
from airflow_provider_cm.loading.template import MappingError, Template

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from airflow_provider_cm.loading.making import MessageMaker

__all__ = ["Mapping", "MappingError"]

_FIELDS = ("id", "timestamp", "body", "subject", "signature", "sender", "to", "cc", "bcc", "sent_at", "language")
_OPTIONS = ("thread_id", "text_format", "properties", "timezone", "id_escape")
_REQUIRED = ("id", "timestamp", "body")
_LISTS = ("to", "cc", "bcc")
_OTHER_NAMES = {"from": "sender", "text": "body", "user_properties": "properties", "created_at": "timestamp"}


class Mapping:
    """Which columns make up a message; made by :meth:`parse`.

    :param data: what was parsed.
    """

    def __init__(self, data: MappingOf[str, Any]) -> None:
        self.data = data
        self.columns: tuple[str, ...] = ()
        self.templates: dict[str, Template] = {}
        self.addresses: dict[str, list[Template]] = {}
        self.properties: list[tuple[str, str, Template]] = []
        self.zone: ZoneInfo | None = None
        self.escape = False
        self._maker: MessageMaker | None = None

    def __repr__(self) -> str:
        return f"Mapping({', '.join(self.columns)})"

    @classmethod
    def parse(cls, data: object) -> Mapping:
        """Check a mapping and compile it.

        :param data: an object with the keys ``id``, ``timestamp`` and ``body``, and any of ``subject``, ``signature``,
            ``sender``, ``to``, ``cc``, ``bcc``, ``sent_at``, ``language``, ``thread_id``, ``text_format``,
            ``properties`` (texts by name), ``timezone`` and ``id_escape``. A value is a text with columns in braces;
            with exactly one column and nothing else it is the column's own value, whatever its type. ``to``, ``cc`` and
            ``bcc`` may be lists of them.
        :raises MappingError: naming the field, the problem and the remedy.
        """
        if isinstance(data, Mapping):
            return data
        if not isinstance(data, MappingOf):
            raise MappingError(f"mapping: a {type(data).__name__} is not an object; use one such as {_EXAMPLE}")
        for key in data:
            if key not in (*_FIELDS, *_OPTIONS):
                raise _unknown_key(key)
        for key in _REQUIRED:
            if data.get(key) is None:
                raise MappingError(f"mapping: it has no `{key}`, which every message needs; see {_EXAMPLE}")
        mapping = cls(data)
        mapping._compile()
        return mapping

    def _compile(self) -> None:
        for key, value in self.data.items():
            field = f"mapping.{key}"
            if key in _LISTS:
                values = value if isinstance(value, list | tuple) else [value]
                self.addresses[key] = [Template(each, field) for each in values]
            elif key == "properties":
                self._compile_properties(value)
            elif key == "timezone":
                self.zone = _zone(value)
            elif key == "id_escape":
                if value != "percent":
                    raise MappingError(
                        f'{field}: {printable(repr(value), 60)} is no escape; use "percent", or leave it'
                    )
                self.escape = True
            else:
                self.templates[key] = Template(value, field)
        if not self.templates["id"].columns:
            raise MappingError(
                "mapping.id: it names no column, so all messages would have one id and overwrite each other; use such "
                'as "ticket-{id}"'
            )
        if not self.templates["timestamp"].columns:
            raise MappingError('mapping.timestamp: it names no column; use such as "{created_at}"')
        every = [
            *self.templates.values(),
            *(each for some in self.addresses.values() for each in some),
            *(template for _, _, template in self.properties),
        ]
        self.columns = tuple(dict.fromkeys(column for each in every for column in each.columns))

    def _compile_properties(self, properties: object) -> None:
        if not isinstance(properties, MappingOf):
            raise MappingError('mapping.properties: it is no object; use one such as {"Region": "{region}"}')
        names: dict[str, str] = {}
        for given, text in properties.items():
            kind, colon, name = str(given).partition(":")
            if not colon or kind not in {"string", "number"}:
                kind, name = "", str(given)
            try:
                check_property(f"string:{name}", "")
            except ConfigurationError:
                raise MappingError(
                    f"mapping.properties: '{printable(str(given), 80)}' is no property's name; use 1 to 64 characters, "
                    "the first a letter, digit or '_', with `string:` or `number:` before them if the type is fixed"
                ) from None
            if name in names:
                raise MappingError(
                    f"mapping.properties: '{names[name]}' and '{printable(str(given), 80)}' are one name; keep one"
                )
            names[name] = printable(str(given), 80)
            self.properties.append((kind, name, Template(text, f"mapping.properties['{names[name]}']")))

    def message(self, row: MappingOf[str, Any]) -> dict[str, Any]:
        """Make the API's comment object of a row.

        :param row: values by column.
        :raises BadRowError: when a value does not fit, naming the column and not the value.
        """
        if self._maker is None:
            from airflow_provider_cm.loading.making import (
                MessageMaker,
            )  # what it needs is not needed to check a mapping

            self._maker = MessageMaker(self.templates, self.addresses, self.properties, self.zone, escape=self.escape)
        return self._maker.message(row)

    def fingerprint(self) -> str:
        """Return a text that is the same for the same mapping."""
        return json.dumps(self.data, sort_keys=True, default=str)


_EXAMPLE = '{"id": "ticket-{id}", "timestamp": "{created_at}", "body": "{text}"}'


def _zone(value: object) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(str(value))
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise MappingError(
            f"mapping.timezone: {printable(repr(value), 60)} is no time zone; use a name such as Europe/Berlin, or UTC"
        ) from None


def _unknown_key(key: object) -> MappingError:
    shown = printable(str(key), 60)
    meant = _OTHER_NAMES.get(shown) or next(iter(difflib.get_close_matches(shown, (*_FIELDS, *_OPTIONS), n=1)), None)
    hint = f"did you mean `{meant}`? " if meant else ""
    return MappingError(
        f"mapping: there is no field `{shown}`; {hint}The fields are {', '.join((*_FIELDS, *_OPTIONS))}"
    )
