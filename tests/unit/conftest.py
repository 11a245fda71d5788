"""What the unit tests of hook, operators, sensor and trigger share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

Sent = Callable[[], list[str]]


@pytest.fixture
def sent(comms_mining_emulator: EmulatorServer) -> Sent:
    """Give a function that tells the requests since it was last asked, such as ``GET sources/acme-dev/inbox``."""

    def tell() -> list[str]:
        requests = comms_mining_emulator.requests
        comms_mining_emulator.clear_requests()
        return [f"{each.method} {each.path.partition('/api/v1/')[2] or each.path}" for each in requests]

    return tell
