"""An external application's credentials: exchanged for a token that is shared within the process and renewed in time.

From the vendor's page "Using the API", section "Authentication with external applications"; the token request and its
answers are those of RFC 6749, sections 4.4 and 5.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_cm.api.auth import Auth, Bearer, NoAuth, held, longest_first, report, token_problem
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
from airflow_provider_cm.api.json_decoding import decode_json
from airflow_provider_cm.api.redaction import NoFrames, Sealed
from airflow_provider_cm.api.retry import Budget, parse_retry_after, repeat
from airflow_provider_cm.api.transport import Reply, Stage, UnshownBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.api.transport import Transport

_log = logging.getLogger(__name__)

DEFAULT_SCOPE = "PM.User PM.User.Read Ixp.ApiAccess"
"""The scopes that the vendor's page requires of an external application."""

# A token without a stated life (RFC 6749 leaves it optional), or with one that is no time, is renewed after so long.
_UNSTATED_LIFE = 300.0
_LONGEST_LIFE = 24 * 3600.0
_RENEW_AHEAD = 60.0
# While the present token is valid, a renewal takes at most this long, and no more than this share of what the call and
# the token have left; when it fails, the next one waits.
_EARLY_SECONDS = 3.0
_EARLY_SHARE = 0.25
_EARLY_PAUSE = 10.0


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
    expiry: by one thread at a time and for a few seconds, in which the others go on with the present token. That one is
    used until it expires when the renewal fails, for whatever reason.

    :param identity_url: the token endpoint, e.g. ``https://cloud.uipath.com/<org>/identity_/connect/token``.
    :param client_id: the App ID.
    :param client_secret: the App Secret.
    :param scope: scopes, separated by spaces.
    :param on_token: called with each token fetched, so that it can be masked in logs; if it fails, the token is not
        used.
    :param on_renewal: called after each attempt to fetch one, the first included, with whether it succeeded.
    :param allow_http: accept a token endpoint with plain http on another machine.
    :raises ConfigurationError: for a token endpoint that is no https URL, and for an App Secret that is empty or cannot
        be sent.
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
        # A traceback that shows variables must not show this one.
        client_secret = Sealed(client_secret or "")
        if not client_secret or any("\ud800" <= char <= "\udfff" for char in client_secret):
            raise ConfigurationError("App Secret: it is empty, or holds characters that cannot be sent; copy it again")
        self._url = check_url(identity_url, "identity_url", allow_http=allow_http)
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._on_token = on_token
        self._on_renewal = on_renewal
        digest = hashlib.sha256(client_secret.encode()).hexdigest()
        self._key = (self._url, client_id, digest, scope)

    def __repr__(self) -> str:
        return f"ClientCredentials({getattr(self, '_url', '?')!r}, ***)"

    def bearer(self, budget: Budget, transport: Transport) -> Bearer:
        """Return the cached token, or fetch one."""
        cell = self._cell()
        present, now = cell.bearer, time.monotonic()
        if present is not None and now < cell.renew_at:
            return present
        if present is not None and now < cell.expires_at:
            return self._renewed_early(cell, present, budget, transport)
        with held(cell.lock, budget):
            if cell.bearer is not None and time.monotonic() < cell.renew_at:
                return cell.bearer
            return self._fetch(cell, budget, transport)

    def _renewed_early(self, cell: _Cell, present: Bearer, budget: Budget, transport: Transport) -> Bearer:
        """Try once to replace a token that is valid for some time still, which is good enough if that fails."""
        if not cell.lock.acquire(blocking=False):
            return present  # another thread is trying
        try:
            now = time.monotonic()
            if cell.bearer is not None and now < cell.renew_at:
                return cell.bearer  # another thread has succeeded, or has just failed
            left = min(budget.remaining(), cell.expires_at - now)
            seconds = min(_EARLY_SECONDS, left * _EARLY_SHARE)
            early = Budget(replace(budget.policy, max_attempts=1), deadline=budget.policy.clock() + seconds)
            try:
                return self._fetch(cell, early, transport)
            except CommsMiningError as error:
                cell.renew_at = min(time.monotonic() + _EARLY_PAUSE, cell.expires_at)
                _log.warning("%s; the present token is valid for %.0f s and is used", error, cell.expires_at - now)
            return present
        finally:
            cell.lock.release()

    def renew(self, rejected: Bearer, budget: Budget, transport: Transport) -> Bearer | None:
        """Fetch a new token, unless another thread already has."""
        cell = self._cell()
        with held(cell.lock, budget):
            if cell.bearer is not None and cell.bearer.token != rejected.token:
                return cell.bearer
            fresh = self._fetch(cell, budget, transport)
            return fresh if fresh.token != rejected.token else None

    def secrets(self) -> list[str]:
        """Return the App Secret, the token, and the one before it, which may still be valid."""
        cell = self._cell()
        return longest_first(Bearer(self._client_secret), cell.bearer, cell.former)

    def _cell(self) -> _Cell:
        with _cells_lock:
            return _cells.setdefault(self._key, _Cell())

    def _fetch(self, cell: _Cell, budget: Budget, transport: Transport) -> Bearer:
        asked_at = time.monotonic()
        grant: _Grant | None = None
        try:
            grant = self._ask(budget, transport)
            self._announce(grant.bearer)
        finally:
            report(self._on_renewal, grant is not None)
        cell.former, cell.bearer = cell.bearer, grant.bearer
        cell.expires_at = asked_at + grant.life
        cell.renew_at = asked_at + max(grant.life - _RENEW_AHEAD, grant.life / 2)
        return grant.bearer

    def _announce(self, bearer: Bearer) -> None:
        """Have a token masked before it is used; one that cannot be masked is not."""
        failure: str | None = None
        try:
            if self._on_token is not None:
                self._on_token(bearer.token)
        except Exception as error:  # noqa: BLE001  # whatever it is; its text may hold the token
            failure = type(error).__name__
        if failure is not None:
            raise TokenError(f"the new token was not used: on_token failed with {failure}", transient=True)

    def _ask(self, budget: Budget, transport: Transport) -> _Grant:
        """Send the token request, and retry it within the time of the call that needs the token."""
        # Only the time is shared with the call, whose attempts are counted for its own server.
        own = Budget(budget.policy, budget.on_wait, deadline=budget.deadline)

        def attempt() -> _Grant | CommsMiningError:
            answer = self._post(own, transport)
            if not isinstance(answer, _Grant):
                own.failures += 1
            return answer

        answer = repeat(attempt, own, _transient)
        if isinstance(answer, _Grant):
            return answer
        answer.attempts = own.failures
        raise answer

    def _post(self, budget: Budget, transport: Transport) -> _Grant | CommsMiningError:
        with NoFrames():
            return self._posted(budget, transport)

    def _posted(self, budget: Budget, transport: Transport) -> _Grant | CommsMiningError:
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

    def _form(self) -> UnshownBody:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "scope": self._scope,
        }
        return UnshownBody(urlencode(form).encode())

    def _grant(self, reply: Reply, transport: Transport) -> _Grant | TokenError:
        facts: dict[str, Any] = {
            "method": "POST",
            "path": self._url,
            "status": reply.status,
            "transient": is_transient_status(reply.status),
            "retry_after": parse_retry_after(reply.headers),
        }
        try:
            answer = decode_json(reply.body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            return TokenError(
                f"{status_text(reply.status)}, but not a token response: the body is not a JSON object. "
                "`identity_url` is probably not the token endpoint (which ends with /identity_/connect/token).",
                **facts,
            )
        if reply.status != 200 or "error" in answer:
            code = printable(self.scrub(_word(answer.get("error")) or "no error code", transport), 100)
            more = printable(self.scrub(_word(answer.get("error_description")), transport), 300)
            message = f"{status_text(reply.status)}: {code}" + (f", {more}" if more else "") + _token_hint(code)
            return TokenError(message, error=code, **facts)
        token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
        if not isinstance(token, str) or token_problem(token):
            return TokenError("the token response has no usable `access_token`; check `identity_url`", **facts)
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return TokenError("the token response is not for a bearer token; check `identity_url`", **facts)
        return _Grant(Bearer(token), _life(answer.get("expires_in")))


@dataclass(frozen=True, slots=True)
class _Grant:
    bearer: Bearer
    life: float


def _transient(answer: _Grant | CommsMiningError) -> CommsMiningError | None:
    return answer if isinstance(answer, CommsMiningError) and answer.transient else None


def _life(expires_in: object) -> float:
    """Read a number of seconds, which some servers write as text; what is no time at all counts as not stated."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return _UNSTATED_LIFE
    try:
        life = float(expires_in)
    except (ValueError, OverflowError):
        return _UNSTATED_LIFE
    return min(max(0.0, life), _LONGEST_LIFE) if math.isfinite(life) else _UNSTATED_LIFE


def _word(value: object) -> str:
    # Only texts: anything else may be nested more deeply than it can be written.
    return value if isinstance(value, str) else ""


def _token_hint(code: str) -> str:
    hints = {
        "invalid_client": ". Check the App ID (login) and the App Secret (password)",
        "unauthorized_client": ". The application must be a confidential one that allows client credentials",
        "invalid_scope": f". Grant the application the scopes {DEFAULT_SCOPE}, or correct `scope`",
    }
    return hints.get(code, "")
