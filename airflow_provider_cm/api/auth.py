"""Authentication: bearer tokens, the interface that all kinds of credentials share, and the developer token.

From the vendor's page "Using the API", section "Authentication".
"""

from __future__ import annotations

import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from requests.auth import AuthBase

from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError, TokenError
from airflow_provider_cm.api.redaction import Sealed, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import PreparedRequest

    from airflow_provider_cm.api.retry import Budget
    from airflow_provider_cm.api.transport import Transport

_log = logging.getLogger(__name__)


class Bearer(AuthBase):
    """One token, in the form that ``requests`` expects; its ``repr`` does not show it.

    :param token: the bearer token.
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = Sealed(token)

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
        """Return the token to use now; fetch one if there is none.

        :param budget: the budget of the call.
        :param transport: to fetch with.
        :raises CommsMiningError: if no token could be fetched.
        """

    @abstractmethod
    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> Bearer | None:
        """After a 401, give another token than the rejected one; ``None`` if there is none.

        :param rejected: the token that was refused.
        :param budget: the budget of the call.
        :param transport: to fetch with.
        :raises CommsMiningError: if a new token could not be fetched.
        """

    @abstractmethod
    def secrets(self) -> list[str]:
        """Return the texts that must never be shown, longest first."""

    def scrub(self, text: str, transport: Transport) -> str:
        """Mask secrets in a text from a server or proxy: the credentials, and the passwords of proxies.

        :param text: the text.
        :param transport: the transport that received it.
        """
        return redact(text, [*self.secrets(), *transport.secrets()])


class DeveloperToken(Auth):
    """A developer's API token.

    :param token: the token, without ``Bearer``.
    :param reload: called once when the token is refused, to get the current token: generating a new token invalidates
        the previous one, and a secrets backend may hold the new one already. A :class:`CommsMiningError` that it raises
        ends the call; any other exception becomes a transient :class:`TokenError`, which shows only the exception's
        type.
    :param on_renewal: called after ``reload``, with ``True`` if that gave another token.
    :raises ConfigurationError: for a token that cannot be sent in a header. The message does not show it.
    """

    def __init__(
        self,
        token: str,
        reload: Callable[[], str] | None = None,
        on_renewal: Callable[[bool], None] | None = None,
    ) -> None:
        problem = token_problem(token)
        if problem:
            del token  # a traceback that shows variables must not show this one
            raise ConfigurationError(f"developer token: {problem}")
        self._bearer = Bearer(token)
        self._former: Bearer | None = None
        self._reload = reload
        self._on_renewal = on_renewal
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "DeveloperToken(***)"

    def bearer(self, budget: Budget, transport: Transport) -> Bearer:
        """Return the token."""
        return self._bearer

    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> Bearer | None:
        """Call ``reload`` for a new token, once for all threads whose requests with the old one were refused."""
        with held(self._lock, budget):
            if self._bearer.token != rejected.token:
                return self._bearer
            if self._reload is None:
                return None
            fresh: Bearer | None = None
            try:
                fresh = _reloaded(self._reload, rejected)
            finally:
                report(self._on_renewal, fresh is not None)
            if fresh is not None:
                self._former, self._bearer = self._bearer, fresh
            return fresh

    def secrets(self) -> list[str]:
        """Return the token and the previous one, which another thread may still be using."""
        return longest_first(self._bearer, self._former)


def _reloaded(reload: Callable[[], str], rejected: Bearer) -> Bearer | None:
    try:
        fresh = _usable(reload())
    except CommsMiningError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a secrets backend raises
        failure = type(error).__name__
    else:
        return None if fresh is None or fresh.token == rejected.token else fresh
    # Outside of the handler: the text of the exception, and its frames, may hold a secret.
    raise TokenError(
        f"401 Unauthorized: the token was not accepted, and the connection could not be read again for a newer one "
        f"({failure}); try again when the secrets backend answers",
        status=401,
        transient=True,
    )


def _usable(token: str) -> Bearer | None:
    return None if token_problem(token) else Bearer(token)


def token_problem(token: object) -> str | None:
    """Describe why a token cannot be sent in a header, without showing it; ``None`` if it can."""
    if not token or not isinstance(token, str):
        return "it is empty; put the API token from the Administration page, My Account, into the password"
    if token.lower().startswith("bearer "):
        return "it begins with 'Bearer '; give the token alone"
    if any(c.isspace() or not c.isprintable() for c in token) or not token.isascii():
        return "it holds white space, a line break or characters that no token has; copy it again, without line breaks"
    return None


def longest_first(*known: Bearer | None) -> list[str]:
    """Return the texts of the tokens that exist, longest first, so that none is masked only in part."""
    return sorted((each.token for each in known if each and each.token), key=len, reverse=True)


@contextlib.contextmanager
def held(lock: threading.Lock, budget: Budget) -> Iterator[None]:
    """Hold a lock that another call may hold while it fetches a token.

    :param lock: the lock.
    :param budget: the budget of the call that waits.
    :raises TokenError: transient, if the budget ended first.
    """
    if not lock.acquire(timeout=min(budget.remaining(), threading.TIMEOUT_MAX)):
        raise TokenError("no token in time: another call was still busy fetching one", transient=True)
    try:
        yield
    finally:
        lock.release()


def report(callback: Callable[[bool], None] | None, succeeded: bool) -> None:
    """Call ``on_renewal``; a call does not fail if that fails.

    :param callback: the function, ``None`` for none.
    :param succeeded: whether there is a new token.
    """
    try:
        if callback is not None:
            callback(succeeded)
    except Exception as error:  # noqa: BLE001  # whatever it is, the call goes on; its text may hold a secret
        _log.warning("on_renewal failed with %s; the call goes on", type(error).__name__)
