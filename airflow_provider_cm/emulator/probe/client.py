"""The probe's way to the API: one request at a time, patient, and stopped between two requests only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from airflow_provider_cm.emulator.probe.credentials import DeniedError, ProbeAuth, TroubleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.emulator.probe.credentials import Credentials

Query = Sequence[tuple[str, str]]
V1, PRIVATE = "api/v1", "api/_private"
_SOURCES = f"{V1}/sources"
_ATTEMPTS = 4
_LONGEST_WAIT = 300.0
_LONGEST_ANSWER = 120.0
_MOST_BYTES = 32 * 1024 * 1024
_USER_AGENT = "airflow-provider-cm-probe"


class ProbeStoppedError(Exception):
    """The user wants it to end."""


@dataclass(frozen=True)
class ProbeReply:
    """One answer of the API that has the API's shape."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return self.status < 300

    @property
    def source(self) -> dict[str, Any]:
        """The source it holds; empty if it holds none."""
        matches = self.body.get("source")
        return matches if isinstance(matches, dict) else {}

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The sources it lists."""
        matches = self.body.get("sources")
        return [each for each in matches if isinstance(each, dict)] if isinstance(matches, list) else []

    def __str__(self) -> str:
        """Return status and message in a few words, with whatever a server may put into the message made harmless."""
        message = self.body.get("message")
        return f"{self.status}" + (f" {clean(message)!r}" if isinstance(message, str) else "")


def clean(text: str) -> str:
    """Make a server's text fit to print: one line, no control characters, not long."""
    output = "".join(char if char.isprintable() else "?" for char in text)
    return output if len(output) <= 160 else output[:157] + "..."


class ProbeClient:
    """
    Calls one endpoint.

    :param endpoint: base URL, without ``/api``.
    :param credentials: the token to send.
    :param pause: seconds between two requests.
    :param backoff: seconds before the first repetition after trouble; doubled each time.
    """

    def __init__(self, endpoint: str, credentials: Credentials, *, pause: float = 0.0, backoff: float = 1.0) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self.requests = 0
        self.stop = threading.Event()
        self.cleaning = False
        self.timestamps: set[str] = set()
        self._pause = pause
        self.backoff = backoff
        self._session = requests.Session()
        self._session.headers["User-Agent"] = _USER_AGENT

    def call(
        self,
        method: str,
        *path: str,
        body: object = None,
        token: str | None = None,
        query: Query = (),
        base: str = _SOURCES,
    ) -> ProbeReply:
        """
        Send a request and give the answer, whatever its status.

        Requests that were put off (429) are repeated, and so is what only reads after trouble. A write after trouble
        is not, since nobody knows what became of it.

        :param path: segments after the base.
        :param body: sent as JSON.
        :param token: another token than the credentials'.
        :param query: names and values to put after the path.
        :param base: where the path begins; sources if not given.
        :raises TroubleError: there is no answer to go by.
        :raises DeniedError: the credentials are refused.
        :raises ProbeStoppedError: the user wants it to end.
        """
        place = "/".join([base, *(quote(part, safe=":") for part in path)])
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                reply = self._send(method, place, body, token, query)
            except TroubleError:
                if method != "GET" or last:
                    raise
                self._wait(self.backoff * 2**attempt)
                continue
            if reply.status == 429 and not last:
                self._wait(_retry_after(reply.headers, self.backoff * 2**attempt))
            elif reply.status == 429:
                raise TroubleError(f"{method} was put off {_ATTEMPTS} times: {reply}")
            elif reply.status == 401 and token is None:
                if last or not self.credentials.renew():
                    raise DeniedError(f"the token is refused: {reply}")
            else:
                self._note(reply)
                return reply
        raise TroubleError(f"{method} found no end")

    def rest(self, seconds: float) -> None:
        """Let some time pass."""
        self._wait(seconds)

    def _send(self, method: str, path: str, body: object, token: str | None, query: Query) -> ProbeReply:
        if self.requests:
            self._wait(self._pause)
        if self.stop.is_set() and not self.cleaning:
            raise ProbeStoppedError
        auth = ProbeAuth(self.credentials.token() if token is None else token)
        url = f"{self.endpoint}/{path}"
        self.requests += 1
        try:
            with self._session.request(
                method, url, json=body, params=query, auth=auth, timeout=(10, 60), allow_redirects=False, stream=True
            ) as answer:
                raw = _read(answer)
        except requests.RequestException as error:
            raise TroubleError(f"{method} was not answered: {type(error).__name__}") from None
        return _reply(answer, raw)

    def _wait(self, seconds: float) -> None:
        if self.cleaning:
            time.sleep(seconds)
        elif self.stop.wait(seconds):
            raise ProbeStoppedError

    def _note(self, reply: ProbeReply) -> None:
        for source in (reply.source, *reply.sources):
            for name in ("created_at", "updated_at"):
                if isinstance(source.get(name), str):
                    self.timestamps.add(source[name])


def _read(answer: requests.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    deadline = time.monotonic() + _LONGEST_ANSWER
    for part in answer.iter_content(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise TroubleError(f"an answer of more than {_MOST_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TroubleError(f"an answer that took more than {_LONGEST_ANSWER:.0f} s")
    return b"".join(parts)


def _reply(answer: requests.Response, raw: bytes) -> ProbeReply:
    status = answer.status_code
    if status >= 500 or status in (408, 425):
        raise TroubleError(f"it answered {status}")
    if 300 <= status < 400:
        raise TroubleError(f"it answered {status}, a redirect, which is not followed")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        if status == 429:
            return ProbeReply(status, {}, answer.headers)
        raise TroubleError(f"it answered {status} and no JSON") from None
    expected = "ok" if status < 300 else "error"
    if not isinstance(body, dict) or body.get("status") != expected:
        raise TroubleError(f"it answered {status} with an envelope that does not say {expected!r}")
    return ProbeReply(status, body, answer.headers)


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    text = headers.get("Retry-After", "")
    if text.strip().isdecimal():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return otherwise
        seconds = max(0.0, (moment - datetime.now(UTC if moment.tzinfo else None)).total_seconds())
    if seconds > _LONGEST_WAIT:
        raise TroubleError(f"it wants to be left alone for {seconds:.0f} s")
    return seconds
