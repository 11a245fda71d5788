"""Values of cells, as databases and files give them, made into what a message can hold."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_cm.loading.shapes import BadRowError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_NOTHING = frozenset({"NAType", "NaTType"})  # of pandas, which is not imported for it
_FIRST_YEAR = 1400


def plain(value: Any) -> Any:
    """Return a cell's value as Python has it; ``None`` for all that stands for no value.

    :param value: the cell's, NumPy's scalars and pandas' missing values included.
    """
    if value is None or type(value) is str:
        return value
    kind = type(value)
    if kind is int:
        return value
    if kind.__name__ in _NOTHING:
        return None
    if kind.__module__ == "numpy" and hasattr(value, "item"):
        value = value.tolist() if kind.__name__ == "ndarray" else value.item()  # an array is a list of addresses
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    return value


def as_text(value: Any, column: str) -> str:
    """Write a value as text.

    :param value: from :func:`plain`, not ``None``.
    :param column: for an error.
    :raises BadRowError: for what has no text of its own, such as bytes.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | UUID):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise BadRowError(
        f"column '{column}'",
        f"a {type(value).__name__} is not text",
        "make it text, number or time in the query",
        _STAGE,
    )


def as_identity(value: Any, column: str) -> str:
    """Write a value as part of an id, which must come out the same each time.

    :param value: from :func:`plain`, not ``None``.
    :param column: for an error.
    :raises BadRowError: for a float, whose digits depend on how the column was read.
    """
    if isinstance(value, float):
        raise BadRowError(
            f"column '{column}'",
            "a float makes no stable id (4711 may come as 4711.0 next time)",
            "make it an integer or text in the query",
            _STAGE,
        )
    return as_text(value, column)


def as_number(value: Any, column: str) -> int | float:
    """Return a value as a number of JSON.

    :param value: from :func:`plain`, not ``None``; text of a number is one.
    :param column: for an error.
    :raises BadRowError: for what is no number, or an infinite one.
    """
    number: int | float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str | Decimal):
        try:
            exact = Decimal(value)
            number = int(exact) if exact == exact.to_integral_value() and abs(exact) < 2**63 else float(exact)
        except (ArithmeticError, ValueError):
            number = None
    if number is None or not is_finite(number):
        problem = f"this {type(value).__name__} is no number" if number is None else "it is too large, or infinite"
        raise BadRowError(f"column '{column}'", problem, "use a finite number, or a string: property", _STAGE)
    return number


def is_finite(number: float) -> bool:
    """Return whether a number is finite, and no larger than the largest float.

    :param number: an integer of any size, or a float.
    """
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def as_moment(value: Any, column: str, zone: ZoneInfo | None) -> str:
    """Write a time in UTC, as ISO 8601.

    :param value: from :func:`plain`, not ``None``: a time, a day, or either as text of ISO 8601.
    :param column: for an error.
    :param zone: where times without an offset belong.
    :raises BadRowError: for what is no time, one before the year 1400, or one without an offset where no zone is given.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise BadRowError(
                f"column '{column}'", "this text is no time of ISO 8601", "use such as 2026-01-05T09:12:00Z", _STAGE
            ) from None
    elif isinstance(value, date) and not isinstance(value, datetime):
        moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001  # its zone is given below
    if not isinstance(moment, datetime):
        raise BadRowError(
            f"column '{column}'", f"a {type(value).__name__} is no time", "make it a time in the query", _STAGE
        )
    if moment.utcoffset() is None:
        if zone is None:
            raise BadRowError(
                f"column '{column}'", "the time has no offset from UTC", 'say "timezone" in the mapping', _STAGE
            )
        moment = moment.replace(tzinfo=zone)
    try:
        shown = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError:
        shown = None
    if shown is None or shown.year < _FIRST_YEAR:
        raise BadRowError(
            f"column '{column}'", f"the API takes no time before the year {_FIRST_YEAR}", "correct it", _STAGE
        )
    return shown.isoformat(timespec="microseconds" if shown.microsecond else "seconds")


def as_addresses(value: Any, column: str) -> list[str]:
    """Return the addresses that a value holds.

    :param value: from :func:`plain`, not ``None``: a list of texts, or one text, in which ``;`` separates addresses,
        and ``,`` too if each part has an ``@``.
    :param column: for an error.
    """
    if isinstance(value, list | tuple | set | frozenset):
        texts = [as_text(each, column) for each in map(plain, value) if each is not None]
        if isinstance(value, set | frozenset):
            texts.sort()  # its order is another one in the next process, which would make an update of each message
    else:
        texts = as_text(value, column).split(";")
        commas = [part for text in texts for part in text.split(",")]
        if all("@" in part for part in commas if part.strip()):
            texts = commas
    return [text.strip() for text in texts if text.strip()]


_STAGE = "mapping"
