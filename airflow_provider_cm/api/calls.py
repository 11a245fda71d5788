"""One call of the API and how it ended."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_cm.api.errors import CommsMiningError

Check = Callable[[Mapping[str, Any], Mapping[str, str]], None]
"""Judges the JSON object and the headers of a success."""


class Verdict(enum.Enum):
    """What one exchange proves about its call."""

    OK = "ok"
    REFUSED = "refused"  # final: the same call would end the same way
    NOT_DONE = "not done"  # it was not carried out; a retry may help
    UNKNOWN = "unknown"  # a write may have been carried out


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, ready to be sent.

    :param method: HTTP method.
    :param url: absolute URL.
    :param path: path for messages.
    :param route: path with placeholders.
    :param body: JSON, encoded.
    :param safe: whether it only reads, and can therefore be repeated.
    :param permission: what the vendor's page says it needs.
    :param check: raises :class:`ProtocolError` for a success that is not an answer to this call.
    :param clear: takes what was sent out of what the server says of it.
    :param patience: seconds without a byte while the answer is read; ``None`` for the session's usual.
    """

    method: str
    url: str
    path: str
    route: str
    body: bytes | None = field(repr=False)
    safe: bool
    permission: str | None
    check: Check | None = field(default=None, repr=False)
    clear: Callable[[str], str] | None = field(default=None, repr=False)
    patience: float | None = None


@dataclass(slots=True)
class CallOutcome:
    """How a call ended.

    :param verdict: whether it was carried out.
    :param payload: the response's JSON object, for ``Verdict.OK``.
    :param error: the error, otherwise.
    :param status: HTTP status, ``None`` without a response.
    :param platform_ms: the platform's own time, in milliseconds.
    :param date: the server's clock when it answered, to the second.
    :param answered_at: the local monotonic clock when the response was complete.
    :param sent: how often the call was sent; requests for a token are not counted.
    """

    verdict: Verdict
    payload: dict[str, Any] = field(default_factory=dict, repr=False)  # a server may echo the token in it
    error: CommsMiningError | None = None
    status: int | None = None
    platform_ms: float | None = None
    date: datetime | None = None
    answered_at: float = 0.0
    sent: int = 0

    def unwrap(self) -> dict[str, Any]:
        """Return the payload, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.payload
