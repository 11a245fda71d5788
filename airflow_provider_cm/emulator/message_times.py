"""Times of messages: read from whatever the contract lets a request hold, kept as microseconds since 1970 in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ISO = re.compile(
    r"\+?(?P<year>\d{4})"
    r"(?:-?W(?P<week>\d{2})(?:-?(?P<weekday>\d))?|-(?P<ordinal>\d{3})(?!\d)|(?P<compact_ordinal>\d{3})(?!\d)"
    r"|-?(?P<month>\d{2})(?:-?(?P<day>\d{2}))?)?"
    r"(?:[T\s](?:(?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2}))?)?(?P<fraction>[.,]\d+)?)?"
    r"(?:(?P<utc>[zZ])|(?P<sign>[+-])(?P<zone_hours>\d{2}):?(?P<zone_minutes>\d{2})?)?)?\n?"
)


def microseconds(moment: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(value: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=value)


def is_naive(text: str) -> bool:
    """Return whether a valid time names no offset from UTC."""
    matches = _ISO.fullmatch(text)
    return matches is not None and matches["utc"] is None and matches["sign"] is None


def read_time(text: str) -> int:
    """
    Read an ISO 8601 time; one without an offset is UTC.

    :return: microseconds since 1970.
    :raises ValueError: it is no time, such as the 30th of February.
    """
    # Python's own reader is fast, but takes the half minute of 10:30.5 for half a second.
    usual = text[13:14] == text[16:17] == ":"
    try:
        moment = datetime.fromisoformat(text) if usual else _read_any(text)
    except ValueError:
        moment = _read_any(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return microseconds(moment)


def _read_any(text: str) -> datetime:
    """Read what the contract allows: months, weeks, ordinal days, hour 24, fractions of hours and minutes."""
    matches = _ISO.fullmatch(text)
    if matches is None:
        raise ValueError(text)
    year = int(matches["year"])
    ordinal = matches["ordinal"] or matches["compact_ordinal"]
    if matches["week"]:
        day = datetime.fromisocalendar(year, int(matches["week"]), int(matches["weekday"] or 1))
    elif ordinal:
        day = datetime(year, 1, 1) + timedelta(days=int(ordinal) - 1)  # noqa: DTZ001  the offset follows
        if day.year != year:
            raise ValueError(text)
    else:
        day = datetime(year, int(matches["month"] or 1), int(matches["day"] or 1))  # noqa: DTZ001  the offset follows
    hour, minute, second = (int(matches[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 24 or minute > 59 or second > 59:
        raise ValueError(text)
    moment = day + timedelta(hours=hour, minutes=minute, seconds=second)
    if matches["fraction"]:
        unit = "seconds" if matches["second"] else "minutes" if matches["minute"] else "hours"
        moment += timedelta(**{unit: float("0." + matches["fraction"][1:])})
    if matches["sign"]:
        offset = timedelta(hours=int(matches["zone_hours"]), minutes=int(matches["zone_minutes"] or 0))
        return moment.replace(tzinfo=timezone(-offset if matches["sign"] == "-" else offset))
    return moment.replace(tzinfo=UTC)
