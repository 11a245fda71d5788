"""Writes whose response may get lost.

The API has no conditional writes, and a request that was cut off may have been carried out. So after an unknown outcome
the source is read again before the write is repeated, and what is reported is what was read. See the rules in
:class:`airflow_provider_cm.api.sources.SourcesApi`.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_provider_cm.api.errors import CommsMiningError, OutcomeUnknownError, ProtocolError, printable
from airflow_provider_cm.api.session import ApiSession, Call, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.api.retry import Budget

T = TypeVar("T")
_log = logging.getLogger(__name__)

# `Date` has whole seconds and may come from a gateway, `created_at` comes from the application behind it. A source is
# taken to be older than a request only if it is so by more than this.
CLOCK_TOLERANCE = timedelta(seconds=1)


class Attempted:
    """What is known of a write while it is being settled.

    :param budget: what the call has left.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.sent_at = budget.policy.clock()
        self.writes = 0
        self.last_seen = "the source could not be read afterwards"

    def preceded_by(self, created_at: datetime | None, seen: Outcome) -> bool:
        """Whether something was there before the first request of this call, by the server's own clock.

        :param created_at: when the server says that it was created.
        :param seen: the response that showed it.
        """
        if created_at is None or seen.date is None:
            return False
        sent_at = seen.date - timedelta(seconds=seen.answered_at - self.sent_at)
        return created_at < sent_at - CLOCK_TOLERANCE


class SettledWrite(Generic[T]):
    """One write of one call, sent until its outcome is known or the budget is spent.

    :param session: to send with.
    :param call: the write.
    :param reread: prepares the read that shows what became of it.
    :param accept: makes the result of a success response; raises :class:`ProtocolError` if that lacks something.
    :param settle: judges what was read after an unknown outcome: gives the result, raises, or gives ``None`` where the
        write is to be repeated. It notes in ``Attempted.last_seen`` what it saw.
    """

    def __init__(
        self,
        session: ApiSession,
        call: Call,
        reread: Callable[[], Call],
        accept: Callable[[Outcome, Attempted], T],
        settle: Callable[[Outcome, Attempted], T | None],
    ) -> None:
        self._session = session
        self._call = call
        self._reread = reread
        self._accept = accept
        self._settle = settle

    def carry_out(self) -> T:
        """Send, and read back before every repetition.

        :raises OutcomeUnknownError: when reading back settled nothing within the budget.
        """
        budget = self._session.budget()
        attempted = Attempted(budget)
        doubtful = False
        while True:
            # In doubt, even what was surely not done is repeated only after a look: an earlier attempt may arrive late.
            outcome = self._session.run(self._call, budget, once=doubtful, repeated=attempted.writes > 0)
            attempted.writes += outcome.error.attempts if outcome.error else 1
            if outcome.verdict is Verdict.OK:
                try:
                    return self._accept(outcome, attempted)
                except ProtocolError as problem:
                    outcome = Outcome(Verdict.UNKNOWN, error=problem)
                    budget.failures += 1
            error = outcome.error or ProtocolError("the response could not be understood")
            error.attempts = attempted.writes
            doubtful = doubtful or outcome.verdict is Verdict.UNKNOWN
            if not doubtful:
                raise error
            # First the wait that the server may have asked for: reading is a request too.
            pause = budget.pause(error.retry_after)
            if pause is not None:
                _log.warning("%s; reading in %.1f s what became of it", error, pause)
                budget.wait(pause, error)
            settled = self._look(attempted, error)
            if settled is not None:
                return settled
            if outcome.verdict is Verdict.REFUSED:
                raise error  # the repetition was refused, and the earlier attempt has left no trace
            if pause is None:
                raise self._unknown(attempted, error)

    def _look(self, attempted: Attempted, cause: CommsMiningError) -> T | None:
        look = self._session.run(self._reread(), attempted.budget)
        try:
            return self._settle(look, attempted)
        except OutcomeUnknownError:
            raise self._unknown(attempted, cause) from cause

    def _unknown(self, attempted: Attempted, cause: CommsMiningError) -> OutcomeUnknownError:
        return self._session.unknown(self._call, printable(attempted.last_seen), cause, attempted.writes)
