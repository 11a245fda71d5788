"""
A server that behaves like the UiPath Communications Mining sources API, for tests and demos.

The vendor offers no sandbox, so this is where a DAG can be tried without a real tenant. It is unofficial and
was written from the vendor's public pages and its public client; whatever those leave open is a documented
guess in :class:`~airflow_provider_cm.emulator.settings.Settings`.

Importing this package costs nothing: FastAPI and uvicorn are loaded when :class:`EmulatorServer` or
:class:`Settings` is first asked for, and they come with ``pip install 'airflow-provider-cm[emulator]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.server import EmulatorServer, TenantHandle
    from airflow_provider_cm.emulator.settings import Settings

__all__ = ["EmulatorServer", "Settings", "TenantHandle"]

_HOMES = {
    "EmulatorServer": "airflow_provider_cm.emulator.server",
    "Settings": "airflow_provider_cm.emulator.settings",
    "TenantHandle": "airflow_provider_cm.emulator.server",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used, so that importing the package stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
