"""The failures that a wait tolerates: how many in a row, and for how long. Workers and the triggerer share it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import BadRequestError, ConfigurationError, NotShownError
from airflow_provider_cm.triggers import wait_arguments

if TYPE_CHECKING:
    from airflow_provider_cm.api.errors import CommsMiningError
    from airflow_provider_cm.triggers.condition import Condition


class FailureBudget:
    """Counts the failures of one wait.

    A failure ends the wait when it is number ``most`` in a row or later **and** the first one is at least ``seconds``
    old. So a short outage ends no wait, whether its interval is short or long.

    :param most: ``max_consecutive_failures``.
    :param seconds: ``max_failure_seconds``.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self.failures = 0
        self.since: datetime | None = None

    @classmethod
    def parse(cls, most: object, seconds: object) -> FailureBudget:
        """Parse the arguments of a sensor or trigger.

        :param most: ``max_consecutive_failures``, a whole number of 1 or more.
        :param seconds: ``max_failure_seconds``, 0 or more; with 0 only the number counts.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        return cls(
            wait_arguments.count(most, "max_consecutive_failures"),
            wait_arguments.failure_seconds(seconds, "max_failure_seconds"),
        )

    def tolerates(self, error: CommsMiningError) -> bool:
        """Count a failure, and return whether the wait goes on.

        :param error: the error of the look.
        """
        now = datetime.now(UTC)
        self.since = self.since or now
        self.failures += 1
        over = self.failures >= self._most and (now - self.since).total_seconds() >= self._seconds
        return may_pass(error) and not over

    def forget(self) -> None:
        """Reset the count, after a look that succeeded."""
        self.failures, self.since = 0, None


def may_pass(error: CommsMiningError) -> bool:
    """Return whether a later look may succeed without a change to the DAG or the connection.

    Servers recover, tokens and permissions are fixed while tasks wait, new projects appear late, and a gateway's page
    or redirect goes away. A wrong request or configuration stays wrong.

    :param error: the error of the look.
    """
    return not isinstance(error, ConfigurationError | BadRequestError | NotShownError)


def still_failing(error: CommsMiningError) -> str:
    """Return the words for :func:`timed_out` when the last look failed.

    :param error: the error of that look.
    """
    return f"still failing: {error}"


def timed_out(over: str, condition: Condition, last: str) -> str:
    """Return the message of a wait that timed out.

    :param over: the argument of the task that ended it, ``timeout`` or ``execution_timeout``.
    :param condition: the condition of the wait.
    :param last: the summary of the last look.
    """
    begin = "timed out" if over == "timeout" else f"the task's {over} ended while"
    return f"{begin} waiting for {condition}; {last}"
