"""Whether a source existed before a call, judged by the clocks on the other side.

The application's clock sets ``created_at`` and ``updated_at``, so the time between these two is certain. ``Date`` may
come from a gateway with another clock: it can raise a doubt, but never prove anything. A session learns how far that
clock is ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_cm.api.calls import CallOutcome
    from airflow_provider_cm.api.models import Source

CLOCK_TOLERANCE = timedelta(seconds=1)
"""For timestamps of one clock that are rounded to whole seconds."""

DATE_TOLERANCE = timedelta(seconds=10)
"""How far the clock behind ``Date`` may be ahead of the application's before a response raises a doubt."""


@dataclass(slots=True)
class Clocks:
    """The clocks on the other side, as one session knows them.

    :param lead: how far the clock behind ``Date`` was ahead of the application's when a source was last created.
    """

    lead: timedelta = timedelta(0)

    def learn(self, source: Source, outcome: CallOutcome) -> None:
        """Compare the clocks by means of a source that has just been created.

        :param source: the source.
        :param outcome: the response to the create.
        """
        if source.created_at is not None and outcome.date is not None:
            self.lead = max(timedelta(0), outcome.date - source.created_at)

    def perhaps_existed(self, source: Source, outcome: CallOutcome, sent_at: float) -> bool:
        """Whether a source existed before a call, if the clock behind ``Date`` is right.

        That clock may be ahead by as much as it was at the last create of this session.

        :param source: the source.
        :param outcome: the response that contained it.
        :param sent_at: when the call's first request was sent, by the local monotonic clock.
        """
        if source.created_at is None or outcome.date is None:
            return False
        try:
            sent_at_date = outcome.date - timedelta(seconds=outcome.answered_at - sent_at)
            return source.created_at < sent_at_date - self.lead - DATE_TOLERANCE
        except OverflowError:
            return False  # a `Date` at the very beginning of the calendar


def certainly_existed(source: Source, outcome: CallOutcome, sent_at: float) -> bool:
    """Whether a source certainly existed before a call: it changed longer after its creation than the call has taken.

    :param source: the source, with two timestamps of the application's clock.
    :param outcome: the response that contained it.
    :param sent_at: when the call's first request was sent, by the local monotonic clock.
    """
    if source.created_at is None or source.updated_at is None:
        return False
    taken = timedelta(seconds=outcome.answered_at - sent_at)
    return source.updated_at - source.created_at > taken + CLOCK_TOLERANCE
