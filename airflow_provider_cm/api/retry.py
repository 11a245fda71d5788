"""Retries: how many attempts and how much time a call has, and how long it waits between attempts.

The vendor publishes no rate limits; ``Retry-After`` is obeyed where a server sends it (RFC 9110, section 10.2.3).
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.api.request_records import RetryWait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tenacity import RetryCallState

    from airflow_provider_cm.api.errors import CommsMiningError

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long a call is retried.

    :param max_attempts: how many attempts of one call may fail before it fails, the first included.
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
        :param retry_after: seconds from ``Retry-After``, which are used as they are.
        """
        if retry_after is not None:
            return retry_after
        # Full jitter, so that many tasks that failed together do not come back together. 2**n is capped before it
        # overflows a float.
        return random.uniform(0, min(self.cap, self.base * 2 ** min(failures - 1, 30)))  # noqa: S311  # not for secrets


class Budget:
    """The attempts and the time that one call has left; a write shares it with the reads that settle its outcome.

    :param policy: the policy that sets the limits.
    :param on_wait: called after each wait.
    :param deadline: when the time is over, by the policy's clock; ``None`` for the policy's time from now.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        on_wait: Callable[[RetryWait], None] | None = None,
        *,
        deadline: float | None = None,
    ) -> None:
        self.policy = policy
        self.on_wait = on_wait
        self.deadline = policy.clock() + policy.max_seconds if deadline is None else deadline
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
            self.on_wait(RetryWait(seconds, after.status, requested=after.retry_after is not None))
        except Exception as error:  # noqa: BLE001  # whatever it raises, the call goes on
            _log.debug("on_wait failed with %s; the call goes on", type(error).__name__)

    def linger(self, seconds: float) -> None:
        """Sleep before a second look; at most half of the time that is left, so that it can take place.

        :param seconds: how long.
        """
        self.policy.sleep(min(seconds, self.remaining() / 2))


def repeat(
    attempt: Callable[[], T],
    budget: Budget,
    failure: Callable[[T], CommsMiningError | None],
    message: str = "%s; trying again in %.1f s",
) -> T:
    """Repeat an attempt until it does not fail, or until the budget allows no other one.

    :param attempt: makes one attempt, and adds a failure to ``budget.failures``.
    :param budget: the attempts and the time that are left.
    :param failure: gives the error that another attempt may avoid, ``None`` for a final result.
    :param message: logged before each wait, with the error and the seconds.
    :return: the result of the last attempt, a failed one too.
    """
    import tenacity  # here, because configuring a retry policy must not import it

    strategies = _BudgetStrategies(budget, failure, message)
    result: T = tenacity.Retrying(
        retry=strategies.retry,
        wait=strategies.wait,
        stop=strategies.stop,
        sleep=strategies.sleep,
        retry_error_callback=_result,
    )(attempt)
    return result


class _BudgetStrategies(Generic[T]):
    """Tenacity's strategies for one call: wait as ``Retry-After`` or backoff says, stop when the budget is spent.

    Each failure is judged once, by whichever strategy tenacity asks first.
    """

    def __init__(self, budget: Budget, failure: Callable[[T], CommsMiningError | None], message: str) -> None:
        self._budget = budget
        self._failure = failure
        self._message = message
        self._attempt = 0
        self._error: CommsMiningError | None = None
        self._pause: float | None = None

    def retry(self, state: RetryCallState) -> bool:
        """Whether the attempt failed in a way that another one may avoid."""
        raised = state.outcome is not None and state.outcome.failed
        return not raised and self._failure(_result(state)) is not None

    def wait(self, state: RetryCallState) -> float:
        """Seconds to wait before the next attempt."""
        return self._judged(state) or 0.0

    def stop(self, state: RetryCallState) -> bool:
        """Whether there is no other attempt."""
        return self._judged(state) is None

    def sleep(self, seconds: float) -> None:
        """Wait, and log why."""
        _log.warning(self._message, self._error, seconds)
        self._budget.wait(seconds, self._error)

    def _judged(self, state: RetryCallState) -> float | None:
        if state.attempt_number != self._attempt:
            self._attempt = state.attempt_number
            self._error = self._failure(_result(state))
            self._pause = self._budget.pause(self._error.retry_after if self._error else None)
        return self._pause


def _result(state: RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None


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
    """Read an HTTP date such as ``Sun, 22 Nov 2026 00:43:00 GMT``, in UTC; ``None`` for any other text.

    :param value: the header's value.
    """
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, IndexError, AttributeError):
        return None  # the parser of the standard library trips over some texts in ways of its own
