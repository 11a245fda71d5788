"""The waits of :mod:`tests.faults.waits`, few in ``make test``, many in ``make test-faults``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_cm.triggers import condition
from tests.faults import waits

if TYPE_CHECKING:
    import pytest

    from tests.faults.world import World

WAITS = int(os.environ.get("FAULT_WAITS", "30"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
REPORT = os.environ.get("FAULT_REPORT")


def test_a_wait_ends_well_only_when_it_was_true(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "SECOND_LOOK_AFTER", waits.SECOND_LOOK_AFTER)
    seed = SEED
    while sum(world.tally.operations.values()) < WAITS:
        trial = waits.Trial(world, seed)
        monkeypatch.setenv(f"AIRFLOW_CONN_{waits.CONNECTION.upper()}", trial.connection())
        trial.run()
        seed += 1
    if REPORT:
        Path(REPORT).write_text(json.dumps(world.tally.to_dict()))
