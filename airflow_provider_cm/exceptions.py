"""What a task raises: whether Airflow should retry it is decided here, and only here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_cm.api.errors import AuthenticationError, CommsMiningError, TokenError

if TYPE_CHECKING:
    from collections.abc import Iterator


class CommsMiningFailure(AirflowFailException):
    """Trying again would end the same way, so the task fails at once, whatever its ``retries``.

    Bad input, 400, 403, 404, 409, 422, and answers that are not from this API. ``__cause__`` is the typed error of
    :mod:`airflow_provider_cm.api.errors`.
    """


class CommsMiningRetryable(AirflowException):
    """Trying again may help: ``retries``, a retry policy and ``soft_fail`` apply as for any exception.

    Connection failures, 429, 5xx, unknown outcomes, and a refused token or App Secret, since somebody may just have
    replaced it. ``__cause__`` is the typed error of :mod:`airflow_provider_cm.api.errors`.

    :param message: what happened, and what to do next.
    :param retry_after: seconds that the server asked to wait, ``None`` where it did not, as by default;
        :mod:`airflow_provider_cm.retry_policy` waits so long.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def airflow_error(error: CommsMiningError) -> CommsMiningFailure | CommsMiningRetryable:
    """Give the exception that a task should end with.

    :param error: what the API client raised.
    """
    replaced = isinstance(error, AuthenticationError) or (
        isinstance(error, TokenError) and error.error == "invalid_client"
    )
    if error.transient or replaced:
        return CommsMiningRetryable(str(error), retry_after=error.retry_after)
    return CommsMiningFailure(str(error))


@contextmanager
def task_errors() -> Iterator[None]:
    """Turn errors of the API client into the exceptions of a task, chained to them."""
    try:
        yield
    except CommsMiningError as error:
        raise airflow_error(error) from error
