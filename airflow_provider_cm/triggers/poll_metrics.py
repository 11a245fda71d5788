"""Metrics of the polls in a triggerer: how each one ended, how late it is, and how many waits and polls there are.

Sending a metric can block (a packet, a host name look-up), so it is done in threads.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.api.errors import CommsMiningError


class Level:
    """A number that goes up and down, of this process."""

    def __init__(self) -> None:
        self.number = self.peak = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one more until the context ends."""
        self.number += 1
        self.peak = max(self.peak, self.number)
        try:
            yield
        finally:
            self.number -= 1

    def take_peak(self) -> int:
        """Return the highest number since this was called last."""
        peak, self.peak = self.peak, self.number
        return peak


waits = Level()
"""Waits and watchers."""

loops = Level()
"""Poll loops; each serves one or more waits."""

queue = Level()
"""Polls that are due and wait for their turn, since their connection has enough requests in flight."""


class PollMetrics:
    """Sends the metrics of one poll loop."""

    def __init__(self) -> None:
        self._last_success = monotonic()

    def send(self, error: CommsMiningError | None, extra_pause: float) -> None:
        """Send how a poll ended; never raises.

        :param error: why the poll failed, if it did.
        :param extra_pause: seconds that the server asked to wait beyond the interval.
        """
        from airflow_provider_cm import metrics

        now = monotonic()
        metrics.poll(error, now - self._last_success)
        if error is None:
            self._last_success = now
        elif error.status == 429 and extra_pause > 0:
            metrics.rate_limit_wait(extra_pause)
        metrics.polling(waits=waits.number, loops=loops.number, queue=queue.take_peak())


def send_last() -> None:
    """Send the numbers when a connection is no longer polled, so that none stays above 0; never raises."""
    from airflow_provider_cm import metrics

    metrics.polling(waits=waits.number, loops=loops.number, queue=queue.number)
