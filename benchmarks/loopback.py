"""A server in a process of its own that counts what reaches it: requests, and TCP connections.

It answers as the sources API does to a poll, so that a benchmark measures the one who asks. ``GET /sources/<project>``
lists, ``GET /sources/<project>/<name>`` is 404 until there are sources; below ``/refused`` everything is 401. ``POST
/_there?COUNT`` puts sources there, and ``GET /_counts`` tells and resets the counts.

Usage: ``python benchmarks/loopback.py`` prints its address, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = "2026-11-22T08:00:00.000000+00:00"


class Counter:
    """Answers, and counts."""

    def __init__(self) -> None:
        self.there = 0
        self.requests = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until the client closes it."""
        counted = False
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target = head.split(b" ", 2)[:2]
                steering = target.startswith(b"/_")
                if not steering:
                    self.requests += 1
                    self.connections += not counted
                    counted = True
                status, body = self.answer(method.decode(), target.decode())
                text = json.dumps(body).encode()
                line = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(line.encode() + text)
                await writer.drain()
        writer.close()

    def answer(self, method: str, target: str) -> tuple[int, dict[str, Any]]:
        """Give status and body."""
        if method == "POST":
            self.there = int(target.partition("?")[2])
            return 200, {}
        if target == "/_counts":
            counts = {"requests": self.requests, "connections": self.connections}
            self.requests = self.connections = 0
            return 200, counts
        if target.startswith("/refused"):
            return 401, {"status": "error", "message": "The token is not valid"}
        names = target.partition("/sources/")[2].split("/")
        if len(names) == 1:
            return 200, {"status": "ok", "sources": [source(number) for number in range(self.there)]}
        number = int(names[1].removeprefix("source-"))
        if number < self.there:
            return 200, {"status": "ok", "source": source(number)}
        return 404, {"status": "error", "message": "There is no such source"}


def source(number: int) -> dict[str, Any]:
    """Describe a source as the API does."""
    return {
        "id": f"{number:016x}",
        "owner": "acme-dev",
        "name": f"source-{number}",
        "title": f"Source {number}",
        "description": "",
        "created_at": STAMP,
        "updated_at": STAMP,
        "should_translate": False,
        "sensitive_properties": [],
        "bucket_id": None,
    }


async def main() -> None:
    counter = Counter()
    server = await asyncio.start_server(counter.serve, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def running() -> Iterator[str]:
    """Run the server, and give its address."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
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
    """Say how many sources there are."""
    requests.post(f"{url}/_there?{count}", timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
