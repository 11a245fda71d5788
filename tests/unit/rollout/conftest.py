"""Fixtures of the rollout's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.rollout.support import World, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import EmulatorServer


@pytest.fixture(params=["full", "docs"])
def world(request: pytest.FixtureRequest, comms_mining_emulator: EmulatorServer) -> Iterator[World]:
    """Give a tenant in either shape: all that the official client needs, or only what the vendor's pages show."""
    comms_mining_emulator.configure(shapes=request.param)
    made = make_world(comms_mining_emulator)
    yield made
    made.api.session.close()


@pytest.fixture
def full(comms_mining_emulator: EmulatorServer) -> Iterator[World]:
    """Give a tenant whose answers hold every field."""
    made = make_world(comms_mining_emulator)
    yield made
    made.api.session.close()
