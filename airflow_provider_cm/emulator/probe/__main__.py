"""The command ``python -m airflow_provider_cm.emulator.probe``."""

from __future__ import annotations

import sys

from airflow_provider_cm.emulator import missing_extra


def main() -> int:
    """Run the probe, or say which extra it lacks."""
    try:
        from airflow_provider_cm.emulator.probe.cli import run
    except ImportError as error:
        if (explanation := missing_extra(error)) is None:
            raise
        print(f"error: {explanation}", file=sys.stderr)
        return 2
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
