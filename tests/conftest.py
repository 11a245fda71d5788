"""Airflow's home is a temporary folder, set before anything imports Airflow; and connections to the emulator."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle

_HOME = tempfile.mkdtemp(prefix="airflow-provider-cm-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
# Every emulator that a test starts, in a process of its own too, checks its responses against the contract.
os.environ["COMMS_MINING_EMULATOR_CHECK_RESPONSES"] = "yes"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_configure(config: pytest.Config) -> None:
    """Turn Airflow's deprecations into errors, now that importing it finds its temporary home."""
    config.addinivalue_line("filterwarnings", "error::airflow.exceptions.RemovedInAirflow4Warning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a fixture of their module in one process, so that it is made once (``pytest -n``).

    Those with a real Airflow share a process, too: two of them would only be in each other's way.
    """
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.xdist_group("e2e"))
            continue
        fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009  # pytest has no public way
        if any(definitions[-1].scope == "module" for definitions in fixtures):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(autouse=True)
def _responses_fit_the_contract() -> Iterator[None]:
    """Fail a test in which an emulator answered what its contract does not allow."""
    yield
    # Looked up, not imported: most tests start no emulator, and some measure what is imported.
    module = sys.modules.get("airflow_provider_cm.emulator.response_check")
    if module is not None and module.VIOLATIONS:
        violations = list(module.VIOLATIONS)
        module.VIOLATIONS.clear()
        pytest.fail("\n".join(violations), pytrace=False)


Connect = Callable[..., "TenantHandle"]
Sent = Callable[[], list[str]]


@pytest.fixture
def connect(comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Give a function that puts a connection to a tenant of the emulator into the environment.

    ``connect("/", auth="app", extra={"read_only": True}, host="...")`` gives the tenant; a field that is ``None`` is
    left out of the connection.
    """
    from airflow_provider_cm.api import client_credentials as auth_module

    # A token minted for the test before is unknown to an emulator that was reset.
    monkeypatch.setattr(auth_module, "_cells", {})

    def put(
        path: str = "/acme/dev/reinfer_",
        *,
        conn_id: str = "comms_mining_default",
        auth: Any = "token",
        token: str = "emulator-admin",
        **fields: Any,
    ) -> TenantHandle:
        tenant = comms_mining_emulator.tenant(path)
        connection = tenant.connection(auth, token)
        if isinstance(fields.get("extra"), dict):
            fields["extra"] = {**connection["extra"], **fields["extra"]}
        connection |= fields
        present = {name: value for name, value in connection.items() if value is not None}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(present))
        return tenant

    return put


@pytest.fixture
def sent(comms_mining_emulator: EmulatorServer) -> Sent:
    """Give a function that tells the requests since it was last asked, such as ``GET sources/acme-dev/inbox``."""

    def tell() -> list[str]:
        requests = comms_mining_emulator.requests
        comms_mining_emulator.clear_requests()
        return [f"{each.method} {each.path.partition('/api/v1/')[2] or each.path}" for each in requests]

    return tell


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let second looks come at once; others in tests/unit show that they wait."""
    for module in ("api.lost_responses", "rollout.applying"):
        monkeypatch.setattr(f"airflow_provider_cm.{module}.LAG", 0.0)
    monkeypatch.setattr("airflow_provider_cm.triggers.condition.SECOND_LOOK_AFTER", 0.01)
