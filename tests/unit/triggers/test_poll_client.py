"""The polls of one connection share a client: few connections, no queue that others feel, nothing left at the end."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ServerError
from airflow_provider_cm.api.models import Source
from airflow_provider_cm.triggers import condition, poll_client, poll_loop
from airflow_provider_cm.triggers.poll_client import MOST_POLLS, shared_client
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.unit.api.server import STALL, Request, Server, Step, error, ok

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Connect

SOURCE = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "inbox"}
LONG_POLL = 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_loop, "LEAST_SECONDS_OF_A_POLL", LONG_POLL)
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.05)


def wait_by_id(number: int, conn_id: str = "comms_mining_default", **arguments: Any) -> asyncio.Task[Any]:
    """Begin a wait that has a poll of its own, and give the payload of its event."""
    defaults: dict[str, Any] = {"poll_interval": 0.1, "max_consecutive_failures": 10**6}
    waiting = SourceTrigger(comms_mining_conn_id=conn_id, source_id=f"{number:016x}", **{**defaults, **arguments})

    async def event() -> Any:
        async for each in waiting.run():
            return each.payload
        raise AssertionError("a wait has an event")

    return asyncio.create_task(event())


async def end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # a server's record
            await asyncio.sleep(0.01)


def by_id(request: Request) -> Step:
    number = request.target.rpartition(":")[2].rpartition("%3A")[2]
    return ok(source={**SOURCE, "id": number})


class Meter:
    """Answers as ``step`` says, and counts what is under way at a time."""

    def __init__(self, step: Callable[[Request], Step], seconds: float = 0.0) -> None:
        self._step = step
        self._seconds = seconds
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, request: Request) -> Step:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return self._step(request)


@pytest.fixture
def stalled(connect: Connect) -> Iterator[Server]:
    with Server(lambda _: STALL) as server:
        connect(conn_id="stalled", host=server.url)
        yield server


def test_two_hundred_waits_by_source_share_eight_connections(connect: Connect) -> None:
    meter = Meter(lambda _: error(404), seconds=0.005)
    with Server(meter) as server:
        connect(host=server.url)

        async def wait() -> None:
            tasks = [wait_by_id(number, poll_interval=0.5) for number in range(200)]
            await until(lambda: len(server.requests) >= 600, 20)
            assert server.connections <= MOST_POLLS
            await end(*tasks)

        asyncio.run(wait())
        assert {request.target for request in server.requests[:400]} >= {
            request.target for request in server.requests
        }, "none is left behind"
    assert meter.most <= MOST_POLLS


def test_a_tenant_that_stalls_does_not_hold_up_another(connect: Connect, stalled: Server) -> None:
    with Server(by_id) as healthy:
        connect(conn_id="healthy", host=healthy.url)

        async def wait() -> float:
            waiting = [wait_by_id(number, "stalled") for number in range(40)]
            await until(lambda: len(stalled.requests) == MOST_POLLS)
            began = time.monotonic()
            assert (await wait_by_id(1, "healthy"))["status"] == "success"
            took = time.monotonic() - began
            await end(*waiting)
            return took

        assert asyncio.run(wait()) < LONG_POLL / 2
    assert len(stalled.requests) == stalled.connections == MOST_POLLS


def test_cancelled_waits_leave_the_queue(connect: Connect) -> None:
    """Eight requests are under way and run into their time; the others are never sent, and hold nobody up."""
    script = iter([STALL] * MOST_POLLS)
    with Server(lambda request: next(script, None) or by_id(request)) as server:
        connect(host=server.url)

        async def wait() -> float:
            gone = [wait_by_id(number) for number in range(64)]
            await until(lambda: len(server.requests) == MOST_POLLS)
            await asyncio.sleep(0.1)
            await end(*gone)
            began = time.monotonic()
            assert (await wait_by_id(77))["status"] == "success"
            took = time.monotonic() - began
            await asyncio.sleep(1.5 * LONG_POLL)  # those under way have ended, and there would be room for others
            return took

        assert asyncio.run(wait()) < 2 * LONG_POLL
        assert len(server.requests) == MOST_POLLS + 1


def test_sources_that_stall_leave_room_for_the_others_of_their_connection(connect: Connect) -> None:
    answered: list[float] = []

    def step(request: Request) -> Step:
        if "id:00000000000000ff" not in request.target.replace("%3A", ":"):
            return STALL
        answered.append(time.monotonic())
        return error(404)

    with Server(step) as server:
        connect(host=server.url)

        async def wait() -> None:
            waiting = [wait_by_id(number) for number in range(16)]
            await until(lambda: len(server.requests) >= 17)  # each of them had to wait once
            waiting.append(wait_by_id(255, poll_interval=0.1))
            await until(lambda: len(answered) >= 10, 20)
            await end(*waiting)

        asyncio.run(wait())
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(answered))
    assert gaps[len(gaps) // 2] < LONG_POLL / 2


@pytest.mark.parametrize(("interval", "seconds"), [(0.05, LONG_POLL), (1.5, 1.5)])
def test_a_poll_lasts_no_longer_than_its_interval(
    connect: Connect, stalled: Server, interval: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_loop, "FIRST_POLL_WITHIN", 0.01)

    async def wait() -> tuple[Any, float]:
        began = time.monotonic()
        payload = await wait_by_id(
            1, "stalled", poll_interval=interval, max_consecutive_failures=1, max_failure_seconds=0
        )
        return payload, time.monotonic() - began

    payload, took = asyncio.run(wait())
    assert payload["status"] == "error"
    assert "in time" in payload["message"]
    assert seconds * 0.9 < took < seconds + 1


def test_nothing_is_left_when_nobody_polls_any_more(connect: Connect) -> None:
    with Server(lambda _: error(404)) as server:
        connect(host=server.url)

        async def wait() -> None:
            waiting = [wait_by_id(number) for number in range(3)]
            await until(lambda: len(server.requests) >= 10)
            assert names() != set()
            await end(*waiting)
            # The server sees the end of each connection, and no thread waits for work that does not come.
            await until(lambda: not server._open)
            await until(lambda: names() == set())
            assert dict(poll_client._clients[asyncio.get_running_loop()]) == {}

        def names() -> set[str]:
            return {each.name for each in threading.enumerate() if each.name.startswith("comms-mining-poll")}

        asyncio.run(wait())


def test_the_connection_is_read_once_for_all_and_again_after_a_while(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    original = poll_client.PollClient._connection

    async def counted(self: poll_client.PollClient) -> Any:
        read.append(time.monotonic())
        return await original(self)

    monkeypatch.setattr(poll_client.PollClient, "_connection", counted)
    monkeypatch.setattr(poll_client, "REREAD_AFTER", 0.5)
    with Server(lambda _: error(404)) as server:
        connect(host=server.url)

        async def wait() -> None:
            waiting = [wait_by_id(number, poll_interval=0.02) for number in range(10)]
            await until(lambda: len(read) == 3)
            # It stayed as it was, and so do its network connections. They are counted before the waits end: a poll that
            # began just before that opens one anew, and closes it.
            assert server.connections <= MOST_POLLS
            await end(*waiting)

        asyncio.run(wait())
        assert len(server.requests) > 50
    assert read[2] - read[0] >= 1.0


@pytest.mark.parametrize("change", [{"password": "another"}, {"extra": {"read_timeout": 7}}, {"login": "app"}])
def test_a_changed_connection_makes_a_new_hook_and_closes_the_old_one(
    connect: Connect, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_client, "REREAD_AFTER", 0.0)
    with Server(lambda _: ok(sources=[])) as server:

        async def look() -> None:
            async with shared_client("comms_mining_default") as client:
                hooks = [await client.call(lambda hook: hook)]
                await client.call(lambda hook: hook.sources.list())
                hooks.append(await client.call(lambda hook: hook))
                connect(host=f"{server.url}/acme/dev/reinfer_", **change)
                hooks.append(await client.call(lambda hook: hook))
                await until(lambda: not server._open)
            assert hooks[0] is hooks[1]
            assert hooks[1] is not hooks[2]

        connect(host=f"{server.url}/acme/dev/reinfer_")
        asyncio.run(look())


def test_polls_that_fail_together_read_the_connection_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = poll_client.PollClient._connection

    async def counted(self: poll_client.PollClient) -> Any:
        read.append(time.monotonic())
        return await original(self)

    monkeypatch.setattr(poll_client.PollClient, "_connection", counted)

    def fail(_: object) -> None:
        raise ServerError("no", status=500)

    async def look() -> None:
        async with AsyncExitStack() as stack:
            shared = [await stack.enter_async_context(shared_client("comms_mining_default")) for _ in range(4)]
            assert len(set(shared)) == 1
            failed = await asyncio.gather(*(each.call(fail) for each in shared), return_exceptions=True)
            assert [type(each) for each in failed] == [ServerError] * 4
            await asyncio.gather(*(each.call(lambda _: None) for each in shared))

    connect()
    asyncio.run(look())
    assert len(read) == 2


def test_a_listing_is_read_in_a_thread_and_judged_by_a_look_in_a_table(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is, the event loop of all triggers does no work that grows with it."""
    loops = []
    parse = Source.parse.__func__  # type: ignore[attr-defined]

    def noted(cls: type[Source], /, raw: object, **more: bool) -> Source:
        loops.append(threading.current_thread() is threading.main_thread())
        parsed: Source = parse(cls, raw, **more)
        return parsed

    monkeypatch.setattr(Source, "parse", classmethod(noted))
    sources = [{**SOURCE, "id": f"{number:016x}", "name": f"s{number}"} for number in range(2000)]
    with Server(lambda _: ok(sources=sources)) as server:
        connect(host=server.url)

        async def wait() -> list[Any]:
            trigger = SourceTrigger(
                comms_mining_conn_id="comms_mining_default", project="acme-dev", source_name="s1999", poll_interval=0.1
            )
            return [event.payload["source"]["name"] async for event in trigger.run()]

        assert asyncio.run(wait()) == ["s1999"]
    assert len(loops) >= 2000
    assert not any(loops)
