"""Where the probe's bearer tokens come from; nothing here ever shows a secret."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import requests
from requests.auth import AuthBase

if TYPE_CHECKING:
    from requests import PreparedRequest

SCOPE = "PM.User PM.User.Read Ixp.ApiAccess"


class TroubleError(Exception):
    """There was no answer that says anything about the API: no connection, a gateway's error, an unreadable body."""


class DeniedError(Exception):
    """The token is refused, so there is no point in asking on."""


class Credentials(Protocol):
    """The token to send, and another one after a refusal."""

    def token(self) -> str:
        """Return the token."""

    def renew(self) -> bool:
        """Get another token; false if there is no way to."""


@dataclass(frozen=True)
class TokenCredentials:
    """A token as it is."""

    value: str = field(repr=False)

    def token(self) -> str:
        """Return the token."""
        return self.value

    def renew(self) -> bool:
        """Nothing to be had but the token itself."""
        return False


@dataclass
class ApplicationCredentials:
    """
    Tokens minted for an external application.

    :param identity_url: the token endpoint.
    :param client_id: the App ID.
    :param client_secret: the App Secret.
    """

    identity_url: str
    client_id: str
    client_secret: str = field(repr=False)
    lifetime: int | None = None
    requests: int = 0
    _token: str = field(default="", repr=False)

    def token(self) -> str:
        """Return the token, minted on first use."""
        if not self._token:
            self.renew()
        return self._token

    def renew(self) -> bool:
        """Mint a token."""
        status, body = self._ask(self.client_secret)
        token = body.get("access_token")
        if not isinstance(token, str) or not token:
            code = str(body.get("error", "no access_token"))[:60]
            raise DeniedError(f"the token endpoint answered {status}: {code}")
        self._token = token
        lifetime = body.get("expires_in")
        self.lifetime = lifetime if isinstance(lifetime, int) else None
        return True

    def refusal(self) -> int:
        """Return the status of the answer to a wrong secret."""
        return self._ask(secrets.token_urlsafe(24))[0]

    def _ask(self, secret: str) -> tuple[int, dict[str, object]]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": secret,
            "scope": SCOPE,
        }
        self.requests += 1
        try:
            answer = requests.post(
                self.identity_url, data=form, timeout=30, allow_redirects=False, auth=_no_authorization
            )
        except requests.RequestException as error:
            raise TroubleError(f"the token endpoint can't be reached: {type(error).__name__}") from None
        try:
            body = answer.json()
        except ValueError:
            raise TroubleError(f"the token endpoint answered {answer.status_code} and no JSON") from None
        return answer.status_code, body if isinstance(body, dict) else {}


class ProbeAuth(AuthBase):
    """Puts a token on a request; as ``auth``, since a .netrc file would replace a plain header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token on a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_authorization(request: PreparedRequest) -> PreparedRequest:
    return request
