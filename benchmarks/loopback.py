"""A server in a process of its own that costs little and counts what reaches it: requests, and TCP connections.

It answers as the sources API does, so that a benchmark measures the one who asks. ``GET /sources/<project>`` lists,
``GET /sources/id:<id>`` reads, ``GET`` and ``PUT /sources/<project>/<name>`` read and create; below ``/refused``
everything is 401. ``POST /_there?COUNT`` says how many sources there are, and ``GET /_counts`` tells and resets the
counts.

Usage: ``python benchmarks/loopback.py [SECONDS]`` prints its address, answers after so many seconds, at once by
default, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = "2026-11-22T08:00:00.000000+00:00"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Tenant:
    """The sources, and counts of requests and connections."""

    def __init__(self) -> None:
        self.sources: dict[str, dict[str, Any]] = {}
        self.requests = 0
        self.connections = 0
        self._listing: bytes | None = None  # kept, so that a large one costs only what it takes to send it

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body."""
        if target.startswith("/_"):
            return 200, json.dumps(self._steered(target)).encode()
        if target.startswith("/refused"):
            return 401, _error("The token is not valid")
        project, _, name = target.partition("/sources/")[2].partition("/")
        if project.startswith("id:"):
            matches = [each for each in self.sources.values() if each["id"] == project[3:]]
            if not matches:
                return 404, _error("There is no such source")
            return 200, json.dumps({"status": "ok", "source": matches[0]}).encode()
        if not name:
            if self._listing is None:
                self._listing = json.dumps({"status": "ok", "sources": list(self.sources.values())}).encode()
            return 200, self._listing
        if method == "PUT":
            if name in self.sources:
                return 409, _error("The source exists")
            record = {"owner": project, "created_at": datetime.now(UTC).isoformat(), **json.loads(body)["source"]}
            self.sources[name] = source(len(self.sources), name) | record
            self._listing = None
        elif name not in self.sources:
            return 404, _error("There is no such source")
        return 200, json.dumps({"status": "ok", "source": self.sources[name]}).encode()

    def _steered(self, target: str) -> dict[str, int]:
        if target == "/_counts":
            counts = {"requests": self.requests, "connections": self.connections}
            self.requests = self.connections = 0
            return counts
        self.sources = {f"source-{n}": source(n, f"source-{n}") for n in range(int(target.partition("?")[2]))}
        self._listing = None
        return {}


class Connection(asyncio.Protocol):
    """One client: requests one after the other."""

    def __init__(self, tenant: Tenant, latency: float) -> None:
        self._tenant = tenant
        self._latency = latency
        self._read = b""
        self._counted = False

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not end or len(rest) < size:
            return
        self._read = rest[size:]
        method, target = head.decode().split(" ", 2)[:2]
        steering = target.startswith("/_")
        if not steering:
            self._tenant.requests += 1
            self._tenant.connections += not self._counted
            self._counted = True
        status, body = self._tenant.answer(method, target, rest[:size])
        lines = [f"HTTP/1.1 {status} X", f"Date: {formatdate(usegmt=True)}", "Content-Type: application/json"]
        answer = "\r\n".join([*lines, "Server-Timing: total;dur=1.0", f"Content-Length: {len(body)}", "", ""])
        if self._latency and not steering:
            # Its own work is part of the latency, and does not come on top of it.
            loop.call_at(arrived + self._latency, self._transport.write, answer.encode() + body)
        else:
            self._transport.write(answer.encode() + body)


def source(number: int, name: str) -> dict[str, Any]:
    """Describe a source as the API does."""
    return {
        "id": f"{number:016x}",
        "owner": "acme-dev",
        "name": name,
        "title": f"Source {number}",
        "description": "",
        "created_at": STAMP,
        "updated_at": STAMP,
        "should_translate": False,
        "sensitive_properties": [],
        "bucket_id": None,
    }


def _error(message: str) -> bytes:
    return json.dumps({"status": "error", "message": message}).encode()


async def main(latency: float) -> None:
    tenant = Tenant()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(tenant, latency), "127.0.0.1", 0, backlog=2048
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def running(latency: float = 0.0) -> Iterator[str]:
    """Run the server, and give its address."""
    command = [sys.executable, __file__, str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def counts(url: str) -> dict[str, int]:
    """Read what was counted since the last time."""
    counted: dict[str, int] = requests.get(f"{url}/_counts", timeout=10).json()
    return counted


def put_there(url: str, count: int) -> None:
    """Set how many sources there are."""
    requests.post(f"{url}/_there?{count}", timeout=10)


def _loop(latency: float) -> asyncio.AbstractEventLoop:
    # epoll rounds a wait up to the next millisecond, select does not; it has room for few connections.
    return asyncio.SelectorEventLoop(selectors.SelectSelector() if latency else None)


if __name__ == "__main__":
    delay = float(sys.argv[1]) if sys.argv[1:] else 0.0
    with asyncio.Runner(loop_factory=lambda: _loop(delay)) as runner:
        runner.run(main(delay))
