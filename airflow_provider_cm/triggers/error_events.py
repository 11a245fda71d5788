"""Errors as JSON in trigger events, so that the worker can raise the error of the triggerer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_cm.api import errors
from airflow_provider_cm.api.errors import CommsMiningError, TokenError

_KINDS: dict[object, type[CommsMiningError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CommsMiningError)
}
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_FACTS = ("transient", "method", "path", "status", "api_message", "attempts", "platform_ms", "retry_after")


def error_to_json(error: CommsMiningError) -> dict[str, Any]:
    """Return an error as JSON, from which another process can make it again.

    :param error: the error.
    :return: a JSON object that every database of Airflow can store.
    """
    kind = next(each.__name__ for each in type(error).__mro__ if each.__name__ in _KINDS)
    described = {"type": kind, "message": error.args[0]} | {name: getattr(error, name) for name in _FACTS}
    if isinstance(error, TokenError):
        described["error"] = error.error
    return {name: storable(value) for name, value in described.items()}


def storable(value: Any) -> Any:
    """Return a value that every database of Airflow can store in JSON; another one would crash the triggerer.

    :param value: a text, in which NUL and half of a surrogate pair become U+FFFD; or a number, which becomes ``None``
        if it is not finite, or an integer beyond 64 bits.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and (not isinstance(value, int) or -(2**63) <= value < 2**63) else None


def error_from_json(described: object) -> CommsMiningError | None:
    """Return the error that :func:`error_to_json` has described.

    :param described: the JSON object.
    :return: the error, or ``None`` if the object describes none.
    """
    if not isinstance(described, Mapping):
        return None
    facts = dict(described)
    kind, message = _KINDS.get(facts.pop("type", None)), facts.pop("message", None)
    if kind is None or not isinstance(message, str):
        return None
    try:
        return kind(message, **facts)
    except TypeError:
        return None
