"""Writes whose response may get lost.

The API has no conditional writes, and a request that was cut off may have been carried out. So after an unknown outcome
the source is read again before the write is repeated, and what is reported is what was read. See the rules in
:class:`airflow_provider_cm.api.sources.SourcesApi`.

What is read may come from a replica that lags behind, so bad news is reported only after a second look, a moment later.

Whether a source was there before a call is judged by the application's clock alone: its ``created_at`` and its
``updated_at``, and how long the call took here. ``Date`` may come from a gateway with another clock, so it can raise a
doubt, but never a :class:`ConflictError`; and a session learns how far that clock is ahead.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_provider_cm.api.calls import Call, CallOutcome, Verdict
from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    ProtocolError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.retry import Budget
    from airflow_provider_cm.api.session import ApiSession

T = TypeVar("T")
_log = logging.getLogger(__name__)

LAG = 2.0
"""Seconds before the second look that bad news is given: replicas are usually up to date by then."""

CLOCK_TOLERANCE = timedelta(seconds=1)
"""For timestamps of one clock that are rounded to whole seconds."""

DATE_TOLERANCE = timedelta(seconds=10)
"""How far the clock behind ``Date`` may be ahead of the application's before an answer raises a doubt."""


@dataclass(slots=True)
class Clocks:
    """What a session knows of the clocks on the other side.

    :param lead: how far the clock behind ``Date`` was ahead of the application's when a source was last created.
    """

    lead: timedelta = timedelta(0)


class Attempted:
    """What is known of a write while it is being settled.

    :param budget: what the call has left.
    :param clocks: what the session knows of the clocks on the other side.
    """

    def __init__(self, budget: Budget, clocks: Clocks) -> None:
        self.budget = budget
        self.clocks = clocks
        self.sent_at = budget.policy.clock()
        self.writes = 0
        self.last_seen = "the source could not be read afterwards"
        self.absent = False  # a look has said that the source is not there

    def preceded_by(self, source: Source, seen: CallOutcome) -> bool:
        """Whether a source was certainly there before the first request of this call.

        It is when it has been changed longer after its creation than this call has taken.

        :param source: with two timestamps of the application's clock.
        :param seen: the response that showed it.
        """
        if source.created_at is None or source.updated_at is None:
            return False
        taken = timedelta(seconds=seen.answered_at - self.sent_at)
        return source.updated_at - source.created_at > taken + CLOCK_TOLERANCE

    def perhaps_preceded_by(self, source: Source, seen: CallOutcome) -> bool:
        """Whether a source was there before the first request of this call, if the clock behind ``Date`` is right.

        That clock may be ahead by as much as it was at the last create of this session.

        :param source: with the time of its creation.
        :param seen: the response that showed it.
        """
        if self.absent or source.created_at is None or seen.date is None:
            return False
        try:
            sent_at = seen.date - timedelta(seconds=seen.answered_at - self.sent_at)
            return source.created_at < sent_at - self.clocks.lead - DATE_TOLERANCE
        except OverflowError:
            return False  # a `Date` at the very beginning of the calendar

    def learn(self, source: Source, seen: CallOutcome) -> None:
        """Learn of the clocks from a source that has just been created.

        :param source: with the time of its creation.
        :param seen: the response that showed it.
        """
        if source.created_at is not None and seen.date is not None:
            self.clocks.lead = max(timedelta(0), seen.date - source.created_at)


class SettledWrite(Generic[T]):
    """One write of one call, sent until its outcome is known or the budget is spent.

    :param session: to send with.
    :param call: the write.
    :param reread: prepares the read that shows what became of it.
    :param accept: makes the result of a success response; raises :class:`ProtocolError` if that lacks something.
    :param settle: judges what was read after an unknown outcome: gives the result, raises, or gives ``None`` where the
        write is to be repeated. It notes in ``Attempted.last_seen`` what it saw.
    :param refused: gives the error for a refusal, by default the one that the server's answer amounts to.
    """

    def __init__(
        self,
        session: ApiSession,
        call: Call,
        reread: Callable[[], Call],
        accept: Callable[[CallOutcome, Attempted], T],
        settle: Callable[[CallOutcome, Attempted], T | None],
        refused: Callable[[CommsMiningError, Attempted], CommsMiningError] = lambda error, _: error,
    ) -> None:
        self._session = session
        self._call = call
        self._reread = reread
        self._accept = accept
        self._settle = settle
        self._refused = refused

    def carry_out(self) -> T:
        """Send, and read back before every repetition.

        :raises OutcomeUnknownError: when reading back settled nothing within the budget.
        """
        budget = self._session.budget()
        attempted = Attempted(budget, self._session.clocks)
        doubtful = False
        while True:
            # In doubt, even what was surely not done is repeated only after a look: an earlier attempt may arrive late.
            outcome = self._session.run(self._call, budget, once=doubtful, repeated=attempted.writes > 0)
            attempted.writes += outcome.sent
            if outcome.verdict is Verdict.OK:
                try:
                    return self._accept(outcome, attempted)
                except ProtocolError as problem:
                    outcome = CallOutcome(Verdict.UNKNOWN, error=problem)
                    budget.failures += 1
            error = outcome.error or ProtocolError("the response could not be understood")
            if error.path in {None, self._call.path}:  # a token's error counts its own attempts
                error.attempts = attempted.writes
            doubtful = doubtful or outcome.verdict is Verdict.UNKNOWN
            if not doubtful:
                raise self._refused(error, attempted)
            pause = budget.pause(error.retry_after)
            settled = self._settled(attempted, error, pause, refused=outcome.verdict is Verdict.REFUSED)
            if settled is not None:
                return settled
            if outcome.verdict is Verdict.REFUSED:
                raise self._refused(error, attempted)  # the earlier attempt has left no trace
            if pause is None:
                raise self._unknown(attempted, error)

    def _settled(
        self, attempted: Attempted, error: CommsMiningError, pause: float | None, *, refused: bool
    ) -> T | None:
        # First the wait that the server may have asked for: reading is a request too.
        if pause is not None:
            _log.warning("%s; reading in %.1f s what became of it", error, pause)
            attempted.budget.wait(pause, error)
        settled = self._look(attempted, error)
        if settled is None and refused:
            return self._look_again(attempted, error)
        return settled

    def _look(self, attempted: Attempted, cause: CommsMiningError) -> T | None:
        try:
            return self._looked(attempted, cause)
        except (ConflictError, NotFoundError) as news:
            _log.warning("%s; looking once more, in case that this answer was out of date", news)
        return self._look_again(attempted, cause)

    def _look_again(self, attempted: Attempted, cause: CommsMiningError) -> T | None:
        attempted.budget.linger(LAG)
        return self._looked(attempted, cause)

    def _looked(self, attempted: Attempted, cause: CommsMiningError) -> T | None:
        look = self._session.run(self._reread(), attempted.budget)
        try:
            return self._settle(look, attempted)
        except OutcomeUnknownError:
            raise self._unknown(attempted, cause) from cause

    def _unknown(self, attempted: Attempted, cause: CommsMiningError) -> OutcomeUnknownError:
        return self._session.unknown(self._call, printable(attempted.last_seen), cause, attempted.writes)
