"""A TCP proxy between client and emulator that loses, cuts, holds back and drips what passes.

It understands just enough of HTTP to know where a request and a response end. What it does with each request is
scripted from outside, so that a test knows of every request whether it reached the server, and whether its answer came
back.
"""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire(enum.Enum):
    """What happens to one exchange on the wire."""

    PASS = "pass"
    CUT_BEFORE = "cut before the request arrives"
    CUT_AFTER = "cut after the server has acted, before the response"
    CUT_BODY = "cut in the middle of the response's body"
    STALL_BEFORE = "held back before the request arrives"
    STALL_AFTER = "held back after the server has acted"
    LATE = "cut before the request arrives, which it does all the same, after the client's next request"
    DRIP = "response dripped, a byte at a time"
    INTERIM = "interim responses (102, 103) before the response"
    CONTINUE = "100 Continue before the response"

    @property
    def reaches_server(self) -> bool:
        return self not in {Wire.CUT_BEFORE, Wire.STALL_BEFORE, Wire.LATE}

    @property
    def answer_is_lost(self) -> bool:
        return self not in {Wire.PASS, Wire.CONTINUE, Wire.INTERIM}


# What HTTP lets a server say before its response, and a client must read past.
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class Step:
    """What the script says of one request.

    :param wire: what happens to it on the wire.
    :param before: called before the request goes to the server.
    :param after: called after the server has answered, before the client learns of it.
    """

    wire: Wire = Wire.PASS
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass
class Seen:
    """One request, as it passed.

    :param method: HTTP method.
    :param path: path as sent.
    :param wire: what was done with it.
    :param status: what the server answered; ``None`` if it was not asked.
    :param fault: what the server itself did wrong, if it was told to.
    """

    method: str
    path: str
    wire: Wire
    status: int | None = None
    fault: str | None = None


@dataclass
class FaultProxy:
    """Listens on a free port of this machine and forwards to another.

    :param target: port of the server.
    :param watch: called ``before`` a request goes to the server and ``after`` it has answered, with the client's port;
        what it gives true for before, does not get there.
    """

    target: int
    script: deque[Step] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    active: int = 0
    forwarded: list[Seen] = field(default_factory=list)
    watch: Callable[[str, Seen, int], bool] | None = None
    late: list[tuple[int, bytes, Seen]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.come_up()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.go_down()
        for thread in self._threads:
            thread.join(timeout=5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def come_up(self) -> None:
        """Listen, on the same port as before."""
        if self._listener is not None:
            return
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def go_down(self) -> None:
        """Refuse connections, and cut the ones there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for client in self._clients:
                reset(client)

    def settle(self) -> None:
        """Wait until nothing is under way, not even for a client that has given up."""
        until = time.monotonic() + 30
        while self.active:
            assert time.monotonic() < until, "the proxy did not come to rest"
            time.sleep(0.001)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            with self._lock:
                self._clients.add(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", self.target), timeout=30)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(OSError), client.makefile("rb") as requests, upstream.makefile("rb") as answers:
                while not self._stopping.is_set():
                    message = read_message(requests)
                    if message is None:
                        return
                    self.active += 1
                    try:
                        if not self._exchange(message, client, upstream, answers):
                            return
                    finally:
                        self.active -= 1
        finally:
            upstream.close()
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _deliver_late(self) -> None:
        """Bring the server what was held up on the way, once the client has sent another request meanwhile."""
        waiting, self.late = self.late, []
        for requests_to_wait, message, seen in waiting:
            if requests_to_wait > 0:
                self.late.append((requests_to_wait - 1, message, seen))
                continue
            self.forwarded.append(seen)
            with socket.create_connection(("127.0.0.1", self.target), timeout=30) as upstream:
                upstream.sendall(message)
                with upstream.makefile("rb") as answers:
                    read_message(answers)

    def _exchange(self, message: bytes, client: socket.socket, upstream: socket.socket, answers: BinaryIO) -> bool:
        """Pass one request on as the script says; ``False`` when the connection is over."""
        step = self.script.popleft() if self.script else Step()
        method, path, _ = message.split(b"\r\n", 1)[0].decode().split(" ", 2)
        seen = Seen(method, path, step.wire)
        self.seen.append(seen)
        client_port = client.getpeername()[1]
        if self.watch and self.watch("before", seen, client_port):
            reset(client)
            return False
        if step.before:
            step.before()
        answer = b""
        if step.wire.reaches_server:
            self.forwarded.append(seen)
            upstream.sendall(message)
            answer = read_message(answers) or b""
            seen.status = int(answer.split(b" ", 2)[1]) if answer else None
        if self.watch:
            self.watch("after", seen, client_port)
        if step.after:
            step.after()
        self._deliver_late()
        if step.wire is Wire.LATE:
            self.late.append((1, message, seen))
        return self._answer(step.wire, answer, client) and is_whole(answer)

    def _answer(self, wire: Wire, answer: bytes, client: socket.socket) -> bool:
        """Bring the client the answer, or what the script leaves of it; ``False`` when the connection is over."""
        match wire:
            case Wire.PASS | Wire.CONTINUE | Wire.INTERIM:
                client.sendall({Wire.CONTINUE: CONTINUE, Wire.INTERIM: INTERIM}.get(wire, b"") + answer)
                return True
            case Wire.CUT_BODY:
                client.sendall(answer[: -max(1, len(answer) // 4)])
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
            case Wire.STALL_BEFORE | Wire.STALL_AFTER:
                wait_for_hangup(client, self._stopping)
            case Wire.DRIP:
                for byte in answer:
                    client.sendall(bytes([byte]))
                    if self._stopping.wait(0.05):
                        break
            case _:
                reset(client)
        return False


def read_message(stream: BinaryIO) -> bytes | None:
    """Read one HTTP message with ``Content-Length``; ``None`` at the end of the stream."""
    head = bytearray()
    length = 0
    while line := stream.readline():
        head += line
        if line in {b"\r\n", b"\n"}:
            body = stream.read(length) if length else b""
            return bytes(head) + body
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":", 1)[1])
    return None


def is_whole(message: bytes) -> bool:
    """Whether a message has all of the body that it promises; otherwise its sender has broken off."""
    head, _, body = message.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    return bool(message) and len(body) == int(length[1] if length else 0)


def reset(sock: socket.socket) -> None:
    """End a connection at once, as a crash or a firewall does: the peer gets a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    sock.close()


def wait_for_hangup(sock: socket.socket, stopping: threading.Event, seconds: float = 30) -> None:
    """Say nothing until the client gives up."""
    until = time.monotonic() + seconds
    sock.settimeout(0.05)
    while time.monotonic() < until and not stopping.is_set():
        try:
            if not sock.recv(1):
                return
        except TimeoutError:
            continue
        except OSError:
            return
