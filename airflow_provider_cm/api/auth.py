"""The two ways to authenticate: a developer token, or an external application's client credentials.

From the vendor's page "Using the API", sections "Authentication" and "Authentication with external applications"; the
token request and its answers are those of RFC 6749, sections 4.4 and 5.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from requests.auth import AuthBase

from airflow_provider_cm.api.endpoint import check_url
from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConfigurationError,
    TokenError,
    TransportError,
    is_transient_status,
    printable,
    status_text,
)
from airflow_provider_cm.api.redaction import redact
from airflow_provider_cm.api.retry import Budget, parse_retry_after
from airflow_provider_cm.api.transport import Reply, Stage, Transport, Unshown

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest

DEFAULT_SCOPE = "PM.User PM.User.Read Ixp.ApiAccess"
"""The scopes that the vendor's page requires of an external application."""

# A token without a stated life (RFC 6749 leaves it optional) is renewed after this many seconds.
_UNSTATED_LIFE = 300.0
_RENEW_AHEAD = 60.0


class Bearer(AuthBase):
    """One token, as ``requests`` wants it; it shows itself to nobody.

    :param token: the bearer token.
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def __repr__(self) -> str:
        return "Bearer(***)"


class NoAuth(AuthBase):
    """Nothing added; for the token request, which carries its secret in the body."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add nothing."""
        return request


class Auth(ABC):
    """Where a session gets its token."""

    @abstractmethod
    def bearer(self, budget: Budget, transport: Transport) -> Bearer:
        """Give the token to use now, fetching one where needed.

        :param budget: what the calling request has left.
        :param transport: to fetch with.
        :raises CommsMiningError: when there is none to be had.
        """

    @abstractmethod
    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> bool:
        """After a 401: whether there is another token now than the rejected one."""

    @abstractmethod
    def secrets(self) -> list[str]:
        """What must never be shown, longest first."""

    def scrub(self, text: str, transport: Transport) -> str:
        """Take the secrets out of what a server or proxy said: these, and those of the way to it.

        :param text: what it said.
        :param transport: that it came over.
        """
        return redact(text, [*self.secrets(), *transport.secrets()])


class DeveloperToken(Auth):
    """A developer's API token.

    :param token: the token, without ``Bearer``.
    :param reload: asked once when the token is refused, for the token that is valid now (a secrets backend may have
        rotated it); generating a new token invalidates the previous one.
    :param on_renewal: called after ``reload`` was asked, with whether that gave another token.
    :raises ConfigurationError: for a token that no header can carry. The message does not show it.
    """

    def __init__(
        self,
        token: str,
        reload: Callable[[], str] | None = None,
        on_renewal: Callable[[bool], None] | None = None,
    ) -> None:
        problem = _token_problem(token)
        if problem:
            del token  # a traceback that shows variables must not show this one
            raise ConfigurationError(f"developer token: {problem}")
        self._bearer = Bearer(token)
        self._former: Bearer | None = None
        self._reload = reload
        self._on_renewal = on_renewal or _tell_nobody
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "DeveloperToken(***)"

    def bearer(self, budget: Budget, transport: Transport) -> Bearer:
        """Give the token."""
        return self._bearer

    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> bool:
        """Ask ``reload`` for a new token, once for all threads that were refused with the old one."""
        with self._lock:
            if self._bearer.token != rejected.token:
                return True
            if self._reload is None:
                return False
            renewed = False
            try:
                fresh = Bearer(self._reload())
                renewed = fresh.token != rejected.token and not _token_problem(fresh.token)
            finally:
                self._on_renewal(renewed)
            if renewed:
                self._former, self._bearer = self._bearer, fresh
            return renewed

    def secrets(self) -> list[str]:
        """Give the token, and the one before it, with which a call of another thread may still be under way."""
        return _longest_first(self._bearer, self._former)


def _tell_nobody(succeeded: bool) -> None:  # a callback
    pass


def _token_problem(token: str) -> str | None:
    if not token:
        return "it is empty; put the API token from the Administration page, My Account, into the password"
    if token.lower().startswith("bearer "):
        return "it begins with 'Bearer '; give the token alone"
    if any(c.isspace() or not c.isprintable() for c in token) or not token.isascii():
        return "it holds white space, a line break or characters that no token has; copy it again, without line breaks"
    return None


def _longest_first(*known: Bearer | None) -> list[str]:
    return sorted((each.token for each in known if each and each.token), key=len, reverse=True)


@dataclass(slots=True)
class _Cell:
    """The token of one external application in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    bearer: Bearer | None = None
    former: Bearer | None = None
    renew_at: float = 0.0
    expires_at: float = 0.0


_cells: dict[tuple[str, ...], _Cell] = {}
_cells_lock = threading.Lock()


def forget_tokens() -> None:
    """Forget the tokens of this process, as after a fork: another thread's lock would stay locked in the child."""
    global _cells_lock  # noqa: PLW0603  # the one way to replace a lock that may be held
    _cells_lock = threading.Lock()
    _cells.clear()


os.register_at_fork(after_in_child=forget_tokens)


class ClientCredentials(Auth):
    """An external application: App ID and App Secret are exchanged for a token that lasts about an hour.

    The token is kept per process and credentials, fetched once however many threads ask, and renewed ahead of its
    expiry.

    :param identity_url: the token endpoint, e.g. ``https://cloud.uipath.com/<org>/identity_/connect/token``.
    :param client_id: the App ID.
    :param client_secret: the App Secret.
    :param scope: scopes, separated by spaces.
    :param on_token: called with each token fetched, so that it can be masked in logs.
    :param on_renewal: called after each attempt to fetch one, the first included, with whether it succeeded.
    :param allow_http: accept a token endpoint with plain http on another machine.
    :raises ConfigurationError: for a token endpoint that is no https URL.
    """

    def __init__(
        self,
        identity_url: str,
        client_id: str,
        client_secret: str,
        scope: str = DEFAULT_SCOPE,
        on_token: Callable[[str], None] | None = None,
        on_renewal: Callable[[bool], None] | None = None,
        *,
        allow_http: bool = False,
    ) -> None:
        try:
            self._url = check_url(identity_url, "identity_url", allow_http=allow_http)
        except ConfigurationError:
            del client_secret  # a traceback that shows variables must not show this one
            raise
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._on_token = on_token
        self._on_renewal = on_renewal or _tell_nobody
        digest = hashlib.sha256(client_secret.encode()).hexdigest()
        self._key = (self._url, client_id, digest, scope)

    def __repr__(self) -> str:
        return f"ClientCredentials({getattr(self, '_url', '?')!r}, ***)"

    def bearer(self, budget: Budget, transport: Transport) -> Bearer:
        """Give the cached token, or fetch one."""
        cell = self._cell()
        if cell.bearer is not None and time.monotonic() < cell.renew_at:
            return cell.bearer
        with cell.lock:
            now = time.monotonic()
            if cell.bearer is not None and now < cell.renew_at:
                return cell.bearer
            try:
                return self._fetch(cell, budget, transport)
            except CommsMiningError as error:
                # Renewal comes ahead of expiry, so that an identity server that is down for a moment does no harm.
                if error.transient and cell.bearer is not None and now < cell.expires_at:
                    return cell.bearer
                raise

    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> bool:
        """Fetch a new token, unless another thread already has."""
        cell = self._cell()
        with cell.lock:
            if cell.bearer is not None and cell.bearer.token != rejected.token:
                return True
            return self._fetch(cell, budget, transport).token != rejected.token

    def secrets(self) -> list[str]:
        """Give the App Secret, the token, and the one before it, which may still be valid."""
        cell = self._cell()
        return _longest_first(Bearer(self._client_secret), cell.bearer, cell.former)

    def _cell(self) -> _Cell:
        with _cells_lock:
            return _cells.setdefault(self._key, _Cell())

    def _fetch(self, cell: _Cell, budget: Budget, transport: Transport) -> Bearer:
        asked_at = time.monotonic()
        grant: _Grant | None = None
        try:
            grant = self._ask(budget, transport)
        finally:
            self._on_renewal(grant is not None)
        cell.former, cell.bearer = cell.bearer, grant.bearer
        cell.expires_at = asked_at + grant.life
        cell.renew_at = asked_at + max(grant.life - _RENEW_AHEAD, grant.life / 2)
        if self._on_token is not None:
            self._on_token(grant.bearer.token)
        return grant.bearer

    def _ask(self, budget: Budget, transport: Transport) -> _Grant:
        """Ask the identity server, and again for what may pass, within the budget of the call that needs the token."""
        failures = 0
        while True:
            answer = self._post(budget, transport)
            if isinstance(answer, _Grant):
                return answer
            failures += 1
            # Only the time is shared with the call: its own attempts are counted for its own server.
            own = Budget(budget.policy)
            own.failures, own.deadline = failures, budget.deadline
            pause = own.pause(answer.retry_after) if answer.transient else None
            if pause is None:
                answer.attempts = failures
                raise answer
            budget.wait(pause, answer)

    def _post(self, budget: Budget, transport: Transport) -> _Grant | CommsMiningError:
        reply = transport.send(
            "POST",
            self._url,
            auth=NoAuth(),
            seconds=budget.remaining(),
            body=self._form(),
            content_type="application/x-www-form-urlencoded",
        )
        if isinstance(reply, Reply):
            return self._grant(reply, transport)
        return TransportError(
            f"the identity server was not reached: {printable(self.scrub(reply.reason, transport), 400)}",
            method="POST",
            path=self._url,
            transient=reply.stage is not Stage.REFUSED_LOCALLY,
        )

    def _form(self) -> Unshown:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "scope": self._scope,
        }
        return Unshown(urlencode(form).encode())

    def _grant(self, reply: Reply, transport: Transport) -> _Grant | TokenError:
        facts: dict[str, Any] = {
            "method": "POST",
            "path": self._url,
            "status": reply.status,
            "transient": is_transient_status(reply.status),
            "retry_after": parse_retry_after(reply.headers),
        }
        try:
            answer = json.loads(reply.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            return TokenError(
                f"{status_text(reply.status)}, but not a token response: the body is not a JSON object. "
                "`identity_url` is probably not the token endpoint (which ends with /identity_/connect/token).",
                **facts,
            )
        if reply.status != 200 or "error" in answer:
            code = printable(self.scrub(str(answer.get("error", "no error code")), transport), 100)
            more = printable(self.scrub(str(answer.get("error_description", "")), transport), 300)
            message = f"{status_text(reply.status)}: {code}" + (f", {more}" if more else "") + _token_hint(code)
            return TokenError(message, error=code, **facts)
        token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
        if not isinstance(token, str) or _token_problem(token):
            return TokenError("the token response has no usable `access_token`; check `identity_url`", **facts)
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return TokenError("the token response is not for a bearer token; check `identity_url`", **facts)
        return _Grant(Bearer(token), _life(answer.get("expires_in")))


@dataclass(frozen=True, slots=True)
class _Grant:
    bearer: Bearer
    life: float


def _life(expires_in: object) -> float:
    try:
        return max(0.0, float(str(expires_in)))
    except ValueError:
        return _UNSTATED_LIFE


def _token_hint(code: str) -> str:
    hints = {
        "invalid_client": ". Check the App ID (login) and the App Secret (password)",
        "unauthorized_client": ". The application must be a confidential one that allows client credentials",
        "invalid_scope": f". Grant the application the scopes {DEFAULT_SCOPE}, or correct `scope`",
    }
    return hints.get(code, "")
