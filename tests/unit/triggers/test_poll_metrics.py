"""Metrics of polls: how late they are, how many wait for their turn, and how many waits share one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm import metrics
from airflow_provider_cm.triggers import poll_loop, poll_metrics
from airflow_provider_cm.triggers.poll_client import MOST_POLLS
from tests.unit.api.server import STALL, Server, Step, error, ok
from tests.unit.triggers.test_poll_client import end, until, wait_by_id

if TYPE_CHECKING:
    from datetime import timedelta

    from tests.conftest import Connect

SOURCE = {"id": f"{1:016x}", "owner": "acme-dev", "name": "inbox"}


class Recorder:
    """Takes the place of Airflow's ``Stats``."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def incr(self, name: str, count: int, *, tags: dict[str, str]) -> None:
        self.sent.append((name, (count, tags)))

    def gauge(self, name: str, value: float) -> None:
        self.sent.append((name, value))

    def timing(self, name: str, value: timedelta, *, tags: dict[str, str]) -> None:
        self.sent.append((name, (value.total_seconds(), tags)))

    def of(self, metric: metrics.Metric) -> list[Any]:
        return [value for name, value in self.sent if name == metric.name]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(metrics, "Stats", recorder)
    monkeypatch.setattr(poll_loop, "LEAST_SECONDS_OF_A_POLL", 1.0)
    monkeypatch.setattr(poll_loop, "FIRST_POLL_WITHIN", 0.0)
    return recorder


@pytest.fixture
def scripted(connect: Connect, recorder: Recorder) -> Any:
    """Let a trigger wait while a server answers as a script says, and with the source afterwards."""

    def wait(*steps: Step) -> Recorder:
        script = iter(steps)
        with Server(lambda _: next(script, None) or ok(source=SOURCE)) as server:
            connect(host=server.url)

            async def end_of_wait() -> None:
                assert (await wait_by_id(1))["status"] == "success"

            asyncio.run(end_of_wait())
        return recorder

    return wait


def test_the_gap_grows_until_a_poll_succeeds(scripted: Any) -> None:
    recorder = scripted(error(500), error(404), error(503))
    outcomes = [tags["outcome"] for _, tags in recorder.of(metrics.POLLS)]
    assert outcomes == ["ServerError", "ok", "ServerError", "ok"]
    failed, good, failed_again, good_again = (seconds for seconds, _ in recorder.of(metrics.POLL_GAP))
    assert good - failed == pytest.approx(0.1, abs=0.08)
    assert failed_again == pytest.approx(0.1, abs=0.08), "it counts from the poll before, which succeeded"
    assert good_again == pytest.approx(failed_again + 0.1, abs=0.08)


@pytest.mark.parametrize(("status", "waits"), [(429, 1), (503, 0)])
def test_only_a_429_is_a_rate_limit(scripted: Any, status: int, waits: int) -> None:
    """The metric is what the server asked for beyond the interval of 0.1 s."""
    recorder = scripted(error(status, headers={"Retry-After": "1"}))
    sent = recorder.of(metrics.RATE_LIMIT_WAIT)
    assert len(sent) == waits
    assert all(seconds == pytest.approx(0.9) and tags["where"] == "poll" for seconds, tags in sent)


def test_a_429_within_the_interval_costs_nothing(scripted: Any) -> None:
    assert scripted(error(429, headers={"Retry-After": "0"})).of(metrics.RATE_LIMIT_WAIT) == []


def test_polls_that_wait_for_their_turn_are_counted(
    connect: Connect, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(lambda _: STALL) as server:
        connect(host=server.url)

        async def wait() -> None:
            tasks = [wait_by_id(number) for number in range(MOST_POLLS + 3)]
            await until(lambda: len(server.requests) == MOST_POLLS)
            await until(lambda: poll_metrics.queue.number == 3)
            assert (poll_metrics.waits.number, poll_metrics.loops.number) == (MOST_POLLS + 3, MOST_POLLS + 3)
            await until(lambda: len(recorder.of(metrics.POLL_QUEUE)) > 0)
            await end(*tasks)

        asyncio.run(wait())
    assert recorder.of(metrics.WAITS)[0] == recorder.of(metrics.POLL_LOOPS)[0] == MOST_POLLS + 3
    assert max(recorder.of(metrics.POLL_QUEUE)) == 3
    assert recorder.of(metrics.POLL_QUEUE)[-1] == 0
    assert "never retrieved" not in caplog.text, "what happens to a request whose wait was cancelled is no error"


def test_the_numbers_are_nought_when_nobody_waits_any_more(scripted: Any) -> None:
    recorder = scripted(error(404))
    for metric in (metrics.WAITS, metrics.POLL_LOOPS, metrics.POLL_QUEUE):
        assert recorder.of(metric)[-1] == 0
    assert recorder.of(metrics.WAITS)[0] == recorder.of(metrics.POLL_LOOPS)[0] == 1
