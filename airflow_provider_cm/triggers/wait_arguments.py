"""Parsers of the arguments of waits. DAG files import this module, so it must import little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError

UNTIL = ("exists", "absent", "updated", "has_messages")
"""The kinds of conditions."""

_MAY_BE_NOTHING = {"bucket_id", "email_transform_tag"}


def moment(value: object, field: str) -> datetime:
    """Parse a moment.

    :param value: a datetime, or its text in ISO 8601; without a time zone it is in UTC.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    from airflow_provider_cm.api.models import parse_timestamp

    value = arguments.given(value, field)
    parsed = parse_timestamp(value.isoformat() if isinstance(value, datetime) else value)
    if parsed is None:
        raise ConfigurationError(
            f"{field}: {arguments.excerpt(value)} is not a moment such as 2026-11-22T08:06:14.944290+00:00"
        )
    return parsed


def match(value: object, field: str) -> Mapping[str, object]:
    """Parse the values that a source must have.

    :param value: a mapping of fields to values.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else, for a field that a source does not have, and for a value that the
        field cannot have.
    """
    from airflow_provider_cm.api.source_fields import SETTABLE

    value = arguments.given(value, field)
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{field}: {arguments.excerpt(value)} is not a mapping of fields to values")
    parsed: dict[str, object] = {}
    for name, wanted in value.items():
        if name not in SETTABLE:
            raise ConfigurationError(
                f"{field}: a source has no field {arguments.excerpt(name)}; use {', '.join(SETTABLE)}"
            )
        # A template renders text, and a "True" that is compared with true would be waited for in vain.
        nothing = wanted is None and name in _MAY_BE_NOTHING
        parsed[name] = None if nothing else arguments.setting(wanted, name, f"{field}: {name}")
    return parsed


def count(value: object, field: str) -> int:
    """Parse a number of messages or of failures.

    :param value: a whole number of 1 or more, or its text.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    return arguments.integer(value, field, minimum=1)


def failure_seconds(value: object, field: str) -> float:
    """Parse the number of seconds for which failed polls are tolerated.

    :param value: seconds, 0 or more, or its text.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    return 0.0 if value in (0, "0") and not isinstance(value, bool) else arguments.seconds(value, field)


def check_together(until: str, *, updated_after: bool, match: bool, min_messages: bool, watching: bool = False) -> None:
    """Refuse arguments that the condition does not use, and a condition without an argument that it needs.

    :param until: one of :data:`UNTIL`.
    :param updated_after: whether ``updated_after`` was given.
    :param match: whether ``match`` was given.
    :param min_messages: whether ``min_messages`` is other than 1.
    :param watching: whether an asset watcher asks, for which ``updated`` needs no moment to compare with.
    :raises ConfigurationError: naming the argument, the problem and the remedy.
    """
    if until == "updated" and not updated_after and not watching:
        raise ConfigurationError(
            "updated_after: until='updated' needs it; give a moment, such as the `updated_at` that the task before "
            "returned"
        )
    unused = {
        "updated_after": (updated_after and until != "updated", ", or use 'updated'"),
        "match": (match and until in {"absent", "has_messages"}, ""),
        "min_messages": (min_messages and until != "has_messages", ", or use 'has_messages'"),
    }
    for name, (is_unused, remedy) in unused.items():
        if is_unused:
            raise ConfigurationError(f"{name}: until='{until}' does not use it; leave it out{remedy}")
