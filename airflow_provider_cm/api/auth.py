"""A bearer token and where it comes from: what every kind of credentials has in common, and the developer token.

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
    """One token, as ``requests`` wants it; it shows itself to nobody.

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
        """Give the token to use now, fetching one where needed.

        :param budget: what the calling request has left.
        :param transport: to fetch with.
        :raises CommsMiningError: when there is none to be had.
        """

    @abstractmethod
    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> bool:
        """After a 401: whether there is another token now than the rejected one.

        :raises CommsMiningError: when looking for one failed.
        """

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
        rotated it); generating a new token invalidates the previous one. A :class:`CommsMiningError` of it ends the
        call; any other exception is a transient :class:`TokenError`, which names no more than its type.
    :param on_renewal: called after ``reload`` was asked, with whether that gave another token.
    :raises ConfigurationError: for a token that no header can carry. The message does not show it.
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
        """Give the token."""
        return self._bearer

    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> bool:
        """Ask ``reload`` for a new token, once for all threads that were refused with the old one."""
        with held(self._lock, budget):
            if self._bearer.token != rejected.token:
                return True
            if self._reload is None:
                return False
            fresh: Bearer | None = None
            try:
                fresh = _reloaded(self._reload, rejected)
            finally:
                report(self._on_renewal, fresh is not None)
            if fresh is None:
                return False
            self._former, self._bearer = self._bearer, fresh
            return True

    def secrets(self) -> list[str]:
        """Give the token, and the one before it, with which a call of another thread may still be under way."""
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
    """Say what keeps a token from being sent in a header, without showing it."""
    if not token or not isinstance(token, str):
        return "it is empty; put the API token from the Administration page, My Account, into the password"
    if token.lower().startswith("bearer "):
        return "it begins with 'Bearer '; give the token alone"
    if any(c.isspace() or not c.isprintable() for c in token) or not token.isascii():
        return "it holds white space, a line break or characters that no token has; copy it again, without line breaks"
    return None


def longest_first(*known: Bearer | None) -> list[str]:
    """Give the tokens that there are, longest first."""
    return sorted((each.token for each in known if each and each.token), key=len, reverse=True)


@contextlib.contextmanager
def held(lock: threading.Lock, budget: Budget) -> Iterator[None]:
    """Hold a lock that another call may hold while it fetches a token.

    :param lock: the lock.
    :param budget: of the call that waits.
    :raises TokenError: transient, when the budget was over first.
    """
    if not lock.acquire(timeout=min(budget.remaining(), threading.TIMEOUT_MAX)):
        raise TokenError("no token in time: another call was still busy fetching one", transient=True)
    try:
        yield
    finally:
        lock.release()


def report(callback: Callable[[bool], None] | None, succeeded: bool) -> None:
    """Report how a renewal went to whoever asked for it; a call does not fail because of that.

    :param callback: called with ``succeeded``.
    :param succeeded: whether there is another token now.
    """
    try:
        if callback is not None:
            callback(succeeded)
    except Exception as error:  # noqa: BLE001  # whatever it is, the call goes on; its text may hold a secret
        _log.warning("on_renewal failed with %s; the call goes on", type(error).__name__)
