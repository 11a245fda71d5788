"""One pause for all calls of an apply when the server limits the rate of requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from airflow_provider_cm.api.retry import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.api.errors import CommsMiningError
    from airflow_provider_cm.api.request_records import RetryWait
    from airflow_provider_cm.api.retry import RetryPolicy

_STOP_CHECK_SECONDS = 0.1


class RateLimitPause:
    """The pause of all calls after the server has asked one of them to wait (``Retry-After``).

    :param policy: provides the clock and the sleep.
    :param stop: once it is set, no call waits any more.
    """

    def __init__(self, policy: RetryPolicy, stop: threading.Event | None = None) -> None:
        self._policy = policy
        self._stop = stop
        self._lock = threading.Lock()
        self._until = policy.clock()

    def begin(self, seconds: float) -> None:
        """Pause all calls; a longer pause that has begun already stays.

        :param seconds: the length of the pause, from now.
        """
        with self._lock:
            self._until = max(self._until, self._policy.clock() + seconds)

    def remaining(self) -> float:
        """Return the seconds until the pause ends; 0 when there is none."""
        with self._lock:
            return max(0.0, self._until - self._policy.clock())

    def stopped(self) -> bool:
        """Whether calls no longer wait, since the task was stopped."""
        return self._stop is not None and self._stop.is_set()

    def wait(self) -> None:
        """Wait until the pause is over."""
        while (seconds := self.remaining()) > 0 and not self.stopped():
            self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep; a stop ends it early.

        :param seconds: how long to sleep.
        """
        slot = seconds if self._stop is None else _STOP_CHECK_SECONDS
        while seconds > 0 and not self.stopped():
            self._policy.sleep(min(seconds, slot))
            seconds -= slot


class SharedPauseBudget(Budget):
    """The attempts and seconds that one call has left; a ``Retry-After`` pauses all calls.

    :param policy: the retry policy.
    :param on_wait: called after each wait.
    :param shared: the pause of all calls.
    """

    def __init__(
        self, policy: RetryPolicy, on_wait: Callable[[RetryWait], None] | None, shared: RateLimitPause
    ) -> None:
        super().__init__(policy, on_wait)
        self._shared = shared

    def pause(self, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait before the next attempt; ``None`` when it would come too late.

        :param retry_after: seconds that the server asked for, if it did.
        """
        if retry_after is not None and retry_after < self.policy.max_seconds:
            self._shared.begin(retry_after)
        seconds = None if self._shared.stopped() else super().pause(retry_after)
        if seconds is None:
            return None
        seconds = max(seconds, self._shared.remaining())
        return seconds if seconds < self.remaining() else None

    def wait(self, seconds: float, after: CommsMiningError | None) -> None:
        """Wait, and then as long as another call's pause lasts; never beyond the deadline.

        :param seconds: how long to wait, from :meth:`pause`.
        :param after: the failure that is the reason.
        """
        super().wait(seconds, after)
        while 0 < (more := self._shared.remaining()) < self.remaining() and not self._shared.stopped():
            super().wait(more, after)
