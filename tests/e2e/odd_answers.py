"""A server whose answers Airflow's databases cannot hold, and the emulator behind it, which knows nothing of that."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

# A title that begins so is followed by what is odd; one that a client has written is not.
ODD_TITLE = "Odd"
TOO_LARGE = 2**80
TIMING = f"total;dur={'9' * 400}"

# What is odd, by the word that a project's name ends with.
SURROGATE, NUL, INTEGER, NAN, TIMED = "surrogate", "nul", "integer", "nan", "timed"
KINDS = (SURROGATE, NUL, INTEGER, NAN, TIMED)

_PATCHES: dict[str, Callable[[dict[str, Any]], None]] = {
    SURROGATE: lambda source: source.update(title=f"{source['title']} \ud83d"),
    NUL: lambda source: source.update(title=f"{source['title']} \0"),
    INTEGER: lambda source: source.update(x_number=TOO_LARGE, x_list=[{"x": -TOO_LARGE}]),
    NAN: lambda source: source.update(x_number=float("nan")),
    TIMED: lambda _: None,
}
# What each looks like on the wire.
RAW = {
    SURROGATE: rb'\ud83d"',
    NUL: rb"\u0000",
    INTEGER: str(TOO_LARGE).encode(),
    NAN: b"NaN",
}


class OddServer:
    """Passes requests on to the emulator, and makes the answers about some projects odd.

    :param target: port of the emulator.
    :ivar odd: how many odd answers there were, by kind.
    :ivar requests: how many requests there were, by method and path.
    :ivar kinds: which kinds are odd now.
    """

    def __init__(self, target: int) -> None:
        self.odd: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.kinds = set(KINDS)
        self._target = target

    def __enter__(self) -> Self:
        odd_server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, answer = odd_server.ask(self.command, self.path, dict(self.headers), body)
                self.send_response_only(status)
                for name, value in [*headers, ("Content-Length", str(len(answer)))]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # so the base class calls them

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the emulator, and make its answer odd."""
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=30)
        sent = {name: value for name, value in headers.items() if name.lower() not in {"host", "accept-encoding"}}
        connection.request(method, path, body or None, sent)
        response = connection.getresponse()
        answer = response.read()
        passed = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in {"content-length", "connection", "server-timing", "transfer-encoding"}
        ]
        connection.close()
        self.requests[f"{method} {path}"] += 1
        payload = json.loads(answer)
        for kind in self.kinds & set(KINDS):
            if _patch(payload, kind):
                self.odd[kind] += 1
                answer = json.dumps(payload).encode()
                assert RAW.get(kind, b"") in answer
                if kind == TIMED:
                    passed.append(("Server-Timing", TIMING))
        return response.status, passed, answer


def _patch(value: Any, kind: str) -> bool:
    """Make each source of a kind's projects odd, wherever it is; ``False`` if there is none."""
    if isinstance(value, list):
        return sum(_patch(each, kind) for each in value) > 0
    if not isinstance(value, dict):
        return False
    if re.search(rf"-{kind}$", str(value.get("owner"))) and str(value.get("title")).startswith(ODD_TITLE):
        _PATCHES[kind](value)
        return True
    return sum(_patch(each, kind) for each in value.values()) > 0
