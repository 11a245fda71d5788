"""One poll for many, through the triggerer's own runner and without a database."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from airflow.jobs.triggerer_job_runner import TriggerRunner

from airflow_provider_cm.triggers import condition
from airflow_provider_cm.triggers.sources import SourceTrigger
from tests.features import needs
from tests.unit.api.server import Request, Server, Step, error, ok

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect, Sent

pytestmark = [pytest.mark.integration, needs("shared polling")]

LISTING = "GET sources/acme-dev"
OTHER = {"id": "28ba5ce699f8da1f", "owner": "acme-dev", "name": "other"}


class Runner:
    """Airflow's runner of triggers, with triggers put in by hand."""

    def __init__(self) -> None:
        self._runner = TriggerRunner()
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, **arguments: Any) -> int:
        defaults = {
            "comms_mining_conn_id": "comms_mining_default",
            "project": "acme-dev",
            "poll_interval": 0.1,
            "max_failure_seconds": 0,
        }
        number = len(self.tasks)
        _, kwargs = SourceTrigger(**{**defaults, **arguments}).serialize()
        trigger = SourceTrigger(**json.loads(json.dumps(kwargs)))
        self._runner.triggers[number] = {"task": None, "is_watcher": False, "name": str(number), "events": 0}  # type: ignore[typeddict-item]
        self.tasks[number] = asyncio.create_task(self._runner.run_trigger(number, trigger))
        return number

    def payloads(self) -> dict[int, Any]:
        found = {entry.trigger_id: entry.event.payload for entry in self._runner.events}
        assert len(found) == len(self._runner.events), "more than one event for a wait"
        return found

    async def ended(self, *numbers: int) -> dict[int, Any]:
        async with asyncio.timeout(20):
            await asyncio.gather(*(self.tasks[number] for number in numbers or self.tasks))
        return self.payloads()


@asynccontextmanager
async def running() -> AsyncIterator[Runner]:
    runner = Runner()
    try:
        yield runner
    finally:
        for task in runner.tasks.values():
            task.cancel()
        await asyncio.gather(*runner.tasks.values(), return_exceptions=True)


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", 0.05)


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


def test_many_waits_cost_one_request_an_interval(tenant: TenantHandle, sent: Sent) -> None:
    async def wait() -> dict[int, Any]:
        async with running() as runner:
            for number in range(50):
                runner.start(source_name=f"s{number}", until="exists" if number % 2 else "updated", **baseline(number))
            await asyncio.sleep(1)
            polls = sent()
            assert polls[0] == LISTING
            # Its project is empty, so one was a read by name, to tell that from a missing permission.
            assert [poll for poll in polls if poll != LISTING] == [polls[1]]
            assert 5 <= len(polls) <= 11
            assert runner.payloads() == {}
            await asyncio.to_thread(add_all)
            return await runner.ended()

    def add_all() -> None:
        for number in range(50):
            tenant.add_source("acme-dev", f"s{number}")

    payloads = asyncio.run(wait())
    assert [payloads[number]["source"]["name"] for number in range(50)] == [f"s{number}" for number in range(50)]
    assert SourceTrigger._latest == {}


def baseline(number: int) -> dict[str, Any]:
    return {} if number % 2 else {"updated_after": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "other",
    [
        {"comms_mining_conn_id": "another"},
        {"project": "acme-prod"},
        {"poll_interval": 0.2},
        {"endpoint": "https://cm.example.com"},
        {"until": "has_messages"},
        {"source_id": "18ba5ce699f8da1f", "project": None, "source_name": None},
        {"match": {"language": "en"}},
    ],
)
def test_what_is_not_the_same_poll_is_not_shared(other: dict[str, Any]) -> None:
    one: dict[str, Any] = {
        "comms_mining_conn_id": "one",
        "project": "acme-dev",
        "source_name": "inbox",
        "poll_interval": 0.1,
    }
    assert SourceTrigger(**one).shared_stream_key() == SourceTrigger(**one).shared_stream_key()
    assert SourceTrigger(**one).shared_stream_key() != SourceTrigger(**{**one, **other}).shared_stream_key()


def test_what_belongs_to_one_task_does_not_part_it_from_the_others() -> None:
    one: dict[str, Any] = {"comms_mining_conn_id": "one", "project": "acme-dev", "poll_interval": 1}
    keys = {
        SourceTrigger(**one, source_name="a").shared_stream_key(),
        SourceTrigger(**one, source_name="b", until="absent", deadline="2026-01-01").shared_stream_key(),
        SourceTrigger(**one, source_name="c", match={"title": "x"}, end_from_trigger=True).shared_stream_key(),
        SourceTrigger(**one, source_name="d", until="updated").shared_stream_key(),
    }
    assert len(keys) == 1


def test_a_late_joiner_whose_condition_holds_does_not_wait_for_the_next_poll(tenant: TenantHandle, sent: Sent) -> None:
    tenant.add_source("acme-dev", "there")

    async def wait() -> None:
        async with running() as runner:
            runner.start(source_name="never", poll_interval=4)
            while not sent():  # noqa: ASYNC110  # a server's record
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            started = time.monotonic()
            runner.start(source_name="there", poll_interval=4)
            payloads = await runner.ended(1)
            assert time.monotonic() - started < 3
            assert payloads[1]["source"]["name"] == "there"
            assert sent() == []

    asyncio.run(wait())


async def first_poll(runner: Runner, sent: Sent) -> None:
    """Start a wait that does not end, and wait for its first poll."""
    runner.start(source_name="never", poll_interval=0.5)
    while not sent():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


def test_a_snapshot_from_before_the_task_had_looked_is_not_replayed_to_it(tenant: TenantHandle, sent: Sent) -> None:
    """The source went between the poll and the task's own look: what the poll saw must not end the wait."""
    tenant.add_source("acme-dev", "gone")

    async def wait() -> None:
        async with running() as runner:
            await first_poll(runner, sent)
            tenant.delete_source("acme-dev", "gone")
            runner.start(source_name="gone", poll_interval=0.5, looked_at=datetime.now(UTC).isoformat())
            await asyncio.sleep(0.8)
            assert runner.payloads() == {}

    asyncio.run(wait())


def test_a_clock_that_is_ahead_holds_a_wait_up_until_the_next_poll_only(tenant: TenantHandle, sent: Sent) -> None:
    tenant.add_source("acme-dev", "there")

    async def wait() -> None:
        async with running() as runner:
            await first_poll(runner, sent)
            ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            runner.start(source_name="there", poll_interval=0.5, looked_at=ahead)
            started = time.monotonic()
            await runner.ended(1)
            assert 0.1 < time.monotonic() - started < 3

    asyncio.run(wait())


def test_who_joins_after_the_connection_was_moved_waits_for_what_is_there_now(
    connect: Connect, comms_mining_emulator: EmulatorServer
) -> None:
    """A poll of dev is running. It is not shared with a wait for prod, nor is its client before it was renewed."""
    connect().add_source("acme-dev", "inbox", title="of dev")
    base = comms_mining_emulator.url

    async def wait() -> None:
        async with running() as runner:
            dev = runner.start(source_name="never", endpoint=f"{base}/acme/dev/reinfer_")
            await asyncio.sleep(0.5)
            prod = connect("/acme/prod/reinfer_")
            prod.add_source("acme-dev", "another")
            late = runner.start(source_name="inbox", endpoint=f"{base}/acme/prod/reinfer_")
            assert "leads to" in (await runner.ended(dev))[dev]["message"]
            assert late not in runner.payloads()
            prod.add_source("acme-dev", "inbox", title="of prod")
            assert (await runner.ended(late))[late]["source"]["title"] == "of prod"

    asyncio.run(wait())


def test_the_last_snapshot_is_forgotten_when_a_poll_fails(connect: Connect) -> None:
    source = {"id": "18ba5ce699f8da1f", "owner": "acme-dev", "name": "there"}
    with Server(iter([ok(sources=[source]), *[error(500, "no")] * 100])) as server:
        connect(host=server.url)

        async def wait() -> None:
            async with running() as runner:
                runner.start(source_name="never", max_consecutive_failures=1000)
                while len(server.log) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                runner.start(source_name="there", max_consecutive_failures=1000)
                await asyncio.sleep(0.3)
                assert runner.payloads() == {}

        asyncio.run(wait())


def test_each_wait_has_its_own_budget_of_failures(connect: Connect) -> None:
    bad = error(503, "no", {"Retry-After": "0"})
    with Server(iter([*[bad] * 6, ok(sources=[OTHER]), error(404, "no")])) as server:
        connect(host=server.url)

        async def wait() -> None:
            async with running() as runner:
                runner.start(source_name="a", max_consecutive_failures=2)
                runner.start(source_name="b", max_consecutive_failures=4)
                runner.start(source_name="c", max_consecutive_failures=7, until="absent")
                payloads = await runner.ended()
                assert [payloads[number]["status"] for number in range(3)] == ["error", "error", "success"]

        asyncio.run(wait())
    assert len(server.log) == 8


def test_retry_after_stretches_the_interval_for_all(connect: Connect) -> None:
    times: list[float] = []

    def answer(request: Request) -> Step:
        if not request.target.endswith("/acme-dev"):
            return error(404, "no")
        times.append(time.monotonic())
        return error(429, "slowly", {"Retry-After": "1"}) if len(times) == 1 else ok(sources=[OTHER])

    with Server(answer) as server:
        connect(host=server.url)

        async def wait() -> None:
            async with running() as runner:
                for name in "abc":
                    runner.start(source_name=name, until="absent")
                await runner.ended()

        asyncio.run(wait())
    assert len(times) == 2
    assert times[1] - times[0] > 0.99


def test_one_that_leaves_takes_nobody_with_it(tenant: TenantHandle, sent: Sent) -> None:
    async def wait() -> None:
        async with running() as runner:
            opener, other = runner.start(source_name="a"), runner.start(source_name="b")
            await asyncio.sleep(0.3)
            runner.tasks[opener].cancel()
            await asyncio.sleep(0.2)
            late = runner.start(source_name="a", deadline=(datetime.now(UTC) + timedelta(seconds=0.3)).isoformat())
            assert (await runner.ended(late))[late]["status"] == "timeout"
            sent()
            await asyncio.sleep(0.3)
            assert LISTING in sent()
            tenant.add_source("acme-dev", "b")
            assert (await runner.ended(other))[other]["status"] == "success"

    asyncio.run(wait())


def test_a_token_is_renewed_once_for_all(connect: Connect, comms_mining_emulator: EmulatorServer) -> None:
    tenant = connect(auth="app")

    async def wait() -> None:
        async with running() as runner:
            for name in "abcde":
                runner.start(source_name=name)
            await asyncio.sleep(0.4)
            comms_mining_emulator.revoke_token("emulator-app#1")
            await asyncio.sleep(0.4)
            for name in "abcde":
                tenant.add_source("acme-dev", name)
            assert {payload["status"] for payload in (await runner.ended()).values()} == {"success"}

    asyncio.run(wait())
    tokens = [
        request for request in comms_mining_emulator.requests if request.path.endswith("/identity_/connect/token")
    ]
    assert len(tokens) == 2


def test_wrong_arguments_are_told_and_not_shared(tenant: TenantHandle, sent: Sent) -> None:
    wrong = SourceTrigger(comms_mining_conn_id="x", project="acme-dev", source_name="a", match={"tilte": "x"})
    assert wrong.shared_stream_key() is None

    async def wait() -> None:
        async with running() as runner:
            runner.start(source_name="a", match={"tilte": "x"})
            runner.start(source_name="a", until="updated")
            payloads = await runner.ended()
            assert "match: a source has no field 'tilte'" in payloads[0]["message"]
            assert "updated_after: until='updated' needs it" in payloads[1]["message"]

    asyncio.run(wait())
    assert len(sent()) <= 1


def test_the_log_of_a_poll_belongs_to_no_task_and_that_of_a_wait_to_its_own(
    tenant: TenantHandle,
) -> None:
    lines: list[tuple[str, Any]] = []

    def note(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        told = str(event.get("event"))
        lines.append((told % tuple(event.get("positional_args", ())), event.get("trigger_id")))
        return event

    async def wait() -> None:
        async with running() as runner:
            runner.start(source_name="a")
            runner.start(source_name="b")
            await asyncio.sleep(0.3)
            tenant.add_source("acme-dev", "a")
            tenant.add_source("acme-dev", "b")
            await runner.ended()

    # In place, since loggers that were used before keep the list.
    processors = structlog.get_config()["processors"]
    processors.insert(0, note)
    processors.insert(0, structlog.contextvars.merge_contextvars)
    try:
        asyncio.run(wait())
    finally:
        del processors[:2]
    assert {context for line, context in lines if line.startswith(LISTING)} == {None}
    facts = {(line.split(":")[0], context) for line, context in lines if line.startswith("Looked at")}
    assert facts == {("Looked at source acme-dev/a", 0), ("Looked at source acme-dev/b", 1)}


def test_the_poll_never_looks_a_connection_up_synchronously(
    tenant: TenantHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the loop of a shared poll that fails for connections in Airflow's database, though it works elsewhere."""
    from airflow.sdk import BaseHook

    def in_loop(*_: object) -> Any:
        raise AssertionError("looked up synchronously")

    monkeypatch.setattr(BaseHook, "get_connection", in_loop)
    tenant.add_source("acme-dev", "a")

    async def wait() -> None:
        async with running() as runner:
            runner.start(source_name="a")
            assert (await runner.ended())[0]["status"] == "success"

    asyncio.run(wait())
