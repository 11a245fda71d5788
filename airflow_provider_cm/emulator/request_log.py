"""The record of the requests that came over the wire, and its lines on the console."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from airflow_provider_cm.emulator.faults import Fault

_STDERR = 2
_MOST_BODY_BYTES = 256 * 1024 * 1024
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """
    One request as it came over the wire.

    :param method: HTTP method.
    :param path: path and query, undecoded.
    :param headers: request headers; names are looked up in any case.
    :param body: the bytes sent.
    :param status: HTTP status answered; 0 if there was no answer, because a fault kept it back or the client left.
    :param tenant: path of the tenant, ``/`` for the one at the root; empty for the token endpoint.
    :param token: name of the known token that was sent, if any.
    :param at: when the answer began, by the emulator's clock.
    :param number: counts the requests as they arrived, from 1; the record is in the order of the answers.
    :param fault: the fault that it met, if any.
    :param dropped: length of the body, in bytes, if it was dropped since; ``body`` is empty then.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    tenant: str
    token: str | None
    at: datetime
    number: int = 0
    fault: Fault | None = None
    dropped: int = 0

    @property
    def json(self) -> Any:
        """The body, parsed; ``None`` if there is none."""
        return json.loads(self.body) if self.body else None


class RequestHistory:
    """
    The latest requests, oldest first.

    Bodies are kept while they are 256 MiB in all; then those of the oldest requests are dropped, and only their length
    is known. So loading a million messages does not fill the memory.

    :param most: how many requests to keep.
    """

    def __init__(self, most: int) -> None:
        self._requests: deque[RecordedRequest] = deque()
        self._most = most
        self._bytes = 0
        # The requests before this position have lost their bodies.
        self._whole = 0

    def append(self, request: RecordedRequest) -> None:
        """Add a request, and drop what is too much."""
        self._requests.append(request)
        self._bytes += len(request.body)
        while self._bytes > _MOST_BODY_BYTES:
            old = self._requests[self._whole]
            self._bytes -= len(old.body)
            self._requests[self._whole] = replace(old, body=b"", dropped=len(old.body))
            self._whole += 1
        if len(self._requests) > self._most:
            self._bytes -= len(self._requests.popleft().body)
            self._whole = max(0, self._whole - 1)

    def clear(self) -> None:
        """Forget all."""
        self._requests.clear()
        self._bytes = self._whole = 0

    def __iter__(self) -> Iterator[RecordedRequest]:
        """Return the requests, oldest first."""
        return iter(self._requests)

    def __len__(self) -> int:
        """Count them."""
        return len(self._requests)


class RequestLog:
    """
    Writes a line for each request to standard error.

    A thread of its own writes, and lines are dropped when they pile up: a program that starts the emulator with
    a pipe and never reads it must not bring the emulator to a halt.
    """

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(maxsize=1000)

    def start(self) -> Callable[[RecordedRequest, float], None]:
        """Start to write, and give the function to call with each request and its milliseconds."""
        threading.Thread(target=self._write, name="request-log", daemon=True).start()
        return self._note

    def _note(self, request: RecordedRequest, elapsed: float) -> None:
        who = request.token or "no known token"
        fault = f" [fault: {request.fault}]" if request.fault else ""
        line = f"{request.method} {request.path} -> {request.status} in {elapsed:.1f} ms ({who}){fault}"
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line.translate(_CONTROL) + "\n")

    def _write(self) -> None:
        try:
            while True:
                # Not through sys.stderr, whose lock would hold up the end of the process.
                os.write(_STDERR, self._lines.get().encode(errors="replace"))
        except OSError:
            # Nobody reads any more.
            return
