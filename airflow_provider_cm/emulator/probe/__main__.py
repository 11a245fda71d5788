"""The command ``python -m airflow_provider_cm.emulator.probe``."""

from __future__ import annotations

import sys

from airflow_provider_cm.emulator import run_command


def main() -> int:
    """Run the probe, or say which extra it lacks."""
    return run_command("airflow_provider_cm.emulator.probe.cli")


if __name__ == "__main__":
    sys.exit(main())
