"""One batch to the server: sent, and halved where it is refused, until the bad messages are alone."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import CommsMiningError, OutcomeUnknownError
from airflow_provider_cm.loading.totals import Totals

if TYPE_CHECKING:
    from airflow_provider_cm.api.messages import MessagesApi
    from airflow_provider_cm.api.repeating import Gate
    from airflow_provider_cm.api.retry import RetryPolicy
    from airflow_provider_cm.loading.batches import Batch, Limits
    from airflow_provider_cm.loading.message import Message

_log = logging.getLogger(__name__)
_REFUSED = frozenset({400, 413, 422})
_TOO_LARGE = 413
_HOPELESS = 20  # messages refused alone before any is accepted
_HOPELESS_IN_A_ROW = 1000  # and at any time: a server that refuses all from now on would be asked twice for each row


class StoppedError(Exception):
    """The load ends, so nothing more is sent."""


class AllRefusedError(Exception):
    """The server refused each of the first messages that were sent alone, or later 1,000 in a row.

    :param cause: what it said of the last one.
    """

    def __init__(self, cause: CommsMiningError) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go.

    :param field: what the request body calls them, ``comments`` or ``documents``.
    :param endpoint: ``sync`` or ``sync-raw-emails``.
    :param rest: other fields of the request body, as JSON that begins with a comma, or nothing.
    """

    messages: MessagesApi
    project: str
    source_name: str
    field: str = "comments"
    endpoint: str = "sync"
    rest: bytes = b""

    def body(self, messages: list[Message]) -> bytes:
        """Return the request body with these messages."""
        return b'{"%b":[%b]%b}' % (self.field.encode(), b",".join([each.body for each in messages]), self.rest)


@dataclass(slots=True)
class Sent:
    """What became of a batch.

    :param refused: messages that the server refused alone, each with what it said.
    """

    totals: Totals = field(default_factory=Totals)
    refused: list[tuple[Message, str]] = field(default_factory=list, repr=False)


class Pace:
    """One pace for all requests of a load: when the server asks one to wait, all wait.

    :param policy: for its clock and sleep.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._from = 0.0
        self._closed = False
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until a request may be sent.

        :raises StoppedError: when the load ends.
        """
        while True:
            if self._closed:
                raise StoppedError
            seconds = self._from - self._policy.clock()
            if seconds <= 0:
                return
            self._policy.sleep(min(seconds, 1.0))

    def hold(self, seconds: float) -> None:
        """Let no request pass for so long."""
        with self._lock:
            self._from = max(self._from, self._policy.clock() + seconds)

    def close(self) -> None:
        """Let no request pass any more."""
        self._closed = True


class Sender:
    """Sends batches, from any number of threads.

    :param target: where to.
    :param limits: made smaller when the server says that a batch was too large or slow.
    :param gate: passed before each request.
    """

    def __init__(self, target: Target, limits: Limits, gate: Gate) -> None:
        self._target = target
        self._limits = limits
        self._gate = gate
        self._lock = threading.Lock()
        self._alone_refused = 0
        self._any_accepted = False

    def send(self, batch: Batch, sent: Sent) -> None:
        """Send a batch, in halves where it is refused.

        :param batch: its messages.
        :param sent: what became of it, filled as far as this gets.
        :raises CommsMiningError: what is no matter of single messages.
        :raises AllRefusedError: when the first 20 messages sent alone were all refused, or later 1,000 in a row.
        :raises StoppedError: when the gate is closed.
        """
        self._send(batch.messages, sent)

    def _send(self, messages: list[Message], sent: Sent, *, again: bool = False, doubtful: bool = False) -> None:
        target = self._target
        body = target.body(messages)
        try:
            result = target.messages.sync_encoded(
                target.project, target.source_name, body, len(messages), endpoint=target.endpoint, gate=self._gate
            )
        except CommsMiningError as error:
            if error.status not in _REFUSED or isinstance(error, OutcomeUnknownError):
                raise
            if error.status == _TOO_LARGE and self._limits.halve(len(messages), len(body)):
                _log.warning("A request was too large for the server; those that follow are half as large")
            self._halve(messages, sent, error, again=again, doubtful=True)
            return
        if result.stored:
            with self._lock:
                self._any_accepted, self._alone_refused = True, 0
        if not result.timeouts:
            self._limits.accept(len(messages), sum(len(each.body) + 1 for each in messages))
        elif self._limits.halve(len(messages)):
            _log.warning("A request was not answered in time; those that follow have half as many messages")
        sent.totals.count(result, again=again, doubtful=doubtful)
        sent.totals.bytes += len(body)
        if result.stored < len(messages):
            # The server took the good ones and left the others out without a word. Those that it took are unchanged
            # when they are sent again.
            left_out = CommsMiningError("the server answered that all is well, but did not store it")
            self._halve(messages, sent, left_out, again=True, doubtful=doubtful)

    def _halve(
        self, messages: list[Message], sent: Sent, error: CommsMiningError, *, again: bool, doubtful: bool
    ) -> None:
        if len(messages) == 1:
            sent.refused.append((messages[0], error.api_message or str(error.args[0])))
            self._note_refusal(error)
            return
        if not sent.totals.splits:
            first, last = messages[0].row, messages[-1].row
            _log.info("The server refused a batch of rows %d to %d; it is sent again in halves", first, last)
        sent.totals.splits += 1
        middle = (len(messages) + 1) // 2
        self._send(messages[:middle], sent, again=again, doubtful=doubtful)
        self._send(messages[middle:], sent, again=again, doubtful=doubtful)

    def _note_refusal(self, error: CommsMiningError) -> None:
        with self._lock:
            self._alone_refused += 1
            if self._alone_refused >= (_HOPELESS_IN_A_ROW if self._any_accepted else _HOPELESS):
                raise AllRefusedError(error)
