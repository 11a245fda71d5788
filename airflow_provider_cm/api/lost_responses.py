"""Writes whose response may get lost.

The API has no conditional writes, and a request that was cut off may have been carried out. So after an unknown outcome
the source is read again before the write is repeated, and the result is what was read. The rules for each write are in
:mod:`airflow_provider_cm.api.source_writes`.

What is read may come from a replica that lags behind, so bad news is reported only after a second look, a moment later.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
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
from airflow_provider_cm.api.retry import repeat

if TYPE_CHECKING:
    from airflow_provider_cm.api.session import ApiSession

T = TypeVar("T")
_log = logging.getLogger(__name__)

LAG = 2.0
"""Seconds to wait before the second look at bad news: by then replicas are usually up to date."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An attempt at a write after which its outcome is unknown.

    :param error: how the attempt ended.
    :param refused: the server refused this attempt, but an earlier one may have been carried out.
    """

    error: CommsMiningError
    refused: bool


class SettledWrite(ABC, Generic[T]):
    """One write, sent until its outcome is known or the budget is spent.

    :param session: to send with.
    :param call: the write.
    """

    def __init__(self, session: ApiSession, call: Call) -> None:
        self.session = session
        self.call = call
        self.budget = session.budget()
        self.sent_at = self.budget.policy.clock()
        self.last_seen = "the source could not be read afterwards"
        self._writes = 0
        self._doubt: _Doubt | None = None

    @abstractmethod
    def reread(self) -> Call:
        """Prepare the read that shows the outcome of the write."""

    @abstractmethod
    def accept(self, outcome: CallOutcome) -> T:
        """Make the result of a success response.

        :param outcome: the response.
        :raises ProtocolError: if it lacks something.
        """

    @abstractmethod
    def settle(self, look: CallOutcome) -> T | None:
        """Judge the source as it was read after an unknown outcome, and describe it in ``last_seen``.

        :param look: the response to :meth:`reread`.
        :return: the result, or ``None`` to send the write again.
        :raises OutcomeUnknownError: if the read does not show the outcome.
        """

    def refused(self, error: CommsMiningError) -> CommsMiningError:
        """Return the error for a refusal; by default the server's own.

        :param error: the server's own.
        """
        return error

    def carry_out(self) -> T:
        """Send, and read the source before every repetition.

        :raises OutcomeUnknownError: if the reads did not show the outcome within the budget.
        """
        end = repeat(
            self._attempt,
            self.budget,
            lambda end: end.error if isinstance(end, _Doubt) else None,
            "%s; reading the source in %.1f s to learn the outcome",
        )
        if not isinstance(end, _Doubt):
            return end
        settled = self._settled(end)
        if settled is None:
            raise self.unknown(end.error)
        return settled

    def unknown(self, cause: CommsMiningError) -> OutcomeUnknownError:
        """Make the error for an outcome that could not be learned.

        :param cause: how the last attempt ended.
        """
        return self.session.unknown(self.call, printable(self.last_seen), cause, self._writes)

    def linger(self) -> None:
        """Wait until replicas are usually up to date."""
        self.budget.linger(LAG)

    def _attempt(self) -> T | _Doubt:
        if self._doubt is not None:
            settled = self._settled(self._doubt)
            if settled is not None:
                return settled
        # In doubt, even a request that surely failed is repeated only after a look: an earlier one may arrive late.
        outcome = self.session.run(self.call, self.budget, once=self._doubt is not None, repeated=self._writes > 0)
        self._writes += outcome.sent
        if outcome.verdict is Verdict.OK:
            try:
                return self.accept(outcome)
            except ProtocolError as problem:
                outcome = CallOutcome(Verdict.UNKNOWN, error=problem)
                self.budget.failures += 1
        error = outcome.error or ProtocolError("the response could not be understood")
        if error.path in {None, self.call.path}:  # a token's error counts its own attempts
            error.attempts = self._writes
        if outcome.verdict is not Verdict.UNKNOWN and self._doubt is None:
            raise self.refused(error)
        self._doubt = _Doubt(error, refused=outcome.verdict is Verdict.REFUSED)
        return self._doubt

    def _settled(self, doubt: _Doubt) -> T | None:
        """Read the source: the result, or ``None`` if the write is to be sent again."""
        settled = self._look(doubt)
        if doubt.refused:
            settled = self._look_again(doubt) if settled is None else settled
            if settled is None:
                raise self.refused(doubt.error)  # the earlier attempt has left no trace
        return settled

    def _look(self, doubt: _Doubt) -> T | None:
        try:
            return self._read(doubt)
        except (ConflictError, NotFoundError) as news:
            _log.warning("%s; reading the source once more, because this response may be out of date", news)
        return self._look_again(doubt)

    def _look_again(self, doubt: _Doubt) -> T | None:
        self.linger()
        return self._read(doubt)

    def _read(self, doubt: _Doubt) -> T | None:
        look = self.session.run(self.reread(), self.budget)
        try:
            return self.settle(look)
        except OutcomeUnknownError:
            raise self.unknown(doubt.error) from doubt.error
