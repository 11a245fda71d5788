"""A StatsD server on loopback."""

from __future__ import annotations

import socket
import threading


class StatsD:
    """A StatsD server on loopback that keeps what it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._received: list[str] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while datagram := self._socket.recv(65536):
            self._received.append(datagram.decode())

    def so_far(self) -> list[str]:
        return list(self._received)

    def ended(self) -> list[str]:
        """Give what was received, after those who send have ended."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        self._socket.close()
        return self._received
