"""A pool of threads that ends within seconds when its task is stopped."""

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

# After an error or a stop, running jobs get this many seconds to end. Airflow kills a task 5 seconds after the signal,
# and the report must be written by then.
_SECONDS_TO_END = 3.0
_STOP_CHECK_SECONDS = 0.1


class WorkerPool:
    """A context manager whose threads run any number of batches of jobs.

    ``concurrent.futures`` does not fit: its threads cannot close their own connections when they end, and after an
    exception, such as a task's timeout, it would finish the whole queue first.

    :param size: the number of threads.
    :param on_thread_end: called by each thread when it ends.
    :param stop: once it is set, the pool no longer waits for its jobs; a job that starts later must check it itself.
    """

    def __init__(self, size: int, on_thread_end: Callable[[], None], stop: threading.Event | None = None) -> None:
        if size < 1:
            raise ConfigurationError(f"max_workers: {size!r} is not a whole number of 1 or more")
        self._size = size
        self._on_thread_end = on_thread_end
        self._stop = stop
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._open = 0
        self._ended = False
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Return the pool; :meth:`run` starts the threads."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads: within seconds after an error or a stop. Jobs still in the queue are dropped."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        end = time.monotonic() + _SECONDS_TO_END
        hurry = error is not None or self._stopped()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()) if hurry else None)

    def run(
        self,
        jobs: Sequence[Callable[[], None]],
        *,
        progress_seconds: float = 10.0,
        on_progress: Callable[[], None] | None = None,
    ) -> None:
        """Run jobs and wait for them; after a stop, return without the jobs that have not started.

        :param jobs: the jobs. An exception of a job ends the batch and is raised here.
        :param progress_seconds: seconds between two calls of ``on_progress``, 10 by default.
        :param on_progress: called again and again while jobs run; nothing by default.
        """
        with self._changed:
            self._jobs.extend(jobs)
            self._open += len(jobs)
            self._changed.notify_all()
        for _ in range(len(self._threads), min(self._size, len(jobs))):
            # In the caller's context, so that Airflow attributes its log lines to the same task.
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(self._work,), name="rollout", daemon=True)
            self._threads.append(thread)
            thread.start()
        while not self._wait(progress_seconds):
            if self._stopped():
                break
            if on_progress is not None:
                on_progress()
        if self._errors:
            raise self._errors[0]

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _wait(self, seconds: float) -> bool:
        """Wait until all jobs have ended, at most so many seconds; return early after a stop."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            with self._changed:
                slot = left if self._stop is None else min(left, _STOP_CHECK_SECONDS)
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
                except BaseException as error:  # noqa: BLE001  # run raises it again in the caller's thread
                    self._errors.append(error)
                finally:
                    with self._changed:
                        self._open -= 1
                        if self._open == 0 or self._errors:
                            self._changed.notify_all()
        finally:
            self._on_thread_end()
