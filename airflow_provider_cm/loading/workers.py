"""Threads that send batches, while the thread of the load makes the next one."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_cm.loading.sending import Sent

if TYPE_CHECKING:
    from airflow_provider_cm.loading.batches import Batch
    from airflow_provider_cm.loading.message import Message
    from airflow_provider_cm.loading.sending import Sender

_HEAD_START = 0.002


@dataclass(slots=True)
class Job:
    """A batch that was handed to a thread, and how it ended.

    :param batch: the batch; its messages are let go when it has ended.
    :param size: how many messages it has.
    :param last: its last message, whose row and digest are how far the load has got with it.
    """

    batch: Batch
    size: int
    last: Message
    sent: Sent = field(default_factory=Sent)
    error: BaseException | None = None
    ended: bool = False


class Workers:
    """Sends batches in threads of its own.

    The threads are daemons: a process that is told to end does not wait for a server.

    :param sender: what they do.
    :param count: how many.
    """

    def __init__(self, sender: Sender, count: int) -> None:
        self.jobs: deque[Job] = deque()  # in the order of their rows, the ended ones at the front are taken out
        self._sender = sender
        self._count = count
        self._threads = 0
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.busy = 0  # batches whose end has not been waited for
        self.at_work = 0  # and their messages

    @property
    def full(self) -> bool:
        """Whether every thread has something to do."""
        return self.busy >= self._count

    def submit(self, batch: Batch) -> None:
        """Hand a batch to a thread."""
        if self._threads < self._count:
            threading.Thread(target=self._work, name="comms-mining-load", daemon=True).start()
            self._threads += 1
        job = Job(batch, len(batch.messages), batch.messages[-1])
        self.jobs.append(job)
        self.busy += 1
        self.at_work += job.size
        self._todo.put(job)
        # The thread sends before the next batch is made, which would keep the interpreter to itself for milliseconds.
        time.sleep(_HEAD_START)

    def wait(self, seconds: float) -> Job | None:
        """Wait for the end of any batch.

        :param seconds: how long at most.
        :return: ``None`` if none has ended by then.
        """
        try:
            job = self._ended.get(timeout=seconds)
        except queue.Empty:
            return None
        self.busy -= 1
        self.at_work -= job.size
        return job

    def close(self) -> None:
        """Let the threads end when they are done."""
        for _ in range(self._threads):
            self._todo.put(None)

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            try:
                self._sender.send(job.batch, job.sent)
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread of the load
                error.__traceback__ = None  # its frames hold messages
                job.error = error
            job.batch.messages = []
            job.ended = True
            self._ended.put(job)
            del job
