"""What is tried again, how long it waits, and when it gives up."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from airflow_provider_cm.api import (
    ApiError,
    CommsMiningError,
    ConfigurationError,
    ProtocolError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from airflow_provider_cm.api.retry import Budget, _BudgetStrategies, parse_http_date, parse_retry_after, repeat
from tests.unit.api.server import CLOSE, RESET, RESET_UNREAD, Answer, Step, closed_port, error, html, ok
from tests.unit.api.support import Clock, fails, session_to

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve


@pytest.mark.parametrize(
    "step",
    [
        *(error(status) for status in (408, 425, 429, 500, 501, 502, 503, 504, 529)),
        html(502),
        html(503),
        html(429),
        Answer(500, b""),
        RESET,
        RESET_UNREAD,
        CLOSE,
        Answer(200, b'{"status": "ok"', stated_length=100),
        Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
        Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
        Answer(200, b"no gzip", {"Content-Encoding": "gzip"}),
    ],
)
def test_what_may_pass_is_tried_again(serve: Serve, step: Step) -> None:
    server = serve(step, step, ok(sources=[]))
    assert session_to(server).request("GET", "sources") == {"status": "ok", "sources": []}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 415, 418, 422, 451])
def test_what_would_end_the_same_way_is_not_tried_again(serve: Serve, status: int) -> None:
    server = serve(error(status))
    with pytest.raises(ApiError) as caught:
        session_to(server).request("GET", "sources")
    assert (caught.value.status, caught.value.attempts, caught.value.transient) == (status, 1, False)


@pytest.mark.parametrize(
    ("step", "kind"), [(error(500), ServerError), (RESET, TransportError), (html(502), ProtocolError)]
)
@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_counted_and_told(serve: Serve, step: Step, kind: type[CommsMiningError], attempts: int) -> None:
    clock = Clock()
    server = serve(*[step] * attempts)
    with fails(kind) as caught:
        session_to(server, retry=clock.policy(max_attempts=attempts)).request("GET", "sources")
    assert len(server.requests) == attempts
    assert caught.error.attempts == attempts
    assert caught.error.transient is True
    assert len(clock.slept) == attempts - 1
    assert ("attempts" in caught.text) == (attempts > 1)


def test_a_connection_that_is_refused_is_tried_again() -> None:
    clock = Clock()
    with fails(TransportError) as caught:
        session_to(f"http://127.0.0.1:{closed_port()}", retry=clock.policy(max_attempts=3)).request(
            "PUT", "sources", "a"
        )
    assert "refused" in caught.text.lower()
    assert (caught.error.attempts, len(clock.slept)) == (3, 2)


def test_a_name_that_is_not_found_is_tried_again_and_named_as_such() -> None:
    clock = Clock()
    with fails(TransportError) as caught:
        session_to("https://nowhere.invalid", retry=clock.policy(max_attempts=2)).request("PUT", "sources", "a")
    assert "no connection" in caught.text
    assert "object at 0x" not in caught.text
    assert len(clock.slept) == 1


# --- Retry-After


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_seconds_are_obeyed_beyond_the_cap(serve: Serve, status: int) -> None:
    clock = Clock()
    server = serve(error(status, headers={"Retry-After": "120"}), ok())
    session_to(server, retry=clock.policy(cap=1)).request("GET", "sources")
    assert clock.slept == [120]


@pytest.mark.parametrize("value", ["0", "Sun, 22 Nov 2020 12:00:00 GMT"])
def test_no_wait_at_all_is_obeyed_too(serve: Serve, value: str) -> None:
    clock = Clock()
    server = serve(error(429, headers={"Retry-After": value}), ok())
    assert session_to(server, retry=clock.policy()).request("GET", "sources") == {"status": "ok"}
    assert clock.slept == [0]


def test_a_policy_without_waits_still_retries(serve: Serve) -> None:
    clock = Clock()
    assert session_to(serve(RESET, ok()), retry=clock.policy(base=0)).request("GET", "sources") == {"status": "ok"}


def test_a_date_is_obeyed_by_the_servers_own_clock(serve: Serve) -> None:
    """The server's clock is decades ahead of ours, as far as this call can tell."""
    clock = Clock()
    now = clock.wall().replace(year=2055)
    until = format_datetime(now + timedelta(seconds=90), usegmt=True)
    headers = {"Date": format_datetime(now, usegmt=True), "Retry-After": until}
    session_to(serve(error(503, headers=headers), ok()), retry=clock.policy()).request("GET", "sources")
    assert clock.slept == [90]


@pytest.mark.parametrize("value", ["86400", "999999999999999999999999", "Sun, 22 Nov 2099 12:00:00 GMT"])
def test_a_day_of_waiting_ends_at_once_and_is_told(serve: Serve, value: str) -> None:
    clock = Clock()
    server = serve(error(429, headers={"Retry-After": value}))
    with fails(RateLimitedError) as caught:
        session_to(server, retry=clock.policy(max_seconds=300)).request("PUT", "sources", "a")
    assert clock.slept == []
    assert caught.error.retry_after is not None
    assert caught.error.retry_after >= 86400
    assert "asks to wait" in caught.text


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "", "١٢", "Sun, 99 Foo 2026", "1e9", "inf"])
def test_a_header_that_makes_no_sense_is_no_header(serve: Serve, value: str) -> None:
    clock = Clock()
    raw = b'HTTP/1.1 503 X\r\nRetry-After: %s\r\nContent-Length: 20\r\n\r\n{"status": "error" } ' % value.encode()
    assert session_to(serve(Answer(raw=raw), ok()), retry=clock.policy(base=2)).request("GET", "x") == {"status": "ok"}
    assert 0 <= clock.slept[0] <= 2


@pytest.mark.parametrize(
    "text", [" ", ",", "Sun, 22 Nov 2026 00:43:00 +9999999", "22 Nov 99999 00:00:00 GMT", "0" * 5000, "a b c d e", ":"]
)
def test_a_broken_date_is_no_date(text: str) -> None:
    assert parse_http_date(text) is None
    assert parse_retry_after({"Retry-After": text, "Date": text}) in {None, 0.0}


# --- waits


def test_waits_grow_with_full_jitter_up_to_the_cap() -> None:
    policy = RetryPolicy(base=1.0, cap=60.0)
    for failures, end in [(1, 1), (2, 2), (3, 4), (4, 8), (7, 60), (50, 60), (10_000, 60)]:
        drawn = [policy.delay(failures) for _ in range(300)]
        assert 0 <= min(drawn) < end * 0.1
        assert end * 0.9 < max(drawn) <= end


def test_the_time_budget_ends_the_retries_before_the_attempts_do(serve: Serve) -> None:
    clock = Clock()
    server = serve(*[error(503, headers={"Retry-After": "30"})] * 4)
    with fails(ServerError) as caught:
        session_to(server, retry=clock.policy(max_attempts=100, max_seconds=100)).request("GET", "sources")
    assert clock.slept == [30, 30, 30]
    assert caught.error.attempts == 4


def test_a_budget_that_is_over_allows_no_pause() -> None:
    clock = Clock()
    budget = Budget(clock.policy(max_seconds=10))
    budget.failures = 1
    assert budget.pause(9.0) == 9.0
    assert budget.pause(10.0) is None
    clock.sleep(11)
    assert budget.remaining() == 0
    assert budget.pause(0.0) is None


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": float("inf")}, "max_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
    ],
)
def test_a_policy_that_would_never_try_or_never_end_is_refused(settings: dict[str, float], field: str) -> None:
    with fails(ConfigurationError) as caught:
        RetryPolicy(**settings)  # type: ignore[arg-type]
    assert caught.text.startswith(f"{field}: ")


def _state(number: int, result: object) -> Any:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = number
    state.set_result(result)
    return state


@pytest.mark.parametrize("first", ["wait", "stop"])
def test_the_strategies_do_not_depend_on_the_order_of_their_calls(first: str) -> None:
    """Each failure is judged once, and wait and stop agree on it."""
    pauses = iter([7.0, None])
    judged: list[float | None] = []

    class Scripted(Budget):
        def pause(self, retry_after: float | None = None) -> float | None:
            judged.append(retry_after)
            return next(pauses)

    strategies = _BudgetStrategies(Scripted(Clock().policy()), lambda error: error, "%s %.1f")
    second = {"wait": "stop", "stop": "wait"}[first]
    expected = [{"wait": 7.0, "stop": False}, {"wait": 0.0, "stop": True}]
    for number, results in enumerate(expected, start=1):
        state = _state(number, CommsMiningError("no", retry_after=float(number)))
        assert strategies.retry(state) is True
        assert getattr(strategies, first)(state) == results[first]
        assert getattr(strategies, second)(state) == results[second]
    assert judged == [1.0, 2.0]


def test_an_attempt_is_repeated_until_it_does_not_fail(caplog: pytest.LogCaptureFixture) -> None:
    clock, waits = Clock(), list[Any]()
    budget = Budget(clock.policy(), waits.append)
    outcomes: list[CommsMiningError | str] = [CommsMiningError("one", retry_after=2.0, status=503), "done", "never"]
    results = iter(outcomes)

    def attempt() -> CommsMiningError | str:
        result = next(results)
        budget.failures += isinstance(result, CommsMiningError)
        return result

    def failure(result: CommsMiningError | str) -> CommsMiningError | None:
        return result if isinstance(result, CommsMiningError) else None

    assert repeat(attempt, budget, failure) == "done"
    assert clock.slept == [2.0]
    assert [(wait.seconds, wait.status, wait.requested) for wait in waits] == [(2.0, 503, True)]
    assert [record.getMessage() for record in caplog.records if record.name.endswith("api.retry")] == [
        "one (the server asks to wait 2 s); trying again in 2.0 s"
    ]


def test_the_last_failure_is_the_result_when_the_budget_is_spent() -> None:
    budget = Budget(Clock().policy(max_attempts=2))
    errors: list[CommsMiningError] = []

    def attempt() -> CommsMiningError:
        budget.failures += 1
        errors.append(CommsMiningError(f"number {budget.failures}"))
        return errors[-1]

    assert repeat(attempt, budget, lambda error: error) is errors[-1]
    assert len(errors) == 2


def test_an_exception_of_an_attempt_is_not_retried() -> None:
    def attempt() -> object:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        repeat(attempt, Budget(Clock().policy()), lambda _: CommsMiningError("never"))


def test_a_budget_ends_at_its_deadline() -> None:
    clock = Clock()
    budget = Budget(clock.policy(max_seconds=100), deadline=clock.now + 10)
    assert budget.remaining() == 10
    clock.now += 4
    budget.linger(2.0)
    assert (clock.slept, budget.remaining()) == ([2.0], 4)
    budget.linger(60.0)
    assert (clock.slept, budget.remaining()) == ([2.0, 2.0], 2)
    clock.now += 99
    assert budget.remaining() == 0
