"""Guards that an administrator puts on a connection, checked before any request leaves.

They protect against mistakes of those who may use the connection, in every way it can be used; the permissions of the
token itself remain the real boundary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

LOAD_TIMEOUT = 240.0
"""Seconds without a byte while a load is answered: what the vendor's command-line client waits."""

_LOADS = frozenset({"sync", "sync-raw-emails", "sync-csv", "comments", "messages", "emails"})
_PROJECT = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Guards:
    """The calls that a session refuses.

    :param read_only: refuse everything but reading.
    :param allow_delete: whether deletes are let through.
    :param allow_load: whether messages may be loaded, which the vendor charges for.
    :param allowed_projects: patterns (``*``, ``?``, ``[...]``) of the projects that may be written to; ``None``: all.
    """

    read_only: bool = False
    allow_delete: bool = True
    allow_load: bool = True
    allowed_projects: tuple[str, ...] | None = None

    def check(self, method: str, path: tuple[str, ...], owner_of: Callable[[str], str], version: str = "v1") -> None:
        """Refuse a call that the guards do not allow.

        :param method: HTTP method.
        :param path: the segments below ``/api/<version>``, unencoded.
        :param owner_of: reads the project of the source with this id.
        :param version: the part of the path after ``/api/``, ``v1`` by default.
        :raises ConfigurationError: naming the guard.
        """
        # A slash inside of a segment travels as %2F, which the server takes for a separator like any other, and some
        # servers a backslash too.
        whole = tuple(part for segment in path for part in re.split(r"[/\\]", segment))
        if method in {"GET", "HEAD"} or is_reading_post(method, whole, version):
            return
        parts = tuple(part for part in whole if part)
        what = f"{method} {printable('/'.join(parts))}"
        if self.read_only:
            raise ConfigurationError(f"{what} was not sent: the connection is `read_only`")
        if method == "DELETE" and not self.allow_delete:
            raise ConfigurationError(f"{what} was not sent: the connection has `allow_delete` set to false")
        if not self.allow_load and is_load(method, parts):
            raise ConfigurationError(f"{what} was not sent: the connection has `allow_load` set to false")
        if self.allowed_projects is not None:
            self._check_project(what, parts, owner_of)

    def _check_project(self, what: str, parts: tuple[str, ...], owner_of: Callable[[str], str]) -> None:
        allowed = self.allowed_projects or ()
        project = parts[1] if len(parts) > 1 else ""
        if project.startswith("id:") and project != "id:" and parts[0] == "sources":
            project = owner_of(project.removeprefix("id:"))
        # A name of a server's own reading (a dot segment, parameters after a semicolon) may be another project to it.
        if not _PROJECT.fullmatch(project) or {".", ".."} & set(parts):
            raise ConfigurationError(
                f"{what} was not sent: it does not tell which project it writes to, and the connection has "
                f"`allowed_projects` ({', '.join(allowed)})"
            )
        if not any(fnmatchcase(project, pattern) for pattern in allowed):
            raise ConfigurationError(
                f"{what} was not sent: project '{printable(project)}' is not among the connection's "
                f"`allowed_projects` ({', '.join(allowed) or 'none'})"
            )


def is_load(method: str, path: tuple[str, ...]) -> bool:
    """Whether this puts messages into a source, or emails into a bucket, on any endpoint that can.

    :param method: HTTP method.
    :param path: the segments below ``/api/<version>``, unencoded.
    """
    parts = [part.split(";")[0].lower() for segment in path for part in re.split(r"[/\\]", segment) if part]
    # A source or a bucket may have any of these names itself.
    below = parts[2:] if len(parts) > 1 and parts[1].startswith("id:") else parts[3:]
    return method in {"PUT", "POST", "PATCH"} and not _LOADS.isdisjoint(below)


def is_reading_post(method: str, parts: tuple[str, ...], version: str) -> bool:
    """Whether this is one of the API's queries that are made with POST: a source's statistics."""
    return (
        (method, version) == ("POST", "v1") and len(parts) == 4 and parts[0] == "sources" and parts[3] == "statistics"
    )
