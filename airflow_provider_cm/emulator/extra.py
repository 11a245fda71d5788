"""What to say when the ``[emulator]`` extra is not installed."""

from __future__ import annotations

HINT = "pip install 'airflow-provider-cm[emulator]'"
_BROUGHT_BY_EXTRA = frozenset({"fastapi", "pydantic", "starlette", "uvicorn"})


def missing_extra(error: ImportError) -> str | None:
    """
    Explain an import error that installing the extra would cure.

    :param error: what importing the server raised.
    :return: a sentence for the user, or ``None`` if the error is of another kind.
    """
    package = (error.name or "").partition(".")[0]
    if package in _BROUGHT_BY_EXTRA:
        return f"the emulator needs the package {package!r}, which is not installed: {HINT}"
    return None
