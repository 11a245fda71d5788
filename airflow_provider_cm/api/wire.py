"""Connections that keep to the deadline of an exchange, and in step with it.

The timeouts of ``requests`` count from the last byte, so a server that sends one byte a second, in the headers or in
the body, holds a call for ever. Every read from a socket is therefore given what is left until the deadline.

An answer that is one too many gives every later call on its connection the answer to the call before. So interim
responses (1xx) are read past, and a connection with unread bytes is not used again.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_MOST_INTERIM = 100

_exchange = threading.local()


@contextlib.contextmanager
def exchange(seconds: float) -> Iterator[None]:
    """Have a deadline for all that this thread reads.

    :param seconds: from now.
    """
    _exchange.at, _exchange.begun = time.monotonic() + seconds, False
    try:
        yield
    finally:
        _exchange.at = None


def begun() -> bool:
    """Whether a request was handed to a connection in this exchange, so that the server may have it."""
    return getattr(_exchange, "begun", False)


def check_time() -> None:
    """Raise :class:`TimeoutError` when the deadline has passed."""
    _time_left()


def _time_left() -> float | None:
    at: float | None = getattr(_exchange, "at", None)
    if at is None:
        return None
    left = at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this call is over")
    return left


class _RawReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: _Socket) -> None:
        self._raw = raw
        self.sock = sock
        self.ended = False
        self._patience = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.ended:
            return 0
        left = _time_left()
        if left is not None:
            self.sock.settimeout(left if self._patience is None else min(left, self._patience))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Reader(io.BufferedReader):
    """Reads one response; when it is closed, it notes on the socket whether more had arrived than that."""

    raw: _RawReader

    def close(self) -> None:
        with contextlib.suppress(ValueError):  # closed before
            self.raw.ended = True  # only what is in the buffer already
            if self.peek(1):
                self.raw.sock.out_of_step = True
        super().close()


class _Socket:
    """A connected socket whose file for reading obeys the deadline of the thread that reads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.out_of_step = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, mode: str = "r", buffering: int | None = None, **_: Any) -> io.BufferedReader:
        raw: Any = self._sock.makefile("rb", buffering=0)
        return _Reader(_RawReader(raw, self))

    def has_more(self) -> bool:
        """Whether bytes have arrived that no response accounts for; those that TLS has unpacked are in no socket."""
        return self.out_of_step or (hasattr(self._sock, "pending") and self._sock.pending() > 0)


class _Response(http.client.HTTPResponse):
    """The final response; ``http.client`` takes any interim one but 100 for it."""

    def _read_status(self) -> Any:
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim responses")


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> Any:
        # For TLS too: before it begins the socket may talk to a proxy (CONNECT), so it is watched from the start. The
        # TLS handshake itself ends with the socket's time-out as a whole.
        return _Socket(super()._new_conn())

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _exchange.begun = True
        super().putrequest(*args, **kwargs)

    @property
    def is_connected(self) -> bool:
        """Whether it can be used again; urllib3 asks before it does."""
        return super().is_connected and not (isinstance(self.sock, _Socket) and self.sock.has_more())


class _TlsConnection(_Connection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if not isinstance(self.sock, _Socket):
            self.sock: Any = _Socket(self.sock)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """Gives ``requests`` such connections."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections to servers."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections to a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
        return manager


class _Discretion(logging.Filter):
    """Keep urllib3 from quoting a server, as it does for headers that it cannot read: they may repeat the token."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or getattr(_exchange, "at", None) is None


_discretion = _Discretion()
for _name in ("connection", "connectionpool", "response", "poolmanager", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_discretion)
