"""The loads of :mod:`tests.faults.loads`, few in ``make test``, many in ``make test-faults``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import loads

if TYPE_CHECKING:
    from tests.faults.world import World

LOADS = int(os.environ.get("FAULT_LOADS", "60"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
REPORT = os.environ.get("FAULT_REPORT")


def test_no_load_loses_a_row_or_pays_twice(world: World, tmp_path: Path) -> None:
    seed = SEED
    while world.tally.operations["loads"] < LOADS:
        loads.Trial(world, seed, tmp_path).run()
        seed += 1
    if REPORT:
        Path(REPORT).write_text(json.dumps(world.tally.to_dict()))
