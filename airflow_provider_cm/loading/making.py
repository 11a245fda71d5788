"""Messages from rows: a checked mapping at work."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import printable
from airflow_provider_cm.loading.cells import as_addresses, as_identity, as_moment, as_number, as_text, plain
from airflow_provider_cm.loading.shapes import BadRowError
from airflow_provider_cm.loading.validation import check_comment, escaped_id, fits

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from airflow_provider_cm.loading.template import Template

Row = Mapping[str, Any]
Write = Callable[[Any, str], str]
Read = Callable[[Row], Any]
Step = Callable[[Row, dict[str, Any], dict[str, Any]], None]

_REQUIRED = frozenset({"id", "timestamp", "body"})
_IN_MESSAGE = {"sender": "from", "language": "language"}


class MessageMaker:
    """Makes the API's comment object of each row.

    :param templates: for each field but those of the next two.
    :param addresses: for each list of addresses.
    :param properties: type (empty for that of the value), name and template of each user property.
    :param zone: where times without an offset belong.
    :param escape: encode the characters that no id may hold.
    """

    def __init__(
        self,
        templates: Mapping[str, Template],
        addresses: Mapping[str, list[Template]],
        properties: list[tuple[str, str, Template]],
        zone: ZoneInfo | None,
        *,
        escape: bool,
    ) -> None:
        self._made_of = {key: [each] for key, each in templates.items()} | dict(addresses)
        self._properties = properties
        self._steps = [_step(key, template, zone, escape=escape) for key, template in templates.items()]
        self._steps += [_addresses(key, each) for key, several in addresses.items() for each in several]
        self._steps += [_property(kind, name, template) for kind, name, template in properties]

    def message(self, row: Row) -> dict[str, Any]:
        """Make the API's comment object of a row.

        :param row: values by column.
        :raises BadRowError: when a value does not fit, naming the column and not the value.
        """
        message: dict[str, Any] = {}
        comment: dict[str, Any] = {"id": None, "timestamp": None, "messages": [message]}
        if self._properties:
            comment["user_properties"] = {}
        for step in self._steps:
            step(row, comment, message)
        if not fits(comment, message):
            try:
                check_comment(comment)
            except BadRowError as error:
                error.where = self._columns(error.where)
                raise
        return comment

    def _columns(self, where: str) -> str:
        """Say of which column a field was made."""
        key = re.split(r"[.\[]", where.removeprefix("messages[0]."))[0]
        key = "sender" if key == "from" else key
        made_of = self._made_of.get(key, [])
        if key == "user_properties":
            key, made_of = "properties", [each for _, name, each in self._properties if where.endswith(f":{name}']")]
        return f"{' and '.join(map(str, made_of))} ({key})" if made_of else where


def _step(key: str, template: Template, zone: ZoneInfo | None, *, escape: bool) -> Step:
    if key in {"timestamp", "sent_at"}:
        return _moment(key, template, zone)
    read = _text_reader(key, template)
    if key == "id":
        return _id(read, escape=escape)
    return _text(key, read) if key in {"body", "subject", "signature"} else _word(key, read)


def _text_reader(key: str, template: Template) -> Read:
    write = as_identity if key in {"id", "thread_id"} else as_text
    read, column = _reader(template, write), _column(template)

    def text(row: Row) -> str | None:
        value = read(row)
        if type(value) is str:
            return value
        if value is not None:
            return write(value, column)
        if key in _REQUIRED:
            raise _no_value(key, template)
        return None

    return text


def _moment(key: str, template: Template, zone: ZoneInfo | None) -> Step:
    read, column = _reader(template, as_text), _column(template)

    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        value = read(row)
        if value is not None:
            (comment if key == "timestamp" else message)[key] = as_moment(value, column, zone)
        elif key in _REQUIRED:
            raise _no_value(key, template)

    return put


def _id(read: Read, *, escape: bool) -> Step:
    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        comment["id"] = escaped_id(read(row)) if escape else read(row)

    return put


def _text(key: str, read: Read) -> Step:
    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        value = read(row)
        if value is not None:
            message[key] = {"text": value}

    return put


def _word(key: str, read: Read) -> Step:
    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        value = read(row)
        if not value:
            return  # an empty sender is none, and the API refuses it
        if key in _IN_MESSAGE:
            message[_IN_MESSAGE[key]] = value
        else:
            comment[key] = value

    return put


def _no_value(key: str, template: Template) -> BadRowError:
    return BadRowError(str(template), "it has no value", f"every message needs its {key}", "mapping")


def _addresses(key: str, template: Template) -> Step:
    read, column = _reader(template, as_text), _column(template)

    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        value = read(row)
        found = [] if value is None else as_addresses(value, column)
        if found:
            message.setdefault(key, []).extend(found)

    return put


def _property(kind: str, name: str, template: Template) -> Step:
    read, column = _reader(template, as_text), _column(template)
    string_name, number_name = f"string:{name}", f"number:{name}"

    def put(row: Row, comment: dict[str, Any], message: dict[str, Any]) -> None:
        value = read(row)
        if value is None:
            return
        if type(value) is str and kind != "number":
            comment["user_properties"][string_name] = value
            return
        numeric = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        if kind == "number" or (numeric and not kind):
            comment["user_properties"][number_name] = as_number(value, column)
        else:
            comment["user_properties"][string_name] = as_text(value, column)

    return put


def _reader(template: Template, write: Write) -> Read:
    """Return what reads a template's value from a row: the column's own, or a text; ``None`` if a column has none."""
    parts = template.parts
    if template.is_one_column:
        only = template.columns[0]

        def own_value(row: Row) -> Any:
            try:
                value = row[only]
            except KeyError:
                raise _missing(row, only) from None
            return value if type(value) is str else plain(value)

        return own_value

    def text(row: Row) -> str | None:
        texts = []
        for before, column in parts:
            texts.append(before)
            if column is None:
                continue
            try:
                value = plain(row[column])
            except KeyError:
                raise _missing(row, column) from None
            if value is None:
                return None
            texts.append(value if type(value) is str else write(value, column))
        return "".join(texts)

    return text


def _column(template: Template) -> str:
    return ", ".join(template.columns)


def _missing(row: Row, column: str) -> BadRowError:
    there = ", ".join(printable(str(each), 60) for each in list(row)[:50])
    return BadRowError(
        f"column '{printable(column, 60)}'",
        f"it is not there; the columns are {there or 'none'}",
        "correct the name in the mapping",
        "mapping",
    )
