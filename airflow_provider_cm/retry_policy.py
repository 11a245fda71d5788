"""A retry policy for tasks that obeys ``Retry-After``. Airflow 3.3 and newer.

.. code-block:: python

    from airflow_provider_cm.retry_policy import CommsMiningRetryPolicy

    CreateSourceOperator(..., retries=4, retry_policy=CommsMiningRetryPolicy())
"""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.exceptions import CommsMiningFailure, CommsMiningRetryable, airflow_error

try:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
except ImportError as error:
    from airflow import __version__ as _airflow

    raise ImportError(
        f"airflow_provider_cm.retry_policy needs Airflow 3.3 or newer, where tasks have a `retry_policy`; this is "
        f"Airflow {_airflow}. Leave the policy out: the task's `retries` and `retry_delay` apply then."
    ) from error

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_HOUR = timedelta(hours=1)


class CommsMiningRetryPolicy(RetryPolicy):
    """Wait for as long as ``Retry-After`` says before the next try, otherwise with exponential backoff.

    An error that a retry cannot fix fails the task at once: the operators and sensors of this package see to that
    themselves, and this policy does so for errors of the API client in the code of a ``@task``. For other exceptions,
    the task's own settings apply. A policy cannot add to a task's ``retries``.

    :param base: the longest wait after the first try without ``Retry-After``; it doubles with each further try. Each
        wait is drawn between half of that and all of it, so that tasks that failed together do not retry together. One
        minute by default.
    :param longest: the limit for all waits, because a wrong ``Retry-After`` could otherwise stop a pipeline for years.
        One hour by default.
    :raises ValueError: if one of them is not above 0, or ``base`` is longer than ``longest``.
    """

    def __init__(self, base: timedelta = timedelta(minutes=1), longest: timedelta = _HOUR) -> None:
        if not timedelta(0) < base <= longest:
            raise ValueError(f"base: {base} is not a time above 0 that is at most longest, {longest}")
        self.base = base
        self.longest = longest

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide what follows a failure; called by Airflow where the task ran.

        :param exception: what the task failed with.
        :param try_number: number of the try that failed, 1 for the first.
        :param max_tries: the task's ``retries``, which Airflow itself enforces.
        :param context: the task's context.
        """
        if isinstance(exception, CommsMiningError):
            exception = airflow_error(exception)
        if isinstance(exception, CommsMiningFailure):
            return RetryDecision.fail("a retry would fail in the same way")
        if not isinstance(exception, CommsMiningRetryable):
            return RetryDecision.default()
        requested = _seconds(exception.retry_after)
        if requested is None:
            delay = self._backoff(try_number)
            return RetryDecision.retry(delay, f"waiting {delay.total_seconds():.0f} s, longer from try to try")
        longest = self.longest.total_seconds()
        if requested > longest:
            reason = f"waiting {longest:g} s, the longest that the policy allows; the server asks for {requested:g} s"
            return RetryDecision.retry(self.longest, reason)
        return RetryDecision.retry(timedelta(seconds=requested), f"waiting {requested:g} s, as the server asks")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON."""
        return {"base": self.base.total_seconds(), "longest": self.longest.total_seconds()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CommsMiningRetryPolicy:
        """Make the policy that :meth:`serialize` described.

        :param data: its result.
        """
        return cls(timedelta(seconds=data["base"]), timedelta(seconds=data["longest"]))

    def _backoff(self, try_number: int) -> timedelta:
        # 2**n is capped before it overflows a timedelta.
        end = min(self.longest.total_seconds(), self.base.total_seconds() * 2 ** min(max(try_number, 1) - 1, 30))
        return timedelta(seconds=random.uniform(end / 2, end))  # noqa: S311  # not for secrets


def _seconds(retry_after: object) -> float | None:
    """Check an exception's ``retry_after``; a sensor's came through the trigger's event."""
    if isinstance(retry_after, bool) or not isinstance(retry_after, int | float):
        return None
    return float(retry_after) if math.isfinite(retry_after) and retry_after >= 0 else None
