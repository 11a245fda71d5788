"""How many failed looks in a row a wait tolerates, and for how long: one budget, in workers and in the triggerer."""

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

    A failure ends the wait when it is at least the last that ``most`` allows **and** the first one in the row is at
    least ``seconds`` old, so that neither a short interval nor a long one makes a short outage fatal.

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
        """Judge the arguments of a sensor or trigger.

        :param most: ``max_consecutive_failures``, a whole number of 1 or more.
        :param seconds: ``max_failure_seconds``, 0 or more; with 0 only the number counts.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        return cls(
            wait_arguments.count(most, "max_consecutive_failures"),
            wait_arguments.failure_seconds(seconds, "max_failure_seconds"),
        )

    def tolerates(self, error: CommsMiningError) -> bool:
        """Count a failure, and say whether the wait goes on.

        :param error: why the look failed.
        """
        now = datetime.now(UTC)
        self.since = self.since or now
        self.failures += 1
        over = self.failures >= self._most and (now - self.since).total_seconds() >= self._seconds
        return may_pass(error) and not over

    def forget(self) -> None:
        """Begin anew, after a look that did not fail."""
        self.failures, self.since = 0, None


def may_pass(error: CommsMiningError) -> bool:
    """Whether a look that failed may be followed by a better one, without a change to the DAG or the connection.

    Servers come back, tokens and permissions are mended while tasks wait, new projects appear late, and a gateway's
    page or redirect goes away again. What this side sends or is configured with stays as it is.

    :param error: why it failed.
    """
    return not isinstance(error, ConfigurationError | BadRequestError | NotShownError)


def still_failing(error: CommsMiningError) -> str:
    """Say for :func:`timed_out` that the last look failed, and why.

    :param error: why.
    """
    return f"still failing: {error}"


def timed_out(over: str, condition: Condition, last: str) -> str:
    """Give the message of a wait that was not over in time.

    :param over: which of the task's arguments ended it, ``timeout`` or ``execution_timeout``.
    :param condition: what was waited for.
    :param last: what the last look showed.
    """
    begin = "timed out" if over == "timeout" else f"the task's {over} ended while"
    return f"{begin} waiting for {condition}; {last}"
