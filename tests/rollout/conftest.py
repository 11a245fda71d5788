"""The tests of applying share their fixtures with the unit tests of planning."""

from __future__ import annotations

from tests.unit.rollout.conftest import full, world

__all__ = ["full", "world"]
