"""The plain values that the emulator keeps: sources, projects, buckets, tokens, and what was done."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.faults import Fault

Clock = Callable[[], datetime]

READ = "sources-read"
ADMIN = "sources-admin"
# What the vendor's pages call the permissions that its wire format abbreviates.
PERMISSION_LABELS = {READ: "View sources", ADMIN: "Sources admin"}
ROLES = {
    "admin": frozenset({READ, ADMIN, "buckets-read", "buckets-write", "users-read"}),
    "viewer": frozenset({READ, "buckets-read"}),
    "none": frozenset[str](),
}


def utc_now() -> datetime:
    """Tell the real time; the clock used unless a test brings its own."""
    return datetime.now(UTC)


def new_id() -> str:
    """Make an id as the service does: 16 lower-case hexadecimal digits."""
    return secrets.token_hex(8)


class SourceFields(TypedDict, total=False):
    """The fields of a source that a request may hold."""

    title: str
    description: str
    language: str
    should_translate: bool
    sensitive_properties: list[str]
    bucket_id: str | None
    _kind: str
    email_transform_tag: str


class TextFields(TypedDict, total=False):
    """What may be said of a project."""

    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Source:
    """One source as it stands; a change makes a new one."""

    id: str
    owner: str
    name: str
    title: str
    description: str
    created_at: datetime
    updated_at: datetime
    language: str = "en"
    should_translate: bool = False
    sensitive_properties: tuple[str, ...] = ()
    bucket_id: str | None = None
    kind: str = "unknown"
    email_transform_tag: str | None = None
    num_comments: float = 0.0


@dataclass(frozen=True, slots=True)
class Project:
    """One project of a tenant."""

    id: str
    name: str
    title: str
    description: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a project: where a source can load its data from."""

    id: str
    owner: str
    name: str
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """A bearer token and what it allows, on every tenant of the emulator."""

    name: str
    value: str
    permissions: frozenset[str]
    user_id: str = field(default_factory=new_id)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """An external application that can have tokens minted."""

    client_id: str
    secret: str
    permissions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Change:
    """
    One write that was carried out.

    :param at: when, by the emulator's clock.
    :param tenant: path of the tenant.
    :param action: what was done.
    :param before: the whole source before it; ``None`` for a create.
    :param after: the whole source after it; ``None`` for a delete.
    :param request: number of the request that did it, as in :attr:`RecordedRequest.number`; ``None`` for what a test
        did without one.
    """

    at: datetime
    tenant: str
    action: Literal["create", "update", "delete"]
    before: Source | None
    after: Source | None
    request: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """
    One request as it came over the wire.

    :param method: HTTP method.
    :param path: path and query, undecoded.
    :param headers: request headers; names are looked up in any case.
    :param body: the bytes sent.
    :param status: HTTP status answered; 0 if there was no answer, because a fault kept it back or the client left.
    :param tenant: path of the tenant, ``/`` for the one at the root; empty for the token endpoint.
    :param token: name of the known token that was sent, if any.
    :param at: when the answer began, by the emulator's clock.
    :param number: counts the requests as they arrived, from 1; the record is in the order of the answers.
    :param fault: the fault that it met, if any.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    tenant: str
    token: str | None
    at: datetime
    number: int = 0
    fault: Fault | None = None

    @property
    def json(self) -> Any:
        """The body, parsed; ``None`` if there is none."""
        return json.loads(self.body) if self.body else None
