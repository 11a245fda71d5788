"""The state machine of :mod:`tests.faults.machine`, short in ``make test``, long in ``make test-faults``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from airflow_provider_cm.emulator import EmulatorSettings
from tests.faults.drawn import setting_values
from tests.faults.machine import Clients

if TYPE_CHECKING:
    from tests.faults.world import World

EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "30"))
STEPS = int(os.environ.get("FAULT_STEPS", "20"))
REPORT = os.environ.get("FAULT_REPORT")


def test_every_setting_of_the_emulator_is_drawn() -> None:
    """A new setting is drawn by itself, or asks here for values to draw."""
    for name, values in setting_values().items():
        default = EmulatorSettings.model_fields[name].default
        assert default in values, name
        assert [value for value in values if value != default], name
        for value in values:
            assert getattr(EmulatorSettings().changed(**{name: value}), name) == value
    assert set(setting_values()) == set(EmulatorSettings.model_fields)


def test_what_is_reported_is_what_the_server_holds(world: World) -> None:
    class Machine(Clients):
        pass

    Machine.world = world
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    tally = world.tally
    assert sum(tally.operations.values()) >= EXAMPLES * STEPS / 2
    if REPORT:
        # Hypothesis leaves out some rules in each example, so a short run may never have drawn one of them.
        assert set(tally.operations) == {"create", "update", "delete", "get", "list"}
        drawn = {each.partition("=")[0] for each in tally.settings}
        # So few examples may leave out one that is drawn seldom.
        assert EXAMPLES < 150 or drawn == set(EmulatorSettings.model_fields), "settings that were never drawn"
        Path(REPORT).write_text(json.dumps(tally.to_dict()))
