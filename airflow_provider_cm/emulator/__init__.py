"""
A server that behaves like the UiPath Communications Mining API, for tests and demos.

The vendor offers no sandbox, so this is where a DAG can be tried without a real tenant. It is unofficial and
was written from the vendor's public pages, its public client and the public contract of its backend; whatever
those leave open is a documented guess in :class:`~airflow_provider_cm.emulator.settings.EmulatorSettings`.

Importing this package costs nothing: Starlette and uvicorn are loaded when :class:`EmulatorServer` or
:class:`EmulatorSettings` is first used, and they come with ``pip install 'airflow-provider-cm[emulator]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.server import EmulatorServer
    from airflow_provider_cm.emulator.settings import EmulatorSettings
    from airflow_provider_cm.emulator.tenant_handle import TenantHandle

__all__ = ["EmulatorServer", "EmulatorSettings", "TenantHandle"]

_HOMES = {
    "EmulatorServer": "airflow_provider_cm.emulator.server",
    "EmulatorSettings": "airflow_provider_cm.emulator.settings",
    "TenantHandle": "airflow_provider_cm.emulator.tenant_handle",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used, so that importing the package stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


_BROUGHT_BY_EXTRA = frozenset({"jsonschema", "jsonschema_rs", "pydantic", "starlette", "uvicorn"})


def missing_extra(error: ImportError) -> str | None:
    """
    Explain an import error that installing the extra would fix.

    :param error: what importing the server raised.
    :return: a sentence for the user, or ``None`` if the error is of another kind.
    """
    package = (error.name or "").partition(".")[0]
    if package in _BROUGHT_BY_EXTRA:
        hint = "pip install 'airflow-provider-cm[emulator]'"
        return f"the emulator needs the package {package!r}, which is not installed: {hint}"
    return None


def run_command(module: str) -> int:
    """
    Run a command of this package, or print which extra it lacks.

    :param module: the module whose ``run`` takes the arguments of the command line.
    :return: the exit code; 2 if the extra is missing.
    """
    import sys
    from importlib import import_module

    try:
        run = import_module(module).run
    except ImportError as error:
        if (explanation := missing_extra(error)) is None:
            raise
        print(f"error: {explanation}", file=sys.stderr)
        return 2
    code: int = run(sys.argv[1:])
    return code
