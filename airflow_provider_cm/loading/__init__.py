"""Load messages into a source: rows in, a report out. It never imports Airflow.

.. code-block:: python

    from airflow_provider_cm.api import ApiSession, DeveloperToken, MessagesApi
    from airflow_provider_cm.loading import load

    session = ApiSession("https://cloud.uipath.com/acme/dev/reinfer_", DeveloperToken("..."))
    rows = [{"ticket": 1, "created": "2026-01-05T09:12:00Z", "text": "Where is my refund?"}]
    mapping = {"id": "ticket-{ticket}", "timestamp": "{created}", "body": "{text}"}
    report = load(rows, MessagesApi(session), project="acme-dev", source_name="tickets", mapping=mapping)
    print(report.billable)

Names are loaded on first use, so that checking a mapping when a DAG is parsed does not cost the import of the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_cm.loading.checkpoint import CheckpointStore
    from airflow_provider_cm.loading.loader import load
    from airflow_provider_cm.loading.mapping import Mapping, MappingError
    from airflow_provider_cm.loading.options import LoadOptions
    from airflow_provider_cm.loading.report import LoadError, LoadReport, Progress

_HOME = {
    "CheckpointStore": "checkpoint",
    "LoadError": "report",
    "LoadOptions": "options",
    "LoadReport": "report",
    "Mapping": "mapping",
    "MappingError": "mapping",
    "Progress": "report",
    "load": "loader",
}

__all__ = ["CheckpointStore", "LoadError", "LoadOptions", "LoadReport", "Mapping", "MappingError", "Progress", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
