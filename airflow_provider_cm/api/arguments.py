"""Strict parsers for arguments, which people type or templates render.

A template gives text: a ``"False"`` must not count as true because it is not empty, nor a ``"None"`` as somebody's id.
An argument that is left out differs from one that a template rendered to nothing: the second is an error.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_project, check_property, check_source_id, check_source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class NotGiven(Enum):
    """The type of :data:`NOT_GIVEN`; an enumeration, since its member stays the same object when a task is copied."""

    NOT_GIVEN = "not given"

    def __bool__(self) -> Literal[False]:
        return False  # Airflow renders no template field that is false

    def __str__(self) -> str:
        return "(not given)"

    __repr__ = __str__


NOT_GIVEN = NotGiven.NOT_GIVEN
"""The default of an optional argument. ``None`` is not used for that: a template or a missing XCom may render it."""

NOTHING = ("None", "NOTSET")
"""The texts that Jinja renders for ``None``, and Airflow for an XCom that does not exist."""


def boolean(value: object, field: str) -> bool:
    """Return ``True`` or ``False``.

    :param value: a bool, or the text ``True`` or ``False`` in any case.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value = given(value, field)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise ConfigurationError(f"{field}: {excerpt(value)} is neither true nor false; use True or False")


def integer(value: object, field: str, *, minimum: int) -> int:
    """Return a whole number.

    :param value: an int, or its digits as text.
    :param field: the argument's name in an error.
    :param minimum: the smallest that makes sense.
    :raises ConfigurationError: for anything else.
    """
    value, number = given(value, field), None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        number = int(value.strip()[:18])
    if number is None or number < minimum:
        raise ConfigurationError(f"{field}: {excerpt(value)} is not a whole number of {minimum} or more")
    return number


def seconds(value: object, field: str) -> float:
    """Return a time in seconds.

    :param value: a number above 0, or its text.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value, number = given(value, field), math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 < number < math.inf:
        raise ConfigurationError(f"{field}: {excerpt(value)} is not a number of seconds above 0")
    return number


def given(value: object, field: str) -> object:
    """Return a value back; it is an error if a template or a task rendered nothing.

    :param value: the argument.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for ``None``, and for what stands for an XCom that is not there.
    """
    if value is None or type(value).__name__ == "ArgNotSet":
        raise ConfigurationError(
            f"{field}: it was given, but there is no value ({value}); check the template or the task that it comes "
            "from, or leave the argument out"
        )
    return value


def text(value: object, field: str) -> str:
    """Return a text; anything else is an error.

    :param value: the argument. ``None`` as text is what a template renders where there is no value, so it is refused;
        in a DAG, Airflow's ``literal("None")`` stands for the word.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value = given(value, field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ConfigurationError(
            f"{field}: {excerpt(value)} is not text but a number; put it in quotes. If a template rendered it, "
            "render_template_as_native_obj made the text a number: pass the other task's output instead of a template"
        )
    if not isinstance(value, str):
        raise ConfigurationError(f"{field}: {excerpt(value)} is not text; put it in quotes, or leave it out")
    if value in NOTHING:
        raise ConfigurationError(
            f"{field}: '{value}' is what a template renders where there is no value; check the template, leave the "
            f"argument out, or write literal('{value}') if the word is meant"
        )
    return value


def filled_text(value: object, field: str) -> str:
    """Return a text that is not empty; parameters and errors as for :func:`text`."""
    checked = text(value, field)
    if not checked.strip():
        raise ConfigurationError(f"{field}: it is empty; check the template that it comes from, or leave it out")
    return checked


def project(value: object, field: str = "project") -> str:
    """Return a project's name, by the API's rules; parameters and errors as for :func:`text`."""
    return check_project(filled_text(value, field), field)


def source_name(value: object, field: str = "source_name") -> str:
    """Return a source's name, by the API's rules; parameters and errors as for :func:`text`."""
    return check_source_name(filled_text(value, field), field)


def identifier(value: object, field: str) -> str:
    """Return the text of an id that another task computed.

    :param value: text; not empty, and not the ``None`` that a template renders where there is no value. An integer is
        an id of nothing but digits that ``render_template_as_native_obj`` made a number.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value = given(value, field)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        value = str(value)
    if isinstance(value, float):
        raise ConfigurationError(
            f"{field}: {excerpt(value)} is a number and no longer the id: render_template_as_native_obj converts an id "
            "such as 12e4567890123456; pass the other task's output instead of a template"
        )
    if not isinstance(value, str) or not value.strip() or value.strip() in NOTHING:
        raise ConfigurationError(
            f"{field}: {excerpt(value)} is not an id; check the template or the task that it comes from, "
            "or leave the argument out"
        )
    return value.strip()


def text_list(value: object, field: str) -> list[str]:
    """Return a list of texts.

    :param value: a list or tuple of texts. A single text is refused, since it is a list of letters to Python.
    :param field: the argument's name in an error.
    :raises ConfigurationError: for anything else.
    """
    value = given(value, field)
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(
            f"{field}: {excerpt(value)} is not a list of texts; give a list (if a template renders it, the DAG needs "
            "render_template_as_native_obj=True)"
        )
    return list(value)


def property_list(value: object, field: str) -> list[str]:
    """Return a list of names of user properties, such as ``["string:Sender"]``; as for :func:`text_list`."""
    return [check_property(name, field) for name in text_list(value, field)]


def setting(value: object, name: str, field: str | None = None) -> object:
    """Return the value of one of a source's settings.

    :param value: the argument.
    :param name: the setting, one of the keys of :data:`airflow_provider_cm.api.source_fields.SETTABLE`.
    :param field: the argument's name in an error; by default the setting's name.
    :raises ConfigurationError: for what cannot be its value.
    """
    return _SETTINGS.get(name, filled_text)(value, field or name)


_SETTINGS = {
    "title": text,
    "description": text,
    "should_translate": boolean,
    "sensitive_properties": property_list,
    "bucket_id": identifier,
}


def choice(value: object, field: str, choices: Collection[str]) -> str:
    """Return one of a few words.

    :param value: the word.
    :param field: the argument's name in an error.
    :param choices: the words to choose from.
    :raises ConfigurationError: for anything else.
    """
    value = given(value, field)
    if not isinstance(value, str) or value not in choices:
        raise ConfigurationError(f"{field}: {excerpt(value)} is not one of {', '.join(choices)}")
    return value


def one_of(choices: Collection[str]) -> Callable[[object, str], str]:
    """Return a parser for :func:`choice`.

    :param choices: the words to choose from.
    """
    return lambda value, field: choice(value, field, choices)


def excerpt(value: object) -> str:
    """Return a value's ``repr`` for a message, printable and short."""
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


def source_address(project_name: object, name: object, source_id: object) -> SourceAddress:
    """Read an address from the three arguments ``project``, ``source_name`` and ``source_id`` of many operators.

    :param project_name: ``project``, with ``source_name``; :data:`NOT_GIVEN` for none.
    :param name: ``source_name``, with ``project``; :data:`NOT_GIVEN` for none.
    :param source_id: instead of the two; :data:`NOT_GIVEN` for none.
    :raises ConfigurationError: when neither or both are given, or a name breaks the API's rules.
    """
    by_name = project_name is not NOT_GIVEN or name is not NOT_GIVEN
    if source_id is not NOT_GIVEN and by_name:
        raise ConfigurationError("source_id: it was given together with project or source_name; give one or the other")
    if source_id is not NOT_GIVEN:
        return SourceAddress(check_source_id(identifier(source_id, "source_id")))
    if project_name is NOT_GIVEN or name is NOT_GIVEN:
        raise ConfigurationError("source_id, or project and source_name: give one of the two, to say which source")
    return SourceAddress(None, project(project_name), source_name(name))
