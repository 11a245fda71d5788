"""The plain values that the emulator keeps: sources, projects, buckets, users, and the changes that were made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the real time; the clock unless a test brings its own."""
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
    email_transform_version: int


class ProjectFields(TypedDict, total=False):
    """The fields of a project that a request may hold."""

    title: str
    description: str
    user_auto_join: bool


@dataclass(frozen=True, slots=True)
class StoredSource:
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
    email_transform_version: int | None = None
    num_comments: int = 0


@dataclass(frozen=True, slots=True)
class StoredProject:
    """One project of a tenant."""

    id: str
    name: str
    title: str
    description: str
    created_at: datetime
    updated_at: datetime
    user_auto_join: bool = False


@dataclass(frozen=True, slots=True)
class StoredBucket:
    """One bucket of a project: where a source can load its data from."""

    id: str
    owner: str
    name: str
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredUser:
    """
    One user of a tenant.

    :param permissions: by project.
    :param created_at: ``None`` for the owner of one of the emulator's own tokens, who was always there.
    """

    id: str
    username: str
    email: str
    permissions: Mapping[str, tuple[str, ...]]
    global_permissions: tuple[str, ...] = ()
    created_at: datetime | None = None

    def changed(self, fields: Mapping[str, Any]) -> StoredUser:
        """Return the user with the permissions that a request holds."""
        permissions = {name: tuple(each) for name, each in fields.get("organisation_permissions", {}).items()}
        return replace(
            self,
            permissions={**self.permissions, **permissions},
            global_permissions=tuple(fields.get("global_permissions", self.global_permissions)),
        )


@dataclass(frozen=True, slots=True)
class SourceChange:
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
    before: StoredSource | None
    after: StoredSource | None
    request: int | None = None
