"""The rollouts of :mod:`tests.faults.rollouts`, few in ``make test``, many in ``make test-faults``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.rollouts import Trial

if TYPE_CHECKING:
    from tests.faults.world import World

APPLIES = int(os.environ.get("FAULT_APPLIES", "40"))
SEED = int(os.environ.get("FAULT_SEED", "0"))
REPORT = os.environ.get("FAULT_REPORT")


def test_a_rollout_reports_what_is_so(world: World) -> None:
    seed = SEED
    # Those in peace only show that the others have left nothing behind, and do not count.
    while sum(world.tally.operations.values()) - world.tally.operations["in peace"] < APPLIES:
        Trial(world, seed).run()
        seed += 1
    if REPORT:
        Path(REPORT).write_text(json.dumps(world.tally.to_dict()))
