"""Values that people type or templates render, parsed strictly.

A template gives text: a ``"False"`` must not count as true because it is not empty, nor a ``"None"`` as somebody's id.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_project, check_source_id, check_source_name

if TYPE_CHECKING:
    from collections.abc import Collection


def boolean(value: object, field: str) -> bool:
    """Give ``True`` or ``False``.

    :param value: a bool, or the text ``True`` or ``False`` in any case.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise ConfigurationError(f"{field}: {shown(value)} is neither true nor false; use True or False")


def integer(value: object, field: str, *, minimum: int) -> int:
    """Give a whole number.

    :param value: an int, or its digits as text.
    :param field: what to call it in an error.
    :param minimum: the smallest that makes sense.
    :raises ConfigurationError: for anything else.
    """
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        number = int(value.strip()[:18])
    if number is None or number < minimum:
        raise ConfigurationError(f"{field}: {shown(value)} is not a whole number of {minimum} or more")
    return number


def seconds(value: object, field: str) -> float:
    """Give a time in seconds.

    :param value: a number above 0, or its text.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 < number < math.inf:
        raise ConfigurationError(f"{field}: {shown(value)} is not a number of seconds above 0")
    return number


def text(value: object, field: str) -> str:
    """Give a text; anything else is an error.

    :param value: what was given.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{field}: {shown(value)} is not text; put it in quotes, or leave it out")
    return value


def identifier(value: object, field: str) -> str:
    """Give the text of an id or name that another task computed.

    :param value: text; not empty, and not the ``None`` that a template renders where there was nothing.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    if not isinstance(value, str) or value.strip() in {"", "None"}:
        raise ConfigurationError(
            f"{field}: {shown(value)} is not an id; check the template or the task that it comes from, "
            "or leave the argument out"
        )
    return value.strip()


def text_list(value: object, field: str) -> list[str]:
    """Give a list of texts.

    :param value: a list or tuple of texts. A single text is refused, since it is a list of letters to Python.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(
            f"{field}: {shown(value)} is not a list of texts; give a list (where a template renders it, the DAG needs "
            "render_template_as_native_obj=True)"
        )
    return list(value)


def setting(value: object, name: str, field: str | None = None) -> object:
    """Give the value of one of a source's settings.

    :param value: what was given.
    :param name: the setting, one of the keys of :data:`airflow_provider_cm.api.models.SETTABLE`.
    :param field: what to call it in an error; its name by default.
    :raises ConfigurationError: for what cannot be its value.
    """
    parsers = {"should_translate": boolean, "sensitive_properties": text_list, "bucket_id": identifier}
    return parsers.get(name, text)(value, field or name)


def choice(value: object, field: str, choices: Collection[str]) -> str:
    """Give one of a few words.

    :param value: the word.
    :param field: what to call it in an error.
    :param choices: the words to choose from.
    :raises ConfigurationError: for anything else.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigurationError(f"{field}: {shown(value)} is not one of {', '.join(choices)}")
    return value


def shown(value: object) -> str:
    """Give a value as a message can show it: its ``repr``, printable and short."""
    return printable(repr(value), 80)


class SourceAddress(NamedTuple):
    """Which source is meant: by its id, or by project and name.

    Not a dataclass, since each parse of a DAG file pays for making the class (benchmarks/parse_cost.py).

    :param source_id: the id, or ``None``.
    :param project: the project; empty with an id.
    :param source_name: the name; empty with an id.
    """

    source_id: str | None
    project: str = ""
    source_name: str = ""

    def __str__(self) -> str:
        return f"source id:{self.source_id}" if self.source_id else f"source {self.project}/{self.source_name}"


def source_address(project: object, source_name: object, source_id: object) -> SourceAddress:
    """Read an address from the three arguments that many operators have.

    :param project: with ``source_name``.
    :param source_name: with ``project``.
    :param source_id: instead of the two.
    :raises ConfigurationError: when neither or both are given, or a name breaks the API's rules.
    """
    by_name = project is not None or source_name is not None
    if source_id is not None and by_name:
        raise ConfigurationError("source_id: it was given together with project or source_name; give one or the other")
    if source_id is not None:
        return SourceAddress(check_source_id(identifier(source_id, "source_id")))
    if project is None or source_name is None:
        raise ConfigurationError("source_id, or project and source_name: give one of the two, to say which source")
    return SourceAddress(None, check_project(project), check_source_name(source_name))
