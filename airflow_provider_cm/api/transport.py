"""One exchange over the wire: a request out, a reply or a failure back, in bounded time and memory.

Nothing is raised for what the network does: an exception of ``requests`` or urllib3 carries the frames it passed
through, and their variables hold the Authorization header. :meth:`Transport.send` returns an
:class:`ExchangeFailure` instead.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import ssl
import threading
import weakref
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError
from urllib3.util import parse_url

from airflow_provider_cm.api.endpoint import is_loopback
from airflow_provider_cm.api.redaction import NoFrames, Sealed
from airflow_provider_cm.api.wire import Adapter, begun, check_time, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests.auth import AuthBase

MAX_RESPONSE_BYTES = 128 * 1024 * 1024
"""The largest response body that is read, after decompression: a listing of 100,000 sources takes about 45 MiB. What it
may take in memory as objects is bounded by :data:`airflow_provider_cm.api.json_decoding.MAX_MEMORY`."""

_CHUNK = 64 * 1024
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_NO_NUMBER = "invalid literal for int()"  # how Python begins its word on a chunk without a length
_TIMED_OUT = "no (complete) response in time"
_NO_TUNNEL = "Tunnel connection failed"  # how http.client begins its only word on a refused CONNECT


class Stage(enum.Enum):
    """How far a failed exchange got, which decides whether a write may have been carried out."""

    REFUSED_LOCALLY = "refused"  # a setting or a certificate is wrong: no request was sent, and none will be
    NOT_SENT = "not sent"  # no connection, so nothing reached the server
    SENT = "sent"  # from the first byte on, the server may have acted
    UNREADABLE = "unreadable"  # answered, but with more than is read here, or in an encoding that is not read here


@dataclass(frozen=True, slots=True)
class ExchangeFailure:
    """An exchange without a complete response.

    :param stage: how far it got.
    :param reason: why; it can quote the server, secrets included, so mask and escape it before logging.
    """

    stage: Stage
    reason: str = field(repr=False)

    @property
    def timed_out(self) -> bool:
        """Whether the request was sent, and no (complete) response came in time."""
        return self.reason == _TIMED_OUT


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response.

    :param status: HTTP status.
    :param headers: response headers, with case-insensitive look-up.
    :param body: the body after decompression; never shown by ``repr``, since it can hold a token.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class UnshownBody(bytes):
    """A body that holds a secret; a traceback that shows variables does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UnshownBody(***)"


class Transport:
    """Kept-alive connections to servers, one ``requests.Session`` for each thread.

    What is given here wins over the environment and over ``.netrc``. Where nothing is given, the environment decides
    as everywhere with ``requests``: ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE``, and ``HTTPS_PROXY`` and its kin
    except for this machine itself.

    :param timeout: seconds to connect, and seconds without a byte while reading.
    :param verify: ``True`` for the usual certificate authorities, ``False`` for no check, or the path of a CA bundle;
        ``None`` for the environment's choice.
    :param cert: client certificate: the path of a PEM file, or of certificate and key.
    :param proxies: proxy URLs by scheme; an empty mapping for none at all, ``None`` for the environment's choice.
    :param user_agent: value of the ``User-Agent`` header.
    """

    def __init__(
        self,
        *,
        timeout: tuple[float, float] = (10, 60),
        verify: bool | str | None = None,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        user_agent: str = "airflow-provider-cm",
    ) -> None:
        self._timeout = timeout
        self._verify = verify
        self._cert = cert
        self._proxies = None if proxies is None else _sealed(proxies)
        self._user_agent = user_agent
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def __repr__(self) -> str:
        # A proxy's URL can hold a password. A traceback that shows variables asks half-made objects too.
        return f"Transport(timeout={getattr(self, '_timeout', '?')}, verify={getattr(self, '_verify', '?')!r})"

    def secrets(self) -> list[str]:
        """Return the passwords of the proxies of this thread's last request, which may repeat them in what they say."""
        passwords = []
        route: Mapping[str, str] = getattr(self._local, "route", {})
        for url in route.values():
            with NoFrames(), contextlib.suppress(ValueError):
                passwords.append(Sealed(unquote(urlsplit(url).password or "")))
        return sorted(filter(None, passwords), key=len, reverse=True)

    def send(
        self,
        method: str,
        url: str,
        *,
        auth: AuthBase,
        seconds: float,
        body: bytes | None = None,
        content_type: str = "application/json",
        patience: float | None = None,
    ) -> Reply | ExchangeFailure:
        """Send one request and read its response to the end.

        :param method: HTTP method.
        :param url: absolute URL, encoded.
        :param auth: adds the credentials; ``.netrc``, which ``requests`` prefers to a plain header, is not read.
        :param seconds: time for all of it. Looking up a name is bounded by the system's resolver alone.
        :param body: request body.
        :param content_type: of the body.
        :param patience: seconds without a byte while reading, instead of the usual.
        """
        if seconds <= 0:
            return ExchangeFailure(Stage.NOT_SENT, "no time was left to send it")
        with exchange(seconds):
            try:
                return self._reply_or_failure(method, url, auth, seconds, body, content_type, patience)
            except BaseException as error:
                # A task that is ended from outside: the frames in between, and those of an error that was just being
                # handled, hold credentials in variables.
                error.__traceback__ = error.__context__ = None
                raise

    def _reply_or_failure(self, *request: Any) -> Reply | ExchangeFailure:
        try:
            return self._exchange(*request)
        except Exception as error:  # noqa: BLE001  # what a server sends can break more than HTTP libraries expect
            return _failure(error)

    def _exchange(
        self,
        method: str,
        url: str,
        auth: AuthBase,
        seconds: float,
        body: bytes | None,
        content_type: str,
        patience: float | None,
    ) -> Reply | ExchangeFailure:
        connect, read = self._timeout
        read = read if patience is None else patience
        session = self._session()
        # Not by the session, which would merge it with settings that it does not have (benchmarks/thin_call.py).
        prepared = requests.PreparedRequest()
        headers = {**session.headers, "Content-Type": content_type} if body else session.headers
        prepared.prepare(method, url, headers=headers, data=body, auth=auth)
        # requests normalises the path once more (dot segments, escapes); what was encoded here is final.
        prepared.url = url
        response = session.send(
            prepared,
            timeout=(min(connect, seconds), min(read, seconds)),
            verify=self._verification(),
            cert=self._cert,
            proxies=self._route(url),
            allow_redirects=False,
            stream=True,
        )
        with response:
            if response.status_code < 200:
                self.drop()
                return ExchangeFailure(Stage.SENT, f"the server sent an interim response only ({response.status_code})")
            return _read(response)

    def drop(self) -> None:
        """Close this thread's connections, which may be out of step."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close the connections of all threads; those in use close when their exchange has ended."""
        for session in list(self._sessions):
            session.close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        # A child process must not speak on connections that its parent still uses.
        if session is None or self._local.pid != os.getpid():
            session = _Session()
            session.trust_env = False  # the environment is asked here, by _verification and _route
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none is needed, and one is a secret
            session.headers["User-Agent"] = self._user_agent
            session.headers["Accept"] = "application/json"
            session.headers["Accept-Encoding"] = "gzip, deflate"
            adapter = Adapter(pool_connections=2, pool_maxsize=1)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._sessions.add(session)
            self._local.session, self._local.pid = session, os.getpid()
        return session

    def _verification(self) -> bool | str:
        if self._verify is not None:
            return self._verify
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def _route(self, url: str) -> dict[str, str]:
        if self._proxies is not None:
            route = self._proxies
        elif is_loopback(urlsplit(url).hostname or ""):
            # A proxy cannot reach this machine's loopback addresses, and must not see what is sent to them.
            route = {}
        else:
            route = requests.utils.get_environ_proxies(url)
        self._local.route = _sealed(route)  # for its secrets: reading the environment once more takes a tenth of a call
        # requests trips over a URL without a host, or shows all of it, password included.
        if not _has_host(requests.utils.select_proxy(url, route)):
            raise ValueError("the proxy's URL is not one; it should be http://<host>:<port>")
        return route


def _sealed(proxies: Mapping[str, str]) -> dict[str, str]:
    return {scheme: Sealed(url) for scheme, url in proxies.items()}


def _has_host(proxy: str | None) -> bool:
    try:
        return proxy is None or bool(parse_url(proxy).host)
    except LocationParseError:
        return False


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """See none: requests would read the body of a redirect without a limit, and trip over a broken target."""


def _read(response: requests.Response) -> Reply | ExchangeFailure:
    encoding = (response.headers.get("Content-Encoding") or "").strip().lower()
    if encoding not in _ENCODINGS:  # one within another unpacks for as long as the sender likes
        return ExchangeFailure(
            Stage.UNREADABLE, f"the response is encoded as {encoding[:60]!r}, which was not requested"
        )
    chunks, size = [], 0
    for chunk in response.iter_content(_CHUNK):
        check_time()
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            limit = MAX_RESPONSE_BYTES // 1024**2
            return ExchangeFailure(Stage.UNREADABLE, f"the response is larger than {limit} MiB; the rest was not read")
        chunks.append(chunk)
    return Reply(response.status_code, response.headers, b"".join(chunks))


def _failure(error: BaseException) -> ExchangeFailure:
    chain = _chain(error)
    reason = _reason(chain)
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in chain):
        remedy = "if your network or server has its own certificate authority, put its file into `verify`"
        return ExchangeFailure(
            Stage.REFUSED_LOCALLY, f"the server's TLS certificate was not accepted: {reason}; {remedy}"
        )
    if isinstance(error, requests.exceptions.ProxyError) and any(str(e).startswith(_NO_TUNNEL) for e in chain):
        return ExchangeFailure(Stage.NOT_SENT, f"the proxy refused the connection: {reason}")
    if any(isinstance(e, requests.ConnectTimeout | NewConnectionError | socket.gaierror) for e in chain):
        proxy = " to the proxy" if isinstance(error, requests.exceptions.ProxyError) else ""
        return ExchangeFailure(Stage.NOT_SENT, f"no connection{proxy}: {reason}")
    # urllib3 calls any other break a proxy's too where there is one, so that the request may have passed it.
    if isinstance(error, requests.exceptions.SSLError):
        return ExchangeFailure(Stage.SENT, f"TLS failed: {reason}")
    if isinstance(error, requests.Timeout | TimeoutError) or any(isinstance(e, TimeoutError) for e in chain):
        return ExchangeFailure(Stage.SENT, _TIMED_OUT)
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return ExchangeFailure(Stage.SENT, "the response could not be decompressed")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError | HTTPError):
        return ExchangeFailure(Stage.SENT, f"the connection broke: {reason}")
    # requests reports a missing CA file as an OSError without a number; the system's own errors have one.
    sent = begun() or (isinstance(error, OSError) and error.errno)
    stage = Stage.SENT if sent else Stage.REFUSED_LOCALLY
    return ExchangeFailure(stage, reason)


def _chain(error: BaseException) -> list[BaseException]:
    """Collect an exception, what it wraps in its arguments, and what it was raised from."""
    chain: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and item not in chain:
            chain.append(item)
            todo += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return chain


def _reason(chain: list[BaseException]) -> str:
    """Name the innermost cause; the outer ones repeat it around object addresses and URLs."""
    for error in reversed(chain):
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    texts = [str(error) for error in chain if str(error) and "object at 0x" not in str(error)]
    if any(text.startswith(_NO_NUMBER) for text in texts):
        # It quotes what the server sent, and may have cut it in the middle of a secret.
        return "the answer is not proper HTTP"
    return texts[-1] if texts else type(chain[0]).__name__
