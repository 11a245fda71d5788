"""The errors: one class for each way in which a call can fail.

No message holds a secret, and texts from a server are made printable first, because they end up in logs.
Wording of the API's own errors: the vendor's page "Using the API", section "Errors".
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar


def printable(text: str, limit: int = 500) -> str:
    """Make text from outside safe for a log: escaped, and cut.

    Line breaks, terminal (ANSI) sequences and characters that reverse the direction of text are shown as escapes.

    :param text: text from a server, a file or a user.
    :param limit: characters to keep, 500 by default.
    """
    if text.isprintable() and len(text) <= limit:
        return text
    start = text[: limit + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in start)
    return escaped if len(start) <= limit else f"{escaped[:limit]}... ({len(text)} characters)"


class CommsMiningError(Exception):
    """Base class of all errors of this package's API client.

    :param message: what happened, and what to do next.
    :param transient: whether the same call may succeed later; each class has its own default.
    :param method: HTTP method of the call.
    :param path: path of the call below the endpoint, e.g. ``sources/acme/inbox``.
    :param status: HTTP status, ``None`` where no response arrived.
    :param api_message: the ``message`` of the API's error body.
    :param attempts: how many times the request was sent.
    :param platform_ms: the platform's own time from ``Server-Timing``, in milliseconds.
    :param retry_after: seconds from the ``Retry-After`` header.
    """

    transient: bool = False

    def __init__(
        self,
        message: str,
        *,
        transient: bool | None = None,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        api_message: str | None = None,
        attempts: int = 0,
        platform_ms: float | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        if transient is not None:
            self.transient = transient
        self.method = method
        self.path = path
        self.status = status
        self.api_message = api_message
        self.attempts = attempts
        self.platform_ms = platform_ms
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = []
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        if self.platform_ms is not None:
            facts.append(f"platform {self.platform_ms:g} ms")
        if self.retry_after is not None:
            facts.append(f"the server asks to wait {self.retry_after:g} s")
        where = f"{self.method} {self.path}: " if self.method and self.path else ""
        return f"{where}{self.args[0]}" + (f" ({', '.join(facts)})" if facts else "")


class ConfigurationError(CommsMiningError, ValueError):
    """A setting or an argument is wrong; no request was sent. The message names the field and the remedy."""


class TransportError(CommsMiningError):
    """No HTTP response: the name was not found, TLS failed, the connection was refused, reset or timed out.

    ``timed_out`` says whether the request was sent, and no (complete) response came in time.
    """

    transient = True
    timed_out: bool = False


class ApiError(CommsMiningError):
    """The API answered with an error. The subclass tells which; this class is for the statuses without one."""

    hint: ClassVar[str] = ""


class BadRequestError(ApiError):
    """400 or 422: the server refused a value."""

    hint = "Correct the value that the message names"


class AuthenticationError(ApiError):
    """401: the token was not accepted."""

    hint = (
        "The token was not accepted: generating a new developer token invalidates the previous one, so put the "
        "current one into the connection; for an external application check the App ID and the App Secret"
    )


class PermissionDeniedError(ApiError):
    """403: the token is valid, but may not do this; or a quota is full."""

    hint = "A full quota is reported in the same way, so check the tenant's quotas too"


class NotFoundError(ApiError):
    """404: no such source, project or endpoint, or not visible with these permissions."""

    hint = (
        "Check the project and the name (what a user may not see looks missing too), and the endpoint in the connection"
    )


class ConflictError(ApiError):
    """409, or a create whose name belongs to another source.

    :param differences: for a create, each field that differs: its name to (actual, wanted).
    """

    hint = "It exists already, or someone else changed it at the same time"

    def __init__(
        self,
        message: str,
        *,
        differences: dict[str, tuple[object, object]] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.differences = differences or {}


class RateLimitedError(ApiError):
    """429: too many requests, even after waiting."""

    transient = True
    hint = "Lower the number of tasks that run at once (an Airflow pool helps), or raise `max_retry_seconds`"


class ServerError(ApiError):
    """5xx: a problem on the platform's side."""

    transient = True
    hint = "The platform, or a gateway before it, has a problem: retry later"


class ProtocolError(CommsMiningError):
    """The response is not from this API: not JSON, a missing or contradictory ``status``, or a redirect."""


class NotShownError(ProtocolError):
    """The response is from this API, but lacks a necessary field, and a retry will not change that."""


class TokenError(CommsMiningError):
    """The identity server did not give a token.

    :param error: the OAuth error code, e.g. ``invalid_client``, where there was one.
    """

    def __init__(self, message: str, *, error: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.error = error


class OutcomeUnknownError(CommsMiningError):
    """A write may or may not have been carried out, and reading the source did not show it in time."""

    transient = True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    429: RateLimitedError,
}

# 408 and 425 say that the request was not processed, as 429 does; 5xx may come from anywhere on the way.
RETRIED_CLIENT_STATUSES = frozenset({408, 425, 429})


def is_transient_status(status: int) -> bool:
    """Whether a retry may help after a response with this HTTP status."""
    return status in RETRIED_CLIENT_STATUSES or status >= 500


def status_text(status: int) -> str:
    """Return ``404 Not Found`` for 404, and ``HTTP 299`` for a status without a name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def api_error(
    status: int, api_message: str, *, method: str, path: str, permission: str | None = None, **facts: Any
) -> ApiError:
    """Make the typed error for an error response of the API.

    :param status: HTTP status.
    :param api_message: the body's ``message``; it is made printable here.
    :param method: HTTP method.
    :param path: path below the endpoint.
    :param permission: the permission that the vendor's page names for the endpoint, e.g. ``Sources admin``.
    :param facts: further facts that :class:`CommsMiningError` keeps.
    """
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    message = printable(api_message) or "no message"
    hint = kind.hint
    if kind is PermissionDeniedError and permission:
        hint = f"This needs the permission '{permission}' on the project. {hint}"
    elif kind is AuthenticationError and permission:
        hint = f"{hint}. Some endpoints also answer so when the permission ('{permission}') is missing"
    return kind(
        f"{status_text(status)}: {message.removesuffix('.')}" + (f". {hint}." if hint else ""),
        method=method,
        path=path,
        status=status,
        api_message=message,
        transient=is_transient_status(status) or None,
        **facts,
    )
