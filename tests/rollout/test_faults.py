"""Rollouts under random faults end converged, or with a report of which every line is true.

``ROLLOUT_FAULT_RUNS`` says how many (200 for the long version), ``ROLLOUT_FAULT_SEED`` with which seed to begin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.api import CommsMiningError
from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.rollout import Plan, apply
from tests.faults.proxy import FaultProxy
from tests.faults.world import TENANT, VirtualTime
from tests.rollout.world import Rollout
from tests.unit.rollout.support import make_world, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = int(os.environ.get("ROLLOUT_FAULT_RUNS", "15"))
SEED = int(os.environ.get("ROLLOUT_FAULT_SEED", "0"))
KILLS = max(2, RUNS // 10)

_counted: Counter[str] = Counter()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[EmulatorServer, FaultProxy, VirtualTime]]:
    clock = VirtualTime()
    with EmulatorServer(clock=clock.now) as server, FaultProxy(int(server.url.rsplit(":", 1)[1])) as proxy:
        yield server, proxy, clock


@pytest.fixture(scope="module", autouse=True)
def tell() -> Iterator[None]:
    yield
    print(f"\nrollouts under faults: {dict(sorted(_counted.items()))}")


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_a_rollout_under_faults(served: tuple[EmulatorServer, FaultProxy, VirtualTime], seed: int) -> None:
    rollout = Rollout(*served, seed)
    rollout.spoil()
    report, own = None, []
    with contextlib.suppress(CommsMiningError):
        report = apply(rollout.plan, rollout.api, max_workers=4)
    rollout.calm()
    if report is None:
        # The list at the beginning may fail for good; then nothing may have been written.
        own = [change for change in rollout.server.changes[rollout.first_change :] if change.request is not None]
        assert own == [], f"seed {seed}: something was written"
        _counted["not begun"] += 1
    else:
        rollout.check(report)
        converged = all(outcome.ok or "kept: " in outcome.message for outcome in report.outcomes) and report.verified
        _counted["converged" if converged else "ended with a true report of what is left"] += 1
        _counted.update(f"outcome {outcome.result}" for outcome in report.outcomes)
    _counted.update(f"trouble {each}" for each in rollout.happened)

    # The same plan again does the rest of it, without tripping over its own work.
    changes = len(rollout.server.changes)
    again = apply(rollout.plan, rollout.api, max_workers=4)
    assert {outcome.result for outcome in again.outcomes} <= {
        "done",
        "confirmed",
        "unchanged",
        "stale",
        "skipped",
        "failed",
    }
    if not rollout.rivals:
        left = [outcome for outcome in again.outcomes if not outcome.ok and "kept: " not in outcome.message]
        assert left == [], f"seed {seed}"
    written = {change.after or change.before for change in rollout.server.changes[changes:]}
    done = [outcome for outcome in again.outcomes if outcome.result in {"done", "confirmed"}]
    assert len(written) == len(done)
    # And a new plan brings what rivals have left, and then there is nothing to do.
    apply(rollout.make_plan(), rollout.api)
    last = rollout.make_plan()
    kept = {held["name"] for held in rollout.tenant.sources()} - {each.name for each in rollout.manifest.wanted()}
    assert {action.name for action in last.actions} == kept
    state = rollout.server.state.tenant(TENANT)
    assert all(source.num_comments for source in state.sources.values() if source.name in kept)
    rollout.api.session.close()


CHILD = """
import json, sys
from airflow_provider_cm.api import ApiSession, DeveloperToken, SourcesApi
from airflow_provider_cm.rollout import Plan, apply
plan = Plan.from_dict(json.load(sys.stdin))
print(apply(plan, SourcesApi(ApiSession(plan.target, DeveloperToken("emulator-admin"))), max_workers=4).summary())
"""


@pytest.mark.parametrize("seed", range(KILLS))
def test_an_apply_that_is_killed_converges_when_it_is_run_again(
    comms_mining_emulator: EmulatorServer, seed: int
) -> None:
    server = comms_mining_emulator
    server.configure(shapes=("full", "docs")[seed % 2], latency_ms=15)
    world = make_world(server)
    for number in range(10):
        world.tenant.add_source("acme-dev", f"old-{number}")
        world.tenant.add_source("acme-dev", f"moved-{number}", title="before")
    entries = [{"name": f"new-{number}", "title": "n", "language": "de"} for number in range(30)]
    entries += [{"name": f"moved-{number}", "title": "after"} for number in range(10)]
    wanted = manifest(*entries, owns=["old-*"])
    plan = json.dumps(world.plan(wanted, prune=True, max_deletes=10).to_dict())
    first = len(server.changes)
    killed = 0
    for share in (5, 20, 32, 44):
        # Each time a little later: in the creates, then the updates, then the deletes.
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdin is not None
        child.stdin.write(plan.encode())
        child.stdin.close()
        until = time.monotonic() + 30
        while len(server.changes) - first < share + seed % 4 and child.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.001)
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        if child.stdout is not None:
            child.stdout.close()
    assert killed >= 3
    report = apply(Plan.from_dict(json.loads(plan)), world.api)
    assert report.ok, report.failure_text()
    changes = [(change.action, (change.after or change.before).name) for change in server.changes[first:]]  # type: ignore[union-attr]
    assert len(changes) == len(set(changes)) == 50, "something was done twice, or not at all"
    assert world.plan(wanted, prune=True, max_deletes=10).actions == ()
    world.api.session.close()
