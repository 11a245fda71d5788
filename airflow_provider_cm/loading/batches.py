"""Messages in batches, by number and by bytes; each message is encoded once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_cm.loading.message import Message


class Limits:
    """How large a batch may be; the server's answers make it smaller for all that follow.

    :param size: messages.
    :param size_in_bytes: of their JSON.
    """

    def __init__(self, size: int, size_in_bytes: int) -> None:
        self._size = self._most_in_time = size
        self._bytes = self._most_bytes = size_in_bytes
        self._accepted_size = self._accepted_bytes = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Return the most messages of the next batch."""
        return min(self._most_in_time, max(self._size, self._accepted_size))

    @property
    def bytes(self) -> int:
        """Return the most bytes of the next batch."""
        return min(self._most_bytes, max(self._bytes, self._accepted_bytes))

    def accept(self, size: int, bytes_: int) -> None:
        """Note a batch that was not too large: a refusal of one message alone must not make all others as small.

        :param size: its messages.
        :param bytes_: its bytes.
        """
        with self._lock:
            self._accepted_size = max(self._accepted_size, size)
            self._accepted_bytes = max(self._accepted_bytes, bytes_)

    def halve(self, size: int, bytes_: int | None = None) -> bool:
        """Let later batches be half as large as one that was too large.

        :param size: its messages.
        :param bytes_: its bytes where it was too large; ``None`` where the server took too long.
        :return: whether that changes anything.
        """
        with self._lock:
            former = (self.size, self.bytes)
            if bytes_ is None:
                self._most_in_time = min(self._most_in_time, max(1, size // 2))
            else:
                self._size = min(self._size, max(1, size // 2))
                self._bytes = min(self._bytes, max(1, bytes_ // 2))
            return (self.size, self.bytes) != former


@dataclass(slots=True)
class Batch:
    """Messages for one request.

    :param messages: in the order of their rows.
    :param bytes: of their JSON.
    :param ordered: it overwrites a message of an earlier batch, which has to be acknowledged first.
    """

    messages: list[Message] = field(default_factory=list, repr=False)
    bytes: int = 0
    ordered: bool = False


def batches(messages: Iterable[Message], limits: Limits) -> Iterator[Batch]:
    """Put messages into batches.

    Of two messages with one id in a batch only the later one stays.

    :param messages: read lazily.
    :param limits: asked anew for each message. A message that is larger by itself is a batch of its own.
    """
    batch = Batch()
    for message in messages:
        size = len(message.body) + 1
        if batch.messages and batch.bytes + size > limits.bytes:
            yield batch
            batch = Batch()
        if message.again:
            earlier = next((at for at, each in enumerate(batch.messages) if each.id == message.id), None)
            if earlier is not None:
                batch.bytes -= len(batch.messages.pop(earlier).body) + 1
            batch.ordered = True
        batch.messages.append(message)
        batch.bytes += size
        if len(batch.messages) >= limits.size:
            yield batch
            batch = Batch()
    if batch.messages:
        yield batch
