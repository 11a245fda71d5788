"""SourceTrigger in an asset watcher: one event for each transition that a poll observes."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.triggers import asset_watch, condition, poll_client
from airflow_provider_cm.triggers.readers import ListingReader
from airflow_provider_cm.triggers.sources import SourceTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect, Sent

pytestmark = pytest.mark.integration

INTERVAL = 0.025


class Store:
    """Stands for Airflow's store of an asset's state; tests/e2e/test_watching.py has the real one."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.broken: Exception | None = None

    async def aget(self, key: str, default: Any = None) -> Any:
        if self.broken is not None:
            raise self.broken
        return self.kept.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        if self.broken is not None:
            raise self.broken
        self.kept[key] = value


class Watcher:
    emulator: EmulatorServer

    def __init__(self, trigger: SourceTrigger) -> None:
        self._trigger = trigger
        self.payloads: list[dict[str, Any]] = []

    async def collect(self) -> None:
        async for event in self._trigger.run():
            self.payloads.append(event.payload)

    async def settle(self, patience: float = 20) -> None:
        """Leave time for some polls, however slow the machine is.

        :param patience: seconds without a poll after which none is expected any more.
        """
        before = started = len(self.emulator.requests)
        until = time.monotonic() + patience
        while len(self.emulator.requests) < started + 5 and time.monotonic() < until:
            await asyncio.sleep(INTERVAL)
            if len(self.emulator.requests) > before:
                before, until = len(self.emulator.requests), time.monotonic() + patience


def watcher_trigger(store: Store | None, **arguments: Any) -> SourceTrigger:
    defaults = {"comms_mining_conn_id": "comms_mining_default", "project": "acme-dev", "source_name": "inbox"}
    trigger = SourceTrigger(**{**defaults, "poll_interval": INTERVAL, **arguments})
    if store is not None:
        trigger.asset_state_store = store  # type: ignore[assignment]  # the part of it that is used
    else:  # as below Airflow 3.3
        if hasattr(trigger, "asset_state_store"):
            del trigger.asset_state_store
        trigger.trigger_id = 7
    return trigger


@asynccontextmanager
async def watch(store: Store | None, patience: float = 20, **arguments: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher(watcher_trigger(store, **arguments))
    task = asyncio.create_task(watcher.collect())
    await watcher.settle(patience)
    try:
        yield watcher
    finally:
        assert not task.done(), "a watcher has no end"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def through(actions: Sequence[Callable[..., Any]], store: Store | None, **arguments: Any) -> list[dict[str, Any]]:
    """Watch, do one thing after another, and give what was told of each; nothing more than one event each."""
    told = []
    async with watch(store, **arguments) as watcher:
        assert watcher.payloads == [], "what holds at the first look is no transition"
        for action in actions:
            before = len(watcher.payloads)
            action()
            await watcher.settle()
            told += watcher.payloads[before:] or [{}]
            assert len(watcher.payloads) <= before + 1
    return told


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, comms_mining_emulator: EmulatorServer) -> None:
    monkeypatch.setattr(Watcher, "emulator", comms_mining_emulator, raising=False)
    monkeypatch.setattr(asset_watch, "EVENT_IS_STORED_AFTER", 0.1)
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.01)


def steps(tenant: TenantHandle) -> list[Callable[[], Any]]:
    return [
        lambda: tenant.add_source("acme-dev", "inbox", title="one"),
        lambda: tenant.update_source("acme-dev", "inbox", title="two"),
        lambda: tenant.delete_source("acme-dev", "inbox"),
        lambda: tenant.add_source("acme-dev", "inbox", title="one"),
        lambda: replace(tenant),
        lambda: tenant.add_source("acme-dev", "other"),
    ]


def replace(tenant: TenantHandle) -> None:
    """Put another source of the same name there, between two polls."""
    tenant.delete_source("acme-dev", "inbox")
    tenant.add_source("acme-dev", "inbox", title="three")


@pytest.mark.parametrize("store", [Store, lambda: None], ids=["Airflow 3.3", "below"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["one", None, None, "one", "three", None]),
        ({"until": "updated"}, ["one", "two", None, "one", "three", None]),
        ({"match": {"title": "two"}}, [None, "two", None, None, None, None]),
        ({"until": "updated", "updated_after": "2100-01-01T00:00:00Z"}, [None] * 6),
    ],
)
def test_one_event_for_each_transition(
    tenant: TenantHandle, store: Callable[[], Store | None], arguments: dict[str, Any], expected: list[str | None]
) -> None:
    told = asyncio.run(through(steps(tenant), store(), **arguments))
    assert [payload["source"]["title"] if payload else None for payload in told] == expected


def test_what_vanishes_is_told_with_what_was_there(tenant: TenantHandle) -> None:
    told = asyncio.run(through(steps(tenant), Store(), until="absent"))
    assert [bool(payload) for payload in told] == [False, False, True, False, False, False]
    assert told[2] == {
        "status": "success",
        "until": "absent",
        "project": "acme-dev",
        "source_name": "inbox",
        "source_id": None,
        "source": None,
        "before": told[2]["before"],
    }
    assert told[2]["before"]["title"] == "two"


def test_messages_that_arrive(tenant: TenantHandle) -> None:
    tenant.add_source("acme-dev", "inbox")
    actions = [lambda count=count: tenant.set_message_count("acme-dev", "inbox", count) for count in (4, 5, 6, 0, 9)]
    told = asyncio.run(through(actions, Store(), until="has_messages", min_messages=5))
    assert [payload["source"]["num_comments"] if payload else None for payload in told] == [None, 5, None, None, 9]


def test_a_restart_goes_on_where_the_last_one_stopped(tenant: TenantHandle) -> None:
    store = Store()

    async def watch_twice() -> list[dict[str, Any]]:
        async with watch(store) as first:
            tenant.add_source("acme-dev", "inbox", title="seen")
            await first.settle()
            assert len(first.payloads) == 1
            await asyncio.sleep(0.15)  # the cursor is stored
        async with watch(store) as second:
            assert second.payloads == [], "it was told before the restart"
        tenant.delete_source("acme-dev", "inbox")
        tenant.add_source("acme-dev", "inbox", title="missed")
        async with watch(store) as third:
            return third.payloads

    (payload,) = asyncio.run(watch_twice())
    assert payload["source"]["title"] == "missed"
    assert payload["before"] is None, "this process has not seen what was there before"


def test_an_event_is_repeated_if_the_triggerer_dies_before_its_cursor_is_stored(
    tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_watch, "EVENT_IS_STORED_AFTER", 60.0)
    store = Store()

    async def watch_twice() -> tuple[int, int]:
        async with watch(store) as first:
            tenant.add_source("acme-dev", "inbox")
            await first.settle()
        async with watch(store) as second:
            return len(first.payloads), len(second.payloads)

    assert asyncio.run(watch_twice()) == (1, 1)


def test_watchers_of_one_asset_have_a_cursor_each(tenant: TenantHandle) -> None:
    store = Store()

    async def watch_both() -> None:
        async with (
            watch(store),
            watch(store, until="absent"),
            watch(store, match={"title": "x"}),
            asyncio.timeout(10),
        ):
            while len(store.kept) < 3:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(INTERVAL)

    asyncio.run(watch_both())


def test_watchers_of_two_tenants_have_a_cursor_each(connect: Connect) -> None:
    """Dev and prod watchers of one asset: what one has seen is not what the other goes on from."""
    dev, prod = connect(conn_id="dev"), connect("/acme/prod/reinfer_", conn_id="prod")
    dev.add_source("acme-dev", "inbox")
    prod.add_source("acme-dev", "inbox")
    store = Store()

    async def watch_both() -> list[dict[str, Any]]:
        async with watch(store, comms_mining_conn_id="dev") as first:
            await first.settle()
        async with watch(store, comms_mining_conn_id="prod") as second:
            await second.settle()
            assert len(store.kept) == 2
            return first.payloads + second.payloads

    assert asyncio.run(watch_both()) == []


def test_a_watcher_follows_its_connection(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it finds first where the connection leads now is no transition; what changes there is."""
    monkeypatch.setattr(poll_client, "REREAD_AFTER", 0.0)
    connect()
    store = Store()

    def move() -> None:
        connect("/acme/prod/reinfer_").add_source("acme-dev", "inbox")

    def change() -> None:
        prod = connect("/acme/prod/reinfer_")
        prod.delete_source("acme-dev", "inbox")
        prod.add_source("acme-dev", "inbox", title="of prod")

    told = asyncio.run(through([move, change], store))
    assert [payload["source"]["title"] if payload else None for payload in told] == [None, "of prod"]
    assert told[1]["before"] is not None


def test_what_an_outdated_copy_shows_is_no_transition(
    tenant: TenantHandle, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that a listing lacks for a moment neither vanishes nor appears again."""
    tenant.add_source("acme-dev", "other")
    tenant.add_source("acme-dev", "inbox")

    def stay() -> None:
        original = ListingReader.read
        outdated = iter([True, False, True])

        def read(self: ListingReader, sources: Any) -> Any:
            listed = original(self, sources)
            if next(outdated, False) and isinstance(listed, dict):
                del listed["inbox"]
            return listed

        monkeypatch.setattr(ListingReader, "read", read)

    assert asyncio.run(through([stay], Store())) == [{}]
    assert asyncio.run(through([stay], Store(), until="absent")) == [{}]


def test_failed_polls_are_no_events(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    actions = [
        lambda: comms_mining_emulator.faults.add(503, "GET", times=20),
        comms_mining_emulator.faults.clear,
        lambda: tenant.add_source("acme-dev", "inbox"),
    ]
    told = asyncio.run(through(actions, Store(), max_consecutive_failures=1))
    assert [bool(payload) for payload in told] == [False, False, True]


def test_a_store_that_is_away_for_a_while_loses_nothing(tenant: TenantHandle) -> None:
    store = Store()
    store.broken = RuntimeError("the API server is away")

    async def wait() -> None:
        async with watch(store, patience=0.5) as watcher:
            store.broken = None
            await watcher.settle()
            tenant.add_source("acme-dev", "inbox")
            store.broken = RuntimeError("away again")
            await watcher.settle()
            assert len(watcher.payloads) == 1
            await asyncio.sleep(0.15)
            store.broken = None
            await asyncio.sleep(0.15)
        async with watch(store) as again:
            assert again.payloads == []

    asyncio.run(wait())


def test_several_assets_with_one_watcher_still_get_their_events(tenant: TenantHandle) -> None:
    store = Store()
    store.broken = ValueError("Task has 2 concrete inlets and outlets")
    told = asyncio.run(through([lambda: tenant.add_source("acme-dev", "inbox")], store))
    assert [bool(payload) for payload in told] == [True]


def test_wrong_arguments_neither_start_a_dag_nor_end_the_watch(tenant: TenantHandle, sent: Sent) -> None:
    async def wait() -> list[dict[str, Any]]:
        async with watch(Store(), patience=0.5, match={"tilte": "x"}) as watcher:
            return watcher.payloads

    assert asyncio.run(wait()) == []
    assert sent() == []
