"""Two tasks at once for the same source: one source in the end, and two reports that are true."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import ConflictError, NotFoundError
from airflow_provider_cm.exceptions import CommsMiningFailure
from airflow_provider_cm.operators.sources import (
    IF_EXISTS,
    CreateSourceOperator,
    DeleteSourceOperator,
    UpdateSourceOperator,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle
    from tests.conftest import Connect

# What these tests look at is done before any second look, which would only take time.
pytestmark = pytest.mark.usefixtures("impatient")

INBOX = {"project": "acme-dev", "source_name": "inbox"}
REPEATS = 24
Task = CreateSourceOperator | UpdateSourceOperator | DeleteSourceOperator


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    return connect()


def at_once(*tasks: Task, delay: float) -> list[Any]:
    """Run tasks at the same time, less a random moment; give what each returned or raised."""
    together = threading.Barrier(len(tasks))

    def run(task: Task) -> Any:
        together.wait()
        time.sleep(random.uniform(0, delay))
        try:
            return task.execute({})
        except (CommsMiningFailure, AirflowSkipException) as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def repeat(emulator: EmulatorServer, tenant: TenantHandle, one: Callable[[float], str]) -> Counter[str]:
    """Do it a few dozen times, each on an empty tenant, with ever longer delays; count how it went."""
    ways: Counter[str] = Counter()
    for turn in range(REPEATS):
        for source in tenant.sources():
            tenant.delete_source(source["owner"], source["name"])
        emulator.clear_requests()
        emulator.state.changes.clear()
        ways[one(0.012 * turn / REPEATS)] += 1
    return ways


def sent(emulator: EmulatorServer, method: str) -> list[int]:
    return [request.status for request in emulator.requests if request.method == method]


@pytest.mark.parametrize("if_exists", IF_EXISTS)
@pytest.mark.parametrize("status", [409, 400, 422])
def test_two_creates(comms_mining_emulator: EmulatorServer, tenant: TenantHandle, status: int, if_exists: str) -> None:
    comms_mining_emulator.configure(duplicate_put=status, latency_ms=2)
    wanted = itertools.cycle([["Mine", "Mine"], ["Mine", "Yours"]])

    def one(delay: float) -> str:
        titles = next(wanted)
        same = len(set(titles)) == 1
        tasks = [CreateSourceOperator(task_id="t", title=title, if_exists=if_exists, **INBOX) for title in titles]
        reports = at_once(*tasks, delay=delay)

        (held,) = tenant.sources()
        creations = [change for change in comms_mining_emulator.changes if change.action == "create"]
        assert len(creations) == 1
        assert creations[0].after is not None
        assert creations[0].after.id == held["id"]
        # Who created it says so, and the other one says what it found, as it was asked to.
        puts = sent(comms_mining_emulator, "PUT")
        assert puts.count(200) == 1
        done = [report for report in reports if isinstance(report, dict)]
        assert all(report["id"] == held["id"] for report in done)
        first = creations[0].after.title
        others = [report for report, title in zip(reports, titles, strict=True) if same or title != first]
        match if_exists:
            case "match" if same:
                assert [report["title"] for report in done] == titles
            case "match" | "fail":
                (refused,) = [report for report in reports if not isinstance(report, dict)]
                assert isinstance(refused, CommsMiningFailure)
                assert isinstance(refused.__cause__, ConflictError)
                assert done[0]["title"] == held["title"] == first
                assert same or refused in others
            case "update":
                assert [report["title"] for report in reports] == titles
                assert held["title"] == others[-1]["title"]
            case "ignore":
                assert [report["title"] for report in reports] == [first, first]
                assert held["title"] == first
            case "skip":
                (skipped,) = [report for report in reports if not isinstance(report, dict)]
                assert isinstance(skipped, AirflowSkipException)
                assert done[0]["title"] == held["title"] == first
        return "raced" if len(puts) == 2 else "one after the other"

    ways = repeat(comms_mining_emulator, tenant, one)
    assert ways["raced"] >= 3, ways


@pytest.mark.parametrize("if_exists", IF_EXISTS)
def test_two_creates_where_a_put_replaces(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, if_exists: str
) -> None:
    comms_mining_emulator.configure(duplicate_put="upsert", latency_ms=2)

    def one(delay: float) -> str:
        tasks = [CreateSourceOperator(task_id="t", title=t, if_exists=if_exists, **INBOX) for t in ("Mine", "Yours")]
        reports = at_once(*tasks, delay=delay)

        (held,) = tenant.sources()
        history = [change.after for change in comms_mining_emulator.changes]
        assert [change.action for change in comms_mining_emulator.changes].count("create") == 1
        assert held["title"] == history[-1].title if history[-1] else False
        for report in reports:
            if isinstance(report, dict):
                # What is reported was the source's state at some moment of the task.
                assert (report["id"], report["title"]) in {(each.id, each.title) for each in history if each}
            elif isinstance(report, CommsMiningFailure):
                assert isinstance(report.__cause__, ConflictError)
            else:
                assert if_exists == "skip"
        assert any(isinstance(report, dict) for report in reports)
        return "raced" if len(sent(comms_mining_emulator, "PUT")) == 2 else "one after the other"

    ways = repeat(comms_mining_emulator, tenant, one)
    assert ways["raced"] >= 3, ways


@pytest.mark.parametrize("answer", [404, 200])
def test_two_deletes(comms_mining_emulator: EmulatorServer, tenant: TenantHandle, answer: int) -> None:
    comms_mining_emulator.configure(delete_missing=answer, latency_ms=2)

    def one(delay: float) -> str:
        source_id = tenant.add_source("acme-dev", "inbox")["id"]
        other = tenant.add_source("acme-dev", "bystander")["id"]
        by_id, by_name = (
            DeleteSourceOperator(task_id="t", source_id=source_id),
            DeleteSourceOperator(task_id="t", **INBOX),
        )
        reports = at_once(by_id, by_name, delay=delay)

        assert [source["id"] for source in tenant.sources()] == [other]
        assert {report["source_id"] for report in reports} <= {source_id, None}
        deleted = [report["deleted"] for report in reports]
        deletes = len(sent(comms_mining_emulator, "DELETE"))
        # Where the server says that a second delete is as good as the first, it is not known who did it.
        assert deleted.count(True) == (deletes if answer == 200 else 1)
        return "raced" if deletes == 2 else "one after the other"

    ways = repeat(comms_mining_emulator, tenant, one)
    assert ways["raced"] >= 3, ways


def test_two_updates(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    comms_mining_emulator.configure(latency_ms=2)

    def one(delay: float) -> str:
        tenant.add_source("acme-dev", "inbox", title="Old", description="Old")
        reports = at_once(
            UpdateSourceOperator(task_id="t", title="Mine", description="Mine", **INBOX),
            UpdateSourceOperator(task_id="t", title="Yours", **INBOX),
            delay=delay,
        )
        (held,) = tenant.sources()
        assert [report["title"] for report in reports] == ["Mine", "Yours"]
        assert held["description"] == "Mine"
        assert held["title"] in {"Mine", "Yours"}
        return str(held["title"])

    assert set(repeat(comms_mining_emulator, tenant, one)) == {"Mine", "Yours"}


def test_an_update_and_a_delete(comms_mining_emulator: EmulatorServer, tenant: TenantHandle) -> None:
    comms_mining_emulator.configure(latency_ms=2)

    def one(delay: float) -> str:
        source_id = tenant.add_source("acme-dev", "inbox", title="Old")["id"]
        updated, deleted = at_once(
            UpdateSourceOperator(task_id="t", title="Mine", **INBOX),
            DeleteSourceOperator(task_id="t", source_id=source_id),
            delay=delay,
        )
        assert tenant.sources() == []
        assert deleted == {"source_id": source_id, "deleted": True}
        actions = [change.action for change in comms_mining_emulator.changes if change.request]
        if isinstance(updated, dict):
            assert (updated["id"], updated["title"]) == (source_id, "Mine")
            assert actions == ["update", "delete"]
            return "updated"
        assert isinstance(updated.__cause__, NotFoundError)
        assert actions == ["delete"]
        return "too late"

    assert set(repeat(comms_mining_emulator, tenant, one)) == {"updated", "too late"}
