"""A scriptable, hostile HTTP server on loopback: raw sockets, so that it can break every rule.

A script is a list of steps, one for each request, or a function from the request to its step. The server writes down
what it was sent, byte for byte, and counts TCP connections; a request that no step was written for is a failure of
the test.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from requests.structures import CaseInsensitiveDict

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Request:
    """What arrived: ``target`` is the raw text between method and HTTP version."""

    method: str
    target: str
    headers: CaseInsensitiveDict[str] = field(repr=False)
    body: bytes = field(repr=False)
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True)
class Answer:
    """A response, well-formed unless told otherwise.

    ``stated_length`` lies about the body; ``drip`` sends the ``headers`` or the ``body`` byte by byte; ``endless``
    repeats the body for ever; ``then_stall`` keeps the connection open without another byte; ``raw`` is sent instead
    of anything else, and then the connection is closed, unless ``stays_open``; ``before`` and ``after`` are sent around
    the response.
    """

    status: int = 200
    body: bytes = field(default=b'{"status": "ok"}', repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    stated_length: int | None = None
    drip: str | None = None
    drip_every: float = 0.05
    endless: bool = False
    then_stall: bool = False
    raw: bytes | None = None
    stays_open: bool = False
    before: bytes = b""
    after: bytes = b""


@dataclass(frozen=True)
class Cut:
    """No response: ``reset`` sends a TCP reset, ``unread`` does so before the request is read."""

    reset: bool = False
    unread: bool = False


@dataclass(frozen=True)
class Stall:
    """The request is read, and nothing is ever said."""


Step = Answer | Cut | Stall
Script = Iterable[Step] | Callable[[Request], Step]

CLOSE = Cut()
RESET = Cut(reset=True)
RESET_UNREAD = Cut(reset=True, unread=True)
STALL = Stall()


def ok(headers: Mapping[str, str] | None = None, **payload: object) -> Answer:
    """Give a success in the API's envelope."""
    return Answer(200, json.dumps({"status": "ok", **payload}).encode(), headers or {})


def error(status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Answer:
    """Give an error in the API's envelope."""
    return Answer(status, json.dumps({"status": "error", "message": message}).encode(), headers or {})


def html(status: int, text: str = "<html><head><title>Gateway</title></head><body>Oops</body></html>") -> Answer:
    """Give a gateway's page."""
    return Answer(status, text.encode(), {"Content-Type": "text/html"})


class Server:
    """See the module. Use it as a context manager; ``url`` is where it listens."""

    def __init__(self, script: Script = (), *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.unscripted: list[str] = []
        self._tls = tls
        self._handle = script if callable(script) else None
        self._steps = iter(()) if callable(script) else iter(script)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._spawn(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> list[str]:
        """Methods and targets, in the order of their arrival."""
        return [str(request) for request in self.requests]

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def stop(self) -> None:
        self._over.set()
        # shutdown wakes the thread in accept(), which close alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            still_open = list(self._open)
        for sock in still_open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                number = self.connections
                self._open.add(sock)
            self._spawn(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        stream = sock
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.add(stream)
            reader = stream.makefile("rb")
            while self._converse(stream, reader, number):
                pass
        except (OSError, ValueError):
            pass  # the other side left
        finally:
            with self._lock:
                self._open -= {sock, stream}
            for each in {sock, stream}:
                with contextlib.suppress(OSError):
                    each.close()

    def _converse(self, sock: socket.socket, reader: Any, number: int) -> bool:
        if self._handle is None and self._tls is None:
            select.select([sock], [], [])
            if sock.recv(1, socket.MSG_PEEK) and self._next_is_unread():
                self._next(None)
                _reset(sock)
                return False
        request = _read(reader, number)
        if request is None:
            return False
        with self._lock:
            self.requests.append(request)
        step = self._next(request)
        if isinstance(step, Stall):
            self._over.wait()
            return False
        if isinstance(step, Cut):
            if step.reset:
                _reset(sock)
            return False
        return self._answer(sock, request, step)

    def _next_is_unread(self) -> bool:
        with self._lock:
            step = next(self._steps, None)
            if step is not None:
                self._steps = _chain(step, self._steps)
            return isinstance(step, Cut) and step.unread

    def _next(self, request: Request | None) -> Step:
        if self._handle is not None and request is not None:
            return self._handle(request)
        with self._lock:
            step = next(self._steps, None)
        if step is None:
            self.unscripted.append(str(request))
            return error(400, "the test did not expect this request")
        return step

    def _answer(self, sock: socket.socket, request: Request, answer: Answer) -> bool:
        if answer.raw is not None:
            sock.sendall(answer.raw)
            return answer.stays_open
        length = len(answer.body) if answer.stated_length is None else answer.stated_length
        headers = {"Content-Type": "application/json", **answer.headers}
        if not answer.endless:
            headers["Content-Length"] = str(length)
        head = f"HTTP/1.1 {answer.status} Whatever\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        head = answer.before.decode() + head
        body = (b"" if request.method == "HEAD" else answer.body) + answer.after
        if answer.drip == "headers":
            self._drip(sock, head.encode(), answer.drip_every)
        else:
            sock.sendall(head.encode("utf-8"))
        if answer.drip == "body":
            self._drip(sock, body, answer.drip_every)
        elif answer.endless:
            while not self._over.is_set():
                sock.sendall(body)
        else:
            sock.sendall(body)
        if answer.then_stall:
            self._over.wait()
        return length + len(answer.after) == len(body) and not answer.endless

    def _drip(self, sock: socket.socket, data: bytes, every: float) -> None:
        for byte in data:
            sock.sendall(bytes([byte]))
            if self._over.wait(every):
                return


def _chain(first: Step, rest: Iterable[Step]) -> Any:
    yield first
    yield from rest


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The file made of it holds the descriptor open, so that close() alone would not reset.
    fd = sock.detach()
    socket.close(fd)


def _read(reader: Any, number: int) -> Request | None:
    first = reader.readline().decode("latin-1").rstrip("\r\n")
    if not first:
        return None
    method, target, _ = first.split(" ", 2)
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    while line := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers[name] = value.strip()
    return Request(method, target, headers, reader.read(int(headers.get("Content-Length", 0))), number)


def closed_port() -> int:
    """Give a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
