"""The verdict on one exchange: whether the call was carried out, and with which result or error."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.calls import Call, CallOutcome, Verdict
from airflow_provider_cm.api.envelope import parse_server_timing, read_envelope
from airflow_provider_cm.api.errors import (
    RETRIED_CLIENT_STATUSES,
    CommsMiningError,
    ProtocolError,
    TransportError,
    api_error,
    printable,
)
from airflow_provider_cm.api.redaction import redact, redact_data
from airflow_provider_cm.api.retry import parse_http_date, parse_retry_after
from airflow_provider_cm.api.transport import ExchangeFailure, Reply, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OF_STAGE = {Stage.NOT_SENT: Verdict.NOT_DONE, Stage.SENT: Verdict.UNKNOWN}


def judge(call: Call, reply: Reply | ExchangeFailure, secrets: Sequence[str]) -> CallOutcome:
    """Judge one exchange.

    :param call: the call.
    :param reply: the response, or why there is none.
    :param secrets: texts to mask in everything that comes from the server.
    """
    scrub: Callable[[str], str] = partial(redact, secrets=secrets)
    if call.clear is not None:
        scrub = _both(scrub, call.clear)
    if isinstance(reply, ExchangeFailure):
        return _no_response(call, reply, scrub)
    status = reply.status
    platform_ms = parse_server_timing(reply.headers)
    date = parse_http_date(reply.headers.get("Date"))
    payload, problem, transient = read_envelope(reply, scrub)
    if problem is None and 200 <= status < 300 and call.check is not None:
        try:
            call.check(payload, reply.headers)
        except ProtocolError as mistaken:
            problem, transient = str(mistaken), mistaken.transient
    if problem is None and 200 <= status < 300:
        return CallOutcome(Verdict.OK, redact_data(payload, secrets), None, status, platform_ms, date)
    error = _error(call, reply, payload, problem, scrub)
    error.transient = transient
    error.platform_ms = platform_ms
    error.retry_after = parse_retry_after(reply.headers)
    if status in RETRIED_CLIENT_STATUSES:
        verdict = Verdict.NOT_DONE
    elif status >= 500 or (problem and transient):
        verdict = Verdict.UNKNOWN
    elif problem and (status < 300 or payload):
        verdict = _unless_safe(call)  # a success with a bad body, or a refusal whose body says "ok"
    else:
        verdict = Verdict.REFUSED
    return CallOutcome(verdict, payload, error, status, platform_ms, date)


def unreadable(call: Call, reply: Reply | ExchangeFailure, error: Exception) -> CallOutcome:
    """Return the outcome of an exchange that could not be judged.

    :param call: the call.
    :param reply: the response.
    :param error: what :func:`judge` raised.
    """
    status = reply.status if isinstance(reply, Reply) else None
    text = f"the response could not be read ({type(error).__name__})"
    problem = ProtocolError(text, method=call.method, path=call.path, status=status)
    return CallOutcome(_unless_safe(call), error=problem, status=status)


def _unless_safe(call: Call) -> Verdict:
    return Verdict.REFUSED if call.safe else Verdict.UNKNOWN


def _both(first: Callable[[str], str], then: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: then(first(text))


def _no_response(call: Call, failure: ExchangeFailure, scrub: Callable[[str], str]) -> CallOutcome:
    error = TransportError(
        f"no response: {printable(scrub(failure.reason), 400)}",
        method=call.method,
        path=call.path,
        transient=failure.stage in _OF_STAGE,
    )
    error.timed_out = failure.timed_out
    if failure.stage is Stage.UNREADABLE:
        return CallOutcome(_unless_safe(call), error=error)
    return CallOutcome(_OF_STAGE.get(failure.stage, Verdict.REFUSED), error=error)


def _error(
    call: Call, reply: Reply, payload: dict[str, Any], problem: str | None, scrub: Callable[[str], str]
) -> CommsMiningError:
    if problem is not None:
        return ProtocolError(printable(scrub(problem)), method=call.method, path=call.path, status=reply.status)
    message = scrub(str(payload.get("message") or ""))
    return api_error(reply.status, message, method=call.method, path=call.path, permission=call.permission)
