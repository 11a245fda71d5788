"""One hook for many threads, and in a process that forks."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.conftest import Connect

THREADS = 32
ROUNDS = 4
PATH = "/acme/dev/reinfer_"


@pytest.fixture
def wire(comms_mining_emulator: EmulatorServer) -> Iterator[FaultProxy]:
    """What counts the connections to the emulator."""
    with FaultProxy(int(comms_mining_emulator.url.rsplit(":", 1)[1])) as proxy:
        yield proxy


@pytest.fixture
def hook(wire: FaultProxy, connect: Connect) -> CommsMiningHook:
    connect(PATH, auth="app", host=f"{wire.url}{PATH}")
    return CommsMiningHook()


def _minted(emulator: EmulatorServer) -> list[str]:
    return [grant.name for grant in emulator.state.tokens.grants.values() if grant.name.startswith("emulator-app#")]


def _lifecycle(hook: CommsMiningHook, number: int, turn: int) -> None:
    name, title = f"source-{number}-{turn}", f"Title {number}/{turn}"
    created = hook.sources.create("acme-dev", name, title=title)
    assert (created.name, created.title) == (name, title)
    assert hook.sources.get("acme-dev", name).id == created.id
    updated = hook.sources.update("acme-dev", name, description=f"{title}!")
    assert (updated.id, updated.title, updated.description) == (created.id, title, f"{title}!")
    assert created.id in {source.id for source in hook.sources.list("acme-dev")}
    assert hook.request("GET", "sources", f"id:{created.id}")["source"]["name"] == name
    assert hook.sources.delete(created.id) is True
    kept = hook.sources.create("acme-dev", name, title=f"{title} again")
    assert kept.id != created.id


def test_thirty_two_threads_share_a_hook(
    hook: CommsMiningHook, wire: FaultProxy, comms_mining_emulator: EmulatorServer
) -> None:
    together = threading.Barrier(THREADS)

    def work(number: int) -> None:
        together.wait()
        for turn in range(ROUNDS):
            _lifecycle(hook, number, turn)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, number) for number in range(THREADS)]:
            done.result()

    assert _minted(comms_mining_emulator) == ["emulator-app#1"]
    # One more each for the token: it is another address only in the URL, so it shares the connection.
    assert wire.connections <= THREADS
    sources = comms_mining_emulator.tenant(PATH).sources()
    assert {source["title"] for source in sources} == {
        f"Title {number}/{turn} again" for number in range(THREADS) for turn in range(ROUNDS)
    }
    api = [request for request in comms_mining_emulator.requests if request.tenant]
    assert len(api) == THREADS * ROUNDS * 7  # nothing was sent twice


def test_a_forked_child_works_and_leaves_the_parents_connection_alone(
    hook: CommsMiningHook, wire: FaultProxy, comms_mining_emulator: EmulatorServer
) -> None:
    hook.sources.create("acme-dev", "before")
    assert wire.connections == 1

    told = _in_a_child(lambda: [hook.sources.create("acme-dev", f"child-{n}").name for n in range(5)], hook)

    assert told == {"result": [f"child-{n}" for n in range(5)], "parent": 5}
    assert wire.connections == 2, "one for the parent, which it kept, and one for the child"
    assert hook.sources.get("acme-dev", "before").name == "before"
    assert wire.connections == 2
    assert len(_minted(comms_mining_emulator)) == 2, "one for each process"


def test_a_fork_in_the_middle_of_other_threads_work(
    hook: CommsMiningHook, wire: FaultProxy, comms_mining_emulator: EmulatorServer
) -> None:
    # The log of Airflow has a lock of its own, which a child inherits as it is; that is not what this is about.
    hook._observe = lambda record: None  # type: ignore[method-assign]
    hook.sources.create("acme-dev", "before")
    stop = threading.Event()

    def work() -> int:
        count = 0
        while not stop.is_set():
            assert hook.sources.get("acme-dev", "before").name == "before"
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        try:
            for _ in range(3):
                told = _in_a_child(lambda: [source.name for source in hook.sources.list("acme-dev")], hook)
                assert told == {"result": ["before"], "parent": 5}
        finally:
            stop.set()
        assert all(each.result() > 0 for each in working)
    assert wire.connections <= 1 + 4 + 3
    assert len(_minted(comms_mining_emulator)) == 1 + 3


def _in_a_child(work: Any, hook: CommsMiningHook) -> dict[str, Any]:
    """Fork, work in the child, and use the hook in the parent at the same time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Whatever happens, the child must not go on as a second pytest.
        try:
            signal.alarm(20)
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:  # noqa: BLE001
            os.write(writer, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    counted = sum(hook.sources.get("acme-dev", "before").name == "before" for _ in range(5))
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return {"result": json.loads(said or b'"the child said nothing"'), "parent": counted}
