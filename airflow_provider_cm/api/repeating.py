"""Writes that may be sent again after an unknown outcome, since doing them twice is doing them once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from airflow_provider_cm.api.calls import Call, CallOutcome, Verdict
from airflow_provider_cm.api.errors import TransportError

if TYPE_CHECKING:
    from airflow_provider_cm.api.session import ApiSession

_log = logging.getLogger(__name__)
_TIMEOUTS = frozenset({408, 504})


class Gate(Protocol):
    """What requests that share a server's patience pass through."""

    def wait(self) -> None:
        """Wait until a request may be sent; raises what is to end the call."""

    def hold(self, seconds: float) -> None:
        """Let no request pass for so long."""


class Open:
    """A gate that nobody waits at."""

    def wait(self) -> None:
        """Return at once."""

    def hold(self, seconds: float) -> None:
        """Hold nobody; the call itself waits all the same."""


def repeated(session: ApiSession, call: Call, gate: Gate) -> tuple[CallOutcome, bool, int]:
    """Send a write until it is answered, refused, or out of attempts or time.

    :param session: to send with.
    :param call: the write.
    :param gate: passed before each attempt; a server that asks for time (429, ``Retry-After``) holds it.
    :return: the last outcome; whether an attempt before it may have been carried out; and how many timed out.
    """
    gate.wait()
    budget = session.budget()
    sent, timeouts, doubtful = 0, 0, False
    while True:
        outcome = session.run(call, budget, once=True, repeated=sent > 0)
        sent += outcome.sent
        error = outcome.error
        outcome.sent = sent
        if outcome.verdict is Verdict.OK or error is None:
            return outcome, doubtful, timeouts
        if error.path == call.path:  # a token's error counts its own attempts
            error.attempts = sent
        unknown = outcome.verdict is Verdict.UNKNOWN
        timeouts += outcome.status in _TIMEOUTS or (isinstance(error, TransportError) and error.timed_out)
        pause = budget.pause(error.retry_after)
        if pause is None or not (unknown or (outcome.verdict is Verdict.NOT_DONE and error.transient)):
            if doubtful and outcome.verdict is Verdict.NOT_DONE:
                outcome.verdict = Verdict.UNKNOWN  # an earlier attempt may have been carried out
            return outcome, doubtful, timeouts
        doubtful = doubtful or unknown
        _log.warning("%s; sending it again in %.1f s", error, pause)
        if outcome.status == 429 or error.retry_after is not None:
            gate.hold(pause)
        budget.wait(pause, error)
        gate.wait()
