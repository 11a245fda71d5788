"""What a call may spend: attempts and time, and how it waits between attempts.

The vendor publishes no rate limits; ``Retry-After`` is obeyed where a server sends it (RFC 9110, section 10.2.3).
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.api.request_records import RetryWait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_cm.api.errors import CommsMiningError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long a call is tried.

    :param max_attempts: how many exchanges of one call may fail before it fails, the first included.
    :param max_seconds: time for the whole call, waits and reading back included.
    :param base: upper end of the first wait in seconds; it doubles with each failure (full jitter: each wait is drawn
        between 0 and that end).
    :param cap: the longest such wait in seconds. A server's ``Retry-After`` is obeyed beyond it, as far as
        ``max_seconds`` reaches.
    :param sleep: how to wait; for tests.
    :param clock: a monotonic clock in seconds; for tests.
    """

    max_attempts: int = 5
    max_seconds: float = 300
    base: float = 1.0
    cap: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts: {self.max_attempts} is too small; use 1 for no retry")
        if not 0 < self.max_seconds < float("inf"):
            raise ConfigurationError(f"max_seconds: {self.max_seconds} is not a time; use a number of seconds above 0")

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after so many failures.

        :param failures: failures of this call so far, 1 after the first.
        :param retry_after: what the server asked for, in seconds; it is obeyed as it is.
        """
        if retry_after is not None:
            return retry_after
        # Full jitter, so that many tasks that failed together do not come back together. 2**n is capped before it
        # overflows a float.
        return random.uniform(0, min(self.cap, self.base * 2 ** min(failures - 1, 30)))  # noqa: S311  # not for secrets


class Budget:
    """What one call has left of its policy; shared by a write and the reads that settle its outcome.

    :param policy: the policy to spend.
    :param on_wait: told of each wait when it is over.
    """

    def __init__(self, policy: RetryPolicy, on_wait: Callable[[RetryWait], None] | None = None) -> None:
        self.policy = policy
        self.on_wait = on_wait
        self.deadline = policy.clock() + policy.max_seconds
        self.failures = 0

    def remaining(self) -> float:
        """Seconds until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - self.policy.clock())

    def pause(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next attempt, or ``None`` when no attempt is left or would come too late."""
        if self.failures >= self.policy.max_attempts:
            return None
        delay = self.policy.delay(self.failures, retry_after)
        return delay if delay < self.remaining() else None

    def wait(self, seconds: float, after: CommsMiningError | None) -> None:
        """Sleep.

        :param seconds: how long, from :meth:`pause`.
        :param after: the failure that is the reason.
        """
        self.policy.sleep(seconds)
        if self.on_wait is None or after is None:
            return
        try:
            self.on_wait(RetryWait(seconds, after.status, told=after.retry_after is not None))
        except Exception as error:  # noqa: BLE001  # whatever it raises, the call goes on
            _log.debug("on_wait failed with %s; the call goes on", type(error).__name__)

    def linger(self, seconds: float) -> None:
        """Sleep before a second look; at most half of the time that is left, so that it can take place.

        :param seconds: how long.
        """
        self.policy.sleep(min(seconds, self.remaining() / 2))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``, in either of its forms, as seconds from now.

    A date is compared with the server's own ``Date``, since clocks differ.

    :param headers: response headers, with case-insensitive look-up.
    """
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    moment = parse_http_date(value)
    if moment is None:
        return None
    now = parse_http_date(headers.get("Date")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def parse_http_date(value: str | None) -> datetime | None:
    """Read an HTTP date such as ``Sun, 22 Nov 2026 00:43:00 GMT``, in UTC; ``None`` for what is none.

    :param value: the header's value.
    """
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, IndexError, AttributeError):
        return None  # the parser of the standard library trips over some texts in ways of its own
