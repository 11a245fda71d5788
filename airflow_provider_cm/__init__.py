"""Apache Airflow provider for UiPath Communications Mining (unofficial)."""

from __future__ import annotations

__version__ = "0.1.0"
