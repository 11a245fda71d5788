"""Errors on their way from the triggerer to the worker: as JSON in the trigger's event, and the same again there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_cm.api import errors
from airflow_provider_cm.api.errors import CommsMiningError, TokenError

_KINDS: dict[object, type[CommsMiningError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CommsMiningError)
}
_FACTS = ("transient", "method", "path", "status", "api_message", "attempts", "platform_ms", "retry_after")


def error_to_json(error: CommsMiningError) -> dict[str, Any]:
    """Describe an error, so that another process can raise the same.

    :param error: the error.
    :return: a JSON object.
    """
    kind = next(each.__name__ for each in type(error).__mro__ if each.__name__ in _KINDS)
    told = {"type": kind, "message": error.args[0]} | {name: getattr(error, name) for name in _FACTS}
    return told | {"error": error.error} if isinstance(error, TokenError) else told


def error_from_json(told: object) -> CommsMiningError | None:
    """Make the error that :func:`error_to_json` described.

    :param told: its result.
    :return: the error, or ``None`` if this describes none.
    """
    if not isinstance(told, Mapping):
        return None
    facts = dict(told)
    kind, message = _KINDS.get(facts.pop("type", None)), facts.pop("message", None)
    if kind is None or not isinstance(message, str):
        return None
    try:
        return kind(message, **facts)
    except TypeError:
        return None
