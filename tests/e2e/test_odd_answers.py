"""A server sends what Airflow's databases cannot hold: nobody is harmed, and who asked has it in a form that fits.

On SQLite, and on PostgreSQL, which refuses more of it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.e2e.conftest import TENANT, RealAirflow, real_airflow
from tests.e2e.odd_answers import INTEGER, KINDS, NAN, NUL, SURROGATE, TIMED, TOO_LARGE, OddServer
from tests.e2e.postgres import postgres
from tests.e2e.waiting import LET_GO_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_cm.emulator import TenantHandle

pytestmark = pytest.mark.e2e

STORABLE = [kind for kind in KINDS if kind != NAN]
TASKS = [f"{task}_{kind}" for kind in KINDS for task in ("get", "update", "reconcile")]
# NaN is no JSON. What a read ends with, and a write that the server may have carried out.
NAN_ERRORS = {"get_nan": "ProtocolError", "update_nan": "OutcomeUnknownError", "reconcile_nan": "ProtocolError"}
ENDED = {"success", "failed", "upstream_failed", "skipped"}
# How Airflow says that it cannot store something.
UNSTORABLE = re.compile(
    "Trigger runner process has died|UnicodeEncodeError|UntranslatableCharacter|DataError|StatementError"
)


class World:
    """A tenant, the server before it that makes answers odd, and an Airflow that asks it."""

    def __init__(self, airflow: RealAirflow, tenant: TenantHandle, server: OddServer) -> None:
        self.airflow, self.tenant, self.server = airflow, tenant, server

    def wait_for(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        """Wait, for as long as all of Airflow's processes live."""
        self.airflow.wait_for(lambda: bool(self.airflow.dead()) or condition(), seconds)
        assert not self.airflow.dead(), f"{self.airflow.dead()} died: {self.airflow.tail()}"

    def run_to_end(self, dag_id: str, run: str) -> dict[str, str | None]:
        self.airflow.wait_for(lambda: ENDED.issuperset(self.airflow.states(dag_id, run).values()))
        return self.airflow.states(dag_id, run)

    def log_of(self, dag_id: str, run: str, task: str) -> str:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task}/logs/1"
        return str(self.airflow.call("GET", path, params={"full_content": True}))

    @contextlib.contextmanager
    def innocent_wait(self) -> Iterator[None]:
        """Wait for another project's source in the same triggerer, from before the block until after it."""
        states = functools.partial(self.airflow.states, "innocent_wait")
        (triggerer,) = self.airflow.jobs("TriggererJob")
        run = self.airflow.start_run("innocent_wait")
        self.wait_for(lambda: states(run)["wait"] in {"deferred", *ENDED})
        assert states(run) == {"wait": "deferred"}, self.log_of("innocent_wait", run, "wait")
        time.sleep(LET_GO_SECONDS)
        yield
        assert states(run) == {"wait": "deferred"}
        source = self.tenant.add_source("innocent", "awaited", title="Innocent")
        self.wait_for(lambda: states(run)["wait"] in ENDED)
        assert states(run) == {"wait": "success"}
        assert self.airflow.returned("innocent_wait", run, "wait")["id"] == source["id"]
        assert [job["id"] for job in self.airflow.jobs("TriggererJob")] == [triggerer["id"]]
        self.tenant.delete_source("innocent", "awaited")

    def extras(self, uri_part: str) -> list[dict[str, Any]]:
        """Give what the asset events say whose asset's URI holds a text."""
        answer = self.airflow.answer("GET", "/api/v2/assets/events", params={"limit": 100})
        # SQLite is locked now and then.
        events = answer.json()["asset_events"] if answer.status_code != 500 else []
        return [event["extra"] for event in events if uri_part in event["uri"]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        postgres() if request.param == "postgresql" else contextlib.nullcontext() as database,
        EmulatorServer() as emulator,
        OddServer(int(emulator.url.rsplit(":", 1)[1])) as server,
    ):
        tenant = emulator.tenant(TENANT)
        for project in ("innocent", *(f"{use}-{kind}" for use in ("waits", "tasks", "watched") for kind in KINDS)):
            tenant.add_project(project)
            tenant.add_source(project, "another")
        for kind in KINDS:
            for name in ("read", "updated", "reconciled"):
                tenant.add_source(f"tasks-{kind}", name, title="Odd")
        home = tmp_path_factory.mktemp(request.param)
        shutil.copytree(Path(__file__).with_name("odd_dags"), home / "dags")
        connection = {"conn_type": "comms_mining", "host": server.url + TENANT, "password": "emulator-admin"}
        settings = {"AIRFLOW_CONN_ODD": json.dumps(connection)}
        with real_airflow(home, home / "dags", settings, database=database) as airflow:
            yield World(airflow, tenant, server)


def expect_odd(source: dict[str, Any], kind: str) -> None:
    """Check a source as it went through Airflow's database."""
    if kind in {SURROGATE, NUL}:
        assert source["title"].endswith(" \ufffd"), source
    if kind == INTEGER:
        assert source["x_number"] == str(TOO_LARGE)
        assert source["x_list"] == [{"x": str(-TOO_LARGE)}]


def test_deferred_waits_end_and_the_triggerer_lives_on(world: World) -> None:
    airflow = world.airflow
    with world.innocent_wait():
        run = airflow.start_run("odd_waits")
        world.wait_for(lambda: ENDED.union({"deferred"}).issuperset(airflow.states("odd_waits", run).values()))
        assert set(airflow.states("odd_waits", run).values()) == {"deferred"}
        time.sleep(LET_GO_SECONDS)
        for kind in KINDS:
            world.tenant.add_source(f"waits-{kind}", "awaited", title="Odd")
        world.wait_for(lambda: airflow.count("odd_waits", run, "deferred") == 0)
        states = world.run_to_end("odd_waits", run)
        assert states == {kind: "failed" if kind == NAN else "success" for kind in KINDS}
        for kind in STORABLE:
            expect_odd(airflow.returned("odd_waits", run, kind), kind)
        assert "'ProtocolError'" in world.log_of("odd_waits", run, NAN)
    assert set(world.server.odd) == set(KINDS)


def test_workers_store_what_they_read_and_what_they_wrote(world: World) -> None:
    airflow = world.airflow
    run = airflow.start_run("odd_tasks")
    states = world.run_to_end("odd_tasks", run)
    assert states == {task: "failed" if task in NAN_ERRORS else "success" for task in TASKS}
    for kind in STORABLE:
        for task in ("get", "update"):
            expect_odd(airflow.returned("odd_tasks", run, f"{task}_{kind}"), kind)
        (extra,) = world.extras(f"/tasks-{kind}/read")
        expect_odd(extra["source"], kind)
        report = airflow.returned("odd_tasks", run, f"reconcile_{kind}")["report"]
        assert [outcome["result"] for outcome in report["outcomes"]] == ["done"]
    for task, error in NAN_ERRORS.items():
        log = world.log_of("odd_tasks", run, task)
        assert f"'{error}'" in log, log
    timed = airflow.returned("odd_tasks", run, f"reconcile_{TIMED}")
    assert "Infinity" not in json.dumps(timed)


def test_watchers_events_are_stored_and_watchers_live_on(world: World) -> None:
    def watched(kind: str) -> list[dict[str, Any]]:
        return world.extras(f"/watched-{kind}/watched")

    def polls(kind: str) -> int:
        return sum(count for request, count in world.server.requests.items() if f"/watched-{kind}" in request)

    with world.innocent_wait():
        world.wait_for(lambda: all(polls(kind) >= 2 for kind in KINDS))
        for kind in KINDS:
            world.tenant.add_source(f"watched-{kind}", "watched", title="Odd")
        world.wait_for(lambda: all(len(watched(kind)) == 1 for kind in STORABLE))
        for kind in STORABLE:
            expect_odd(watched(kind)[0]["payload"]["source"], kind)
        assert watched(NAN) == []
        # What nobody could read is noticed once it can be.
        world.server.kinds.remove(NAN)
        world.wait_for(lambda: len(watched(NAN)) == 1)


def test_airflow_never_met_what_it_cannot_store(world: World) -> None:
    texts = [path.read_text(errors="replace") for path in world.airflow.log.parent.rglob("*.log")]
    assert len(texts) > len(TASKS)
    assert [found[0] for text in texts for found in UNSTORABLE.finditer(text)] == []
