"""A few threads that work through what they are given, together, and stop together."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from airflow_provider_cm.api.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from airflow_provider_cm.api.retry import RetryPolicy

# When the caller is interrupted (a task that is killed), what is under way gets this long to end.
_PATIENCE = 5.0


class Crew:
    """Threads for any number of rounds of jobs; a context manager.

    Not ``concurrent.futures``: that has no way to let each thread close its own connections, and on an exception such
    as a task's timeout it would first work through all that is queued.

    :param size: how many threads.
    :param leave: called by each thread when it ends.
    """

    def __init__(self, size: int, leave: Callable[[], None]) -> None:
        if size < 1:
            raise ConfigurationError(f"max_workers: {size!r} is not a whole number of 1 or more")
        self._size = size
        self._leave = leave
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
        """End: at once if there was an error, what is not begun then is never done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        until = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(None if error is None else max(0.0, until - time.monotonic()))

    def run(
        self, jobs: Sequence[Callable[[], None]], *, every: float = 10.0, tell: Callable[[int], None] | None = None
    ) -> None:
        """Have jobs done, and wait for them.

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
            if tell is not None:
                tell(self._open)
        if self._errors:
            raise self._errors[0]

    def _wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0 or bool(self._errors), seconds)

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._jobs) or self._ended)
                    if self._ended:
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
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
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

    def wait(self) -> None:
        """Wait until it is open."""
        while (seconds := self.remaining()) > 0:
            self._policy.sleep(seconds)
