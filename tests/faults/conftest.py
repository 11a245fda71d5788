"""One server and one proxy for a whole machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.faults.proxy import FaultProxy
from tests.faults.world import Tally, VirtualTime, World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world() -> Iterator[World]:
    virtual = VirtualTime()
    with EmulatorServer(clock=virtual.now) as server, FaultProxy(int(server.url.rsplit(":", 1)[1])) as proxy:
        yield World(virtual, server, proxy, Tally())
