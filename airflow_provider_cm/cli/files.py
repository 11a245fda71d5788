"""The files that commands read and write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow_provider_cm.api.errors import ConfigurationError, printable


def read_file(path: str) -> bytes:
    """Read a file.

    :param path: its path.
    :raises ConfigurationError: if it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{printable(path)}: it cannot be read: {_reason(error)}") from None


def read_json(path: str) -> Any:
    """Read JSON from a file that ``plan --out`` has written.

    :param path: its path.
    :raises ConfigurationError: if it cannot be read, or is not JSON.
    """
    text = read_file(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{printable(path)}: it is not JSON, so `plan --out` did not write it") from None


def write_file(path: str, text: str) -> None:
    """Write the file of the option ``--out``, and say so on stderr.

    :param path: its path.
    :param text: the content.
    :raises ConfigurationError: if it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--out: {printable(path)} cannot be written: {_reason(error)}") from None
    sys.stderr.write(f"Written to {printable(path)}\n")


def _reason(error: OSError | ValueError) -> str:
    return printable(getattr(error, "strerror", None) or str(error))
