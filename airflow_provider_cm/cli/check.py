"""The steps of ``airflow comms-mining check``: which parts of a connection work, and which permission is missing."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import (
    AuthenticationError,
    CommsMiningError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    TokenError,
    TransportError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.connection_settings import ConnectionLike, ConnectionSettings

Step = tuple[str, str, str]
"""A mark, the step's name, and a message."""
OK, FAIL, UNKNOWN = "ok", "FAIL", "?"
STEPS = ("connection", "settings", "identity", "endpoint", "token", "sources", "writing", "guards")


def examine(
    conn_id: str,
    find: Callable[[str], ConnectionLike],
    make_hook: Callable[[ConnectionLike], CommsMiningHook],
) -> Iterator[Step]:
    """Try the parts of a connection one after the other.

    :param conn_id: the connection.
    :param find: looks a connection up.
    :param make_hook: makes the hook, with one attempt for each call.
    """
    from airflow_provider_cm.hooks.connection_settings import parse_connection

    prefix = f"connection '{conn_id}': "
    try:
        connection = find(conn_id)
    except ConfigurationError as error:
        yield FAIL, "connection", str(error).removeprefix(prefix)
        return
    yield OK, "connection", f"'{printable(conn_id)}' was found"
    try:
        settings = parse_connection(connection)
        sources = make_hook(connection).sources
    except ConfigurationError as error:
        yield FAIL, "settings", str(error).removeprefix(prefix)
        return
    who = "a developer token" if settings.app_id is None else "an external application"
    yield OK, "settings", f"{who} for {settings.endpoint}"
    visible: Sequence[Source] = ()
    try:
        visible = sources.list()
    except CommsMiningError as error:
        yield from _failure(error, settings)
    else:
        yield from _reached(settings)
        yield OK, "token", "it was accepted"
        yield _visible(visible)
        yield _writing(settings)
    yield _guards(settings, visible)


def _failure(error: CommsMiningError, settings: ConnectionSettings) -> Iterator[Step]:
    """Tell from the error of the list which steps had worked before it."""
    message = f"{error}" + (
        " This was a single attempt, and the error may go away: try again." if error.transient else ""
    )
    # The list is a GET; only the identity server gets a POST.
    if isinstance(error, TokenError) or (isinstance(error, TransportError) and error.method == "POST"):
        yield FAIL, "identity", message
        return
    if isinstance(error, TransportError | ProtocolError | NotFoundError):
        yield _identity(settings)
        yield FAIL, "endpoint", message
        return
    yield from _reached(settings)
    if isinstance(error, AuthenticationError):
        yield FAIL, "token", message
    elif isinstance(error, PermissionDeniedError):
        yield OK, "token", "it was accepted"
        yield FAIL, "sources", message
        yield _writing(settings)
    else:
        yield UNKNOWN, "token", "the server failed before it checked the token"
        yield FAIL, "sources", message


def _identity(settings: ConnectionSettings) -> Step:
    if settings.app_id is None:
        return OK, "identity", "not needed with a developer token"
    return OK, "identity", f"{settings.identity_url} gave a token"


def _reached(settings: ConnectionSettings) -> Iterator[Step]:
    yield _identity(settings)
    if not settings.endpoint.startswith("https://"):
        yield OK, "endpoint", "reached over plain http, where others can read the token"
    elif settings.verify is False:
        yield OK, "endpoint", "reached over TLS, but its certificate is not checked (`verify` is false)"
    else:
        yield OK, "endpoint", "reached over TLS"


def _visible(sources: Sequence[Source]) -> Step:
    if not sources:
        return (
            UNKNOWN,
            "sources",
            "0 are visible: there are none yet, or the permission 'View sources' is missing on their projects",
        )
    projects = sorted({source.project for source in sources})
    names = ", ".join(printable(project, 60) for project in projects[:5]) + (", ..." if len(projects) > 5 else "")
    return OK, "sources", f"{_counted(len(sources), 'source')} in {_counted(len(projects), 'project')} visible: {names}"


def _writing(settings: ConnectionSettings) -> Step:
    if settings.guards.read_only:
        return OK, "writing", "refused by the connection, which is `read_only`"
    return UNKNOWN, "writing", "only a write to a project shows whether the permission 'Sources admin' is granted on it"


def _guards(settings: ConnectionSettings, visible: Sequence[Source]) -> Step:
    guards = settings.guards
    allowed = guards.allowed_projects
    text = (
        f"read_only {str(guards.read_only).lower()}, allow_delete {str(guards.allow_delete).lower()}, "
        f"allowed_projects {printable(', '.join(allowed)) if allowed is not None else 'all'}"
    )
    if allowed and visible and not any(fnmatchcase(each.project, pattern) for each in visible for pattern in allowed):
        return UNKNOWN, "guards", f"{text}; none of the visible projects is allowed"
    return OK, "guards", text


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
