"""
The fixture ``comms_mining_emulator``, for tests of DAGs and of anything else that talks to the API.

::

    def test_my_dag(comms_mining_emulator, monkeypatch):
        tenant = comms_mining_emulator.tenant("/acme/dev/reinfer_")
        tenant.add_source("acme-dev", "inbox", title="Inbox")
        monkeypatch.setenv("AIRFLOW_CONN_COMMS_MINING_DEFAULT", json.dumps(tenant.connection()))
        ...

What goes wrong in the real world can be had, too: the next create is carried out, and its answer is lost::

    comms_mining_emulator.faults.add("no-answer", "PUT", when="after")

Loading the plugin costs nothing; the server starts when a test first asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_cm.emulator import missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator.server import EmulatorServer


@pytest.fixture(scope="session")
def _comms_mining_emulator_server() -> Iterator[EmulatorServer]:
    try:
        from airflow_provider_cm.emulator.server import EmulatorServer
    except ImportError as error:
        if (explanation := missing_extra(error)) is None:
            raise
        pytest.fail(f"comms_mining_emulator: {explanation}", pytrace=False)
    with EmulatorServer() as server:
        yield server


@pytest.fixture
def comms_mining_emulator(_comms_mining_emulator_server: EmulatorServer) -> EmulatorServer:
    """Return a running emulator in its initial state: default tenants and settings, no source, request or fault."""
    _comms_mining_emulator_server.reset()
    return _comms_mining_emulator_server
