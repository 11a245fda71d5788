"""The API's rules for names and ids, so that a wrong one is refused before a request is spent.

The patterns are those of the vendor's schema of 2025; ids are as lenient as its command-line client takes them.
"""

from __future__ import annotations

import re

from airflow_provider_cm.api.errors import ConfigurationError, printable

_PROJECT = re.compile(r"[A-Za-z0-9_.-]{1,1024}")
_SOURCE = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ID = re.compile(r"[0-9A-Fa-f]{1,64}")
_IN_PROPERTY = r"\w~!@#$€£¥%^&*()+\-=\[\]{};'\\:\"|,./<?"
_PROPERTY = re.compile(rf"(?:number|string):\w(?:[{_IN_PROPERTY} ]{{0,62}}[{_IN_PROPERTY}])?")


def check_project(value: object, field: str = "project") -> str:
    """Return the project name back, or refuse it.

    :param value: letters, digits, hyphens, underscores and dots, at most 1024.
    :param field: what to call it in an error.
    :raises ConfigurationError: naming the field, the problem and the remedy.
    """
    name = _check(value, field, _PROJECT, "letters, digits, '-', '_' and '.', 1 to 1024 characters")
    if name in {".", ".."}:
        raise ConfigurationError(f"{field}: {name!r} is not a project name; give the name that the web interface shows")
    return name


def check_source_name(value: object, field: str = "source_name") -> str:
    """Return the source name back, or refuse it.

    :param value: letters, digits, hyphens and underscores, at most 256.
    :param field: what to call it in an error.
    :raises ConfigurationError: naming the field, the problem and the remedy.
    """
    return _check(value, field, _SOURCE, "letters, digits, '-' and '_', 1 to 256 characters")


def check_source_id(value: object, field: str = "source_id") -> str:
    """Return the id back, or refuse it.

    :param value: hexadecimal digits, such as ``18ba5ce699f8da1f``.
    :param field: what to call it in an error.
    :raises ConfigurationError: naming the field, the problem and the remedy.
    """
    return _check(value, field, _ID, "hexadecimal digits such as 18ba5ce699f8da1f, without 'id:'")


def check_property(value: object, field: str = "sensitive_properties") -> str:
    """Return the name of a user property back, or refuse it.

    :param value: the property's type and name, such as ``string:Sender`` or ``number:Priority``.
    :param field: what to call it in an error.
    :raises ConfigurationError: naming the field, the problem and the remedy.
    """
    rule = "string:<name> or number:<name>, such as string:Sender, with a name of 1 to 64 characters"
    return _check(value, field, _PROPERTY, rule)


def _check(value: object, field: str, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{field}: {value!r} is not text; use {rule}")
    if not pattern.fullmatch(value):
        length = f" ({len(value)} characters)" if len(value) > 64 else ""
        raise ConfigurationError(f"{field}: {printable(value, 64)!r}{length} is not allowed; use {rule}")
    return value
