"""The exceptions of tasks: this module alone decides whether Airflow retries a task."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_cm.api.errors import AuthenticationError, CommsMiningError, TokenError

if TYPE_CHECKING:
    from collections.abc import Iterator


class CommsMiningFailure(AirflowFailException):
    """A retry would fail in the same way, so the task fails at once, whatever its ``retries``.

    Bad input, 400, 403, 404, 409, 422, and responses that are not from this API. ``__cause__`` is the typed error of
    :mod:`airflow_provider_cm.api.errors`.
    """


class CommsMiningRetryable(AirflowException):
    """A retry may help: ``retries``, a retry policy and ``soft_fail`` apply as for any exception.

    Connection failures, 429, 5xx, unknown outcomes, and a refused token or App Secret, because somebody may just have
    replaced it. ``__cause__`` is the typed error of :mod:`airflow_provider_cm.api.errors`.

    :param message: what happened, and what to do next.
    :param retry_after: seconds from ``Retry-After``, ``None`` (default) without one;
        :mod:`airflow_provider_cm.retry_policy` waits so long.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def airflow_error(error: CommsMiningError) -> CommsMiningFailure | CommsMiningRetryable:
    """Return the task's exception for an error of the API client.

    :param error: the error.
    """
    replaced = isinstance(error, AuthenticationError) or (
        isinstance(error, TokenError) and error.error == "invalid_client"
    )
    if error.transient or replaced:
        return CommsMiningRetryable(str(error), retry_after=error.retry_after)
    return CommsMiningFailure(str(error))


@contextmanager
def task_errors() -> Iterator[None]:
    """Convert errors of the API client into the exceptions of a task, chained to them."""
    try:
        yield
    except CommsMiningError as error:
        raise airflow_error(error) from error
