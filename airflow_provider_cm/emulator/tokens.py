"""Bearer tokens and external applications: what is valid, where, and until when."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.records import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_provider_cm.emulator.records import Clock
    from airflow_provider_cm.emulator.tenant import Tenant

API_SCOPE = "Ixp.ApiAccess"
SCOPES = ("PM.User", "PM.User.Read", API_SCOPE)


@dataclass(frozen=True, slots=True)
class Grant:
    """
    A bearer token and what it allows.

    :param tenant: path of the only tenant that knows it; ``None`` if all do, as with the documented tokens.
    :param organization: the only organization whose tenants know it; ``None`` if all do.
    """

    name: str
    value: str
    permissions: frozenset[str]
    user_id: str = field(default_factory=new_id)
    expires_at: datetime | None = None
    tenant: str | None = None
    organization: str | None = None

    def belongs_to(self, tenant: Tenant) -> bool:
        """Return whether a tenant knows the token."""
        return self.tenant in (None, tenant.path) and self.organization in (None, tenant.organization)


@dataclass(frozen=True, slots=True)
class Application:
    """An external application that can have tokens minted."""

    client_id: str
    secret: str
    permissions: frozenset[str]
    user_id: str = field(default_factory=new_id)


class Tokens:
    """
    The tokens of one emulator.

    :param clock: decides what has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._minted = 0
        # By value.
        self.grants: dict[str, Grant] = {}
        self.applications: dict[str, Application] = {}

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._minted = 0
            self.grants = {}
            self.applications = {}

    def add(self, name: str, value: str, permissions: frozenset[str], *, tenant: str | None = None) -> Grant:
        """
        Make a bearer token valid.

        :param tenant: path of the only tenant that knows it; all do if not given.
        """
        with self._lock:
            if value in self.grants:
                raise RefusedRequestError(409, "That value is a known token already")
            if any(grant.name == name for grant in self.grants.values()):
                raise RefusedRequestError(409, f"There is a token named '{name}' already")
            self.grants[value] = Grant(name, value, permissions, tenant=tenant)
            return self.grants[value]

    def add_application(self, client_id: str, secret: str, permissions: frozenset[str]) -> None:
        """Make an external application known."""
        self.applications[client_id] = Application(client_id, secret, permissions)

    def named(self, name: str) -> Grant:
        """Return the token of that name; 404 if there is none."""
        with self._lock:
            for grant in self.grants.values():
                if grant.name == name:
                    return grant
        raise RefusedRequestError(404, f"There is no token named '{name}'")

    def owners(self, tenant: Tenant) -> list[Grant]:
        """Return one token for each of a tenant's users that has any."""
        with self._lock:
            known = {grant.user_id: grant for grant in self.grants.values() if grant.belongs_to(tenant)}
            return list(known.values())

    def revoke(self, name: str) -> None:
        """Make a token invalid, as deleting it would."""
        with self._lock:
            del self.grants[self.named(name).value]

    def expire(self, name: str) -> None:
        """Make a token expire now."""
        with self._lock:
            grant = self.named(name)
            self.grants[grant.value] = replace(grant, expires_at=self._clock())

    def replace(self, name: str, value: str) -> Grant:
        """Replace the value of a token, as its owner regenerating it would; the old value is refused from then on."""
        with self._lock:
            if value in self.grants:
                raise RefusedRequestError(409, "That value is a known token already")
            old = self.named(name)
            del self.grants[old.value]
            self.grants[value] = replace(old, value=value)
            return self.grants[value]

    def mint(self, client_id: str, scopes: Sequence[str], lifetime: int, organization: str | None) -> Grant:
        """
        Make a token for an external application; without the API's scope it opens nothing.

        :param lifetime: seconds that it is valid.
        :param organization: the organization whose token endpoint was asked, if it was an organization's.
        """
        with self._lock:
            application = self.applications[client_id]
            now = self._clock()
            # Long dead tokens go, so that a server left running does not collect them.
            day = timedelta(days=1)
            for grant in list(self.grants.values()):
                if grant.expires_at is not None and grant.expires_at + day < now:
                    del self.grants[grant.value]
            self._minted += 1
            grant = Grant(
                name=f"{client_id}#{self._minted}",
                value=secrets.token_urlsafe(32),
                permissions=application.permissions if API_SCOPE in scopes else ROLES["none"],
                user_id=application.user_id,
                expires_at=now + timedelta(seconds=lifetime),
                organization=organization,
            )
            self.grants[grant.value] = grant
            return grant

    def authenticate(self, value: str | None, tenant: Tenant) -> Grant:
        """Return the grant of a bearer token; 401 if there is none, it is another tenant's, or it has expired."""
        headers = {"WWW-Authenticate": "Bearer"}
        if not value:
            raise RefusedRequestError(401, "Authentication is required: send Authorization: Bearer <token>", headers)
        with self._lock:
            grant = self.grants.get(value)
        if grant is None or not grant.belongs_to(tenant):
            raise RefusedRequestError(401, "The token is not valid", headers)
        if grant.expires_at is not None and grant.expires_at <= self._clock():
            raise RefusedRequestError(401, "The token has expired", headers)
        return grant

    def find(self, authorization: str | None) -> Grant | None:
        """Return the known token that an Authorization header holds, if it holds one."""
        value = bearer_value(authorization)
        with self._lock:
            return self.grants.get(value) if value else None


def bearer_value(authorization: str | None) -> str | None:
    """Take the token out of an Authorization header, if it is one of kind Bearer."""
    scheme, _, value = (authorization or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None
