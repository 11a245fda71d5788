"""A row that cannot be loaded, and the simplest reasons for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_cm.api.errors import printable


class BadRowError(Exception):
    """A row that cannot be loaded.

    :param where: the field or column.
    :param problem: what is wrong with its value, without the value.
    :param remedy: what to do.
    :param stage: ``mapping`` or ``validation``.
    """

    def __init__(self, where: str, problem: str, remedy: str, stage: str = "validation") -> None:
        super().__init__(where, problem, remedy, stage)
        self.where = where
        self.problem = problem
        self.remedy = remedy
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


def known_only(value: Mapping[str, Any], known: tuple[str, ...], within: str) -> None:
    """Refuse an object with a key that the API does not know."""
    for key in value:
        if key not in known:
            where = f"{within}{printable(str(key), 60)}"
            raise BadRowError(where, "the API knows no such field", f"use {', '.join(known)}")


def an_object(value: object, where: str) -> Mapping[str, Any]:
    """Return the value if it is an object."""
    if not isinstance(value, Mapping):
        raise BadRowError(where, f"a {type(value).__name__} is not an object", "see the API's comment object")
    return value


def a_list(value: object, where: str, most: int) -> list[Any]:
    """Return the value if it is a list of at most so many elements."""
    if not isinstance(value, list):
        raise BadRowError(where, f"a {type(value).__name__} is not a list", "use a list")
    if len(value) > most:
        raise BadRowError(where, f"it has {len(value)} elements, and the API takes {most}", "leave some out")
    return value


def a_text(value: object, where: str) -> str:
    """Return the value if it is text."""
    if not isinstance(value, str):
        problem = "there is none" if value is None else f"a {type(value).__name__} is not text"
        raise BadRowError(where, problem, "use text, or leave it out")
    return value


def sized_text(value: object, where: str, least: int, most: int) -> None:
    """Refuse what is not text of so many characters."""
    length = len(a_text(value, where))
    if length > most:
        raise BadRowError(where, f"it has {length:,} characters, and the API takes {most:,}", "cut it")
    if length < least:
        raise BadRowError(where, "it is empty", "leave it out, or give it a value")
