"""How the arguments of waits are parsed; a DAG file imports this, so it imports little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError

UNTIL = ("exists", "absent", "updated", "has_messages")
"""What can be waited for."""

_MAY_BE_NOTHING = {"bucket_id", "email_transform_tag"}


def moment(value: object, field: str) -> datetime:
    """Read a moment.

    :param value: a datetime, or its text in ISO 8601; UTC unless it says otherwise.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    from airflow_provider_cm.api.models import parse_timestamp

    value = arguments.given(value, field)
    parsed = parse_timestamp(value.isoformat() if isinstance(value, datetime) else value)
    if parsed is None:
        raise ConfigurationError(
            f"{field}: {arguments.shown(value)} is not a moment such as 2026-11-22T08:06:14.944290+00:00"
        )
    return parsed


def match(value: object, field: str) -> Mapping[str, object]:
    """Read values that a source must have.

    :param value: a mapping of fields to values.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else, for a field that a source does not have, and for a value that the
        field cannot have.
    """
    from airflow_provider_cm.api.source_fields import SETTABLE

    value = arguments.given(value, field)
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{field}: {arguments.shown(value)} is not a mapping of fields to values")
    parsed: dict[str, object] = {}
    for name, wanted in value.items():
        if name not in SETTABLE:
            raise ConfigurationError(
                f"{field}: a source has no field {arguments.shown(name)}; use {', '.join(SETTABLE)}"
            )
        # A template renders text, and a "True" that is compared with true would be waited for in vain.
        nothing = wanted is None and name in _MAY_BE_NOTHING
        parsed[name] = None if nothing else arguments.setting(wanted, name, f"{field}: {name}")
    return parsed


def count(value: object, field: str) -> int:
    """Read a number of messages, or of failures.

    :param value: a whole number of 1 or more, or its text.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    return arguments.integer(value, field, minimum=1)


def failure_seconds(value: object, field: str) -> float:
    """Read for how long failed polls are tolerated.

    :param value: seconds, 0 or more, or its text.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    return 0.0 if value in (0, "0") and not isinstance(value, bool) else arguments.seconds(value, field)


def check_together(until: str, *, updated_after: bool, match: bool, min_messages: bool, watching: bool = False) -> None:
    """Refuse arguments that say nothing to what is waited for, or that it lacks.

    :param until: one of :data:`UNTIL`.
    :param updated_after: whether it is given.
    :param match: whether it is given.
    :param min_messages: whether it is other than 1.
    :param watching: an asset watcher's, for which ``updated`` needs no moment to compare with.
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
            raise ConfigurationError(f"{name}: it says nothing to until='{until}'; leave it out{remedy}")
