"""A few threads that work through what they are given, together, and stop together."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.api.retry import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from airflow_provider_cm.api.errors import CommsMiningError
    from airflow_provider_cm.api.request_records import RetryWait
    from airflow_provider_cm.api.retry import RetryPolicy

# When the caller is interrupted or asked to stop, what is under way gets this long to end. Airflow kills a task
# 5 seconds after it asked it to end, and the report has to be written by then.
_PATIENCE = 3.0
# How often those who wait look whether they are to stop.
_LOOK = 0.1


class WorkerPool:
    """Threads for any number of rounds of jobs; a context manager.

    Not ``concurrent.futures``: that has no way to let each thread close its own connections, and on an exception such
    as a task's timeout it would first work through all that is queued.

    :param size: how many threads.
    :param leave: called by each thread when it ends.
    :param stop: once it is set, nobody waits for the rest; a job that is begun then is to know of it itself.
    """

    def __init__(self, size: int, leave: Callable[[], None], stop: threading.Event | None = None) -> None:
        if size < 1:
            raise ConfigurationError(f"max_workers: {size!r} is not a whole number of 1 or more")
        self._size = size
        self._leave = leave
        self._stop = stop
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._open = 0
        self._ended = False
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Begin; threads are started as they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End: at once if there was an error or a stop, and what is not begun then is never done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        until = time.monotonic() + _PATIENCE
        hurry = error is not None or self._stopped()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()) if hurry else None)

    def run(
        self, jobs: Sequence[Callable[[], None]], *, every: float = 10.0, tell: Callable[[int], None] | None = None
    ) -> None:
        """Have jobs done, and wait for them; after a stop, return without those that were not begun.

        :param jobs: what to do; a job is to handle its own errors, and one that doesn't ends the round.
        :param every: seconds between two calls of ``tell``.
        :param tell: called with the number of jobs that are not done yet, while waiting.
        """
        with self._changed:
            self._jobs.extend(jobs)
            self._open += len(jobs)
            self._changed.notify_all()
        for _ in range(len(self._threads), min(self._size, len(jobs))):
            # In the caller's context, so that what it logs is known to be of the same task.
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(self._work,), name="rollout", daemon=True)
            self._threads.append(thread)
            thread.start()
        while not self._wait(every):
            if self._stopped():
                break
            if tell is not None:
                tell(self._open)
        if self._errors:
            raise self._errors[0]

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _wait(self, seconds: float) -> bool:
        """Wait until all is done, for a time; a stop is noticed early."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            with self._changed:
                slot = left if self._stop is None else min(left, _LOOK)
                if self._changed.wait_for(lambda: self._open == 0 or bool(self._errors), slot):
                    return True
            if self._stopped() or left <= 0:
                return False

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._jobs) or self._ended)
                    if self._ended or self._errors:
                        return
                    job = self._jobs.popleft()
                try:
                    job()
                except BaseException as error:  # noqa: BLE001  # raised again by run, in the caller's thread
                    self._errors.append(error)
                finally:
                    with self._changed:
                        self._open -= 1
                        if self._open == 0 or self._errors:
                            self._changed.notify_all()
        finally:
            self._leave()


class Gate:
    """Where everybody waits when the server asks for it.

    :param policy: whose clock and sleep to use.
    :param stop: once it is set, nobody waits any more.
    """

    def __init__(self, policy: RetryPolicy, stop: threading.Event | None = None) -> None:
        self._policy = policy
        self._stop = stop
        self._lock = threading.Lock()
        self._until = policy.clock()

    def hold(self, seconds: float) -> None:
        """Close the gate for a time; one that is closed for longer stays so.

        :param seconds: how long, from now.
        """
        with self._lock:
            self._until = max(self._until, self._policy.clock() + seconds)

    def remaining(self) -> float:
        """Seconds until it opens, 0 when it is open."""
        with self._lock:
            return max(0.0, self._until - self._policy.clock())

    def stopped(self) -> bool:
        """Whether nobody is to wait any more."""
        return self._stop is not None and self._stop.is_set()

    def wait(self) -> None:
        """Wait until it is open."""
        while (seconds := self.remaining()) > 0 and not self.stopped():
            self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep, or less if there is a stop.

        :param seconds: how long.
        """
        slot = seconds if self._stop is None else _LOOK
        while seconds > 0 and not self.stopped():
            self._policy.sleep(min(seconds, slot))
            seconds -= slot


class SharedBudget(Budget):
    """What one call has left, where a wait that the server asks one call for is everybody's.

    :param policy: the policy to spend.
    :param on_wait: told of each wait when it is over.
    :param gate: where all calls wait.
    """

    def __init__(self, policy: RetryPolicy, on_wait: Callable[[RetryWait], None] | None, gate: Gate) -> None:
        super().__init__(policy, on_wait)
        self._gate = gate

    def pause(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next attempt, the gate included; ``None`` when it would come too late."""
        if retry_after is not None and retry_after < self.policy.max_seconds:
            self._gate.hold(retry_after)
        seconds = None if self._gate.stopped() else super().pause(retry_after)
        if seconds is None:
            return None
        seconds = max(seconds, self._gate.remaining())
        return seconds if seconds < self.remaining() else None

    def wait(self, seconds: float, after: CommsMiningError | None) -> None:
        """Wait for the gate, too, which may have been closed anew; never beyond the deadline.

        :param seconds: how long, from :meth:`pause`.
        :param after: the failure that is the reason.
        """
        super().wait(seconds, after)
        while 0 < (more := self._gate.remaining()) < self.remaining() and not self._gate.stopped():
            super().wait(more, after)
