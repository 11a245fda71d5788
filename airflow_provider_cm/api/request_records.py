"""Records for observers: of each call with its requests, and of each wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and how it ended.

    :param status: HTTP status, ``None`` without a response.
    :param error: class name of the error, ``None`` for a success.
    :param total_ms: time from sending to the end of the response, in milliseconds.
    """

    status: int | None
    error: str | None
    total_ms: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One call, passed to the observer when the call has ended.

    :param method: HTTP method.
    :param path: path below the endpoint's API, e.g. ``sources/acme/inbox``.
    :param route: the same with placeholders, for metrics, e.g. ``sources/{project}/{name}``.
    :param status: the last HTTP status, ``None`` without a response.
    :param attempts: how many requests were sent.
    :param total_ms: time from first to last, waits included, in milliseconds.
    :param platform_ms: the platform's own time in the last response's ``Server-Timing``, in milliseconds.
    :param error: class name of the error that ended the call, ``None`` for a success.
    :param exchanges: the requests, one by one; without those for a token, and without those that read a source back
        after a write.
    :param repeats: how many of them repeat an earlier request of the same call.
    """

    method: str
    path: str
    route: str
    status: int | None
    attempts: int
    total_ms: float
    platform_ms: float | None
    error: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    repeats: int = 0

    def __str__(self) -> str:
        platform = f" (platform {self.platform_ms:.0f} ms)" if self.platform_ms is not None else ""
        tries = f", {self.attempts} attempts" if self.attempts > 1 else ""
        ended = self.status if self.status is not None else self.error
        return f"{self.method} {self.path} -> {ended} in {self.total_ms:.0f} ms{platform}{tries}"


@dataclass(frozen=True, slots=True)
class RetryWait:
    """A wait after a failure, before the call goes on.

    :param seconds: how long.
    :param status: HTTP status of the failure, ``None`` without a response.
    :param requested: whether the server set the time (``Retry-After``); otherwise it is the client's own backoff.
    """

    seconds: float
    status: int | None
    requested: bool
