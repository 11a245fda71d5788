"""The arguments of a load, checked in one place for scripts, operators and the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load; the names and defaults of :func:`airflow_provider_cm.loading.load`.

    :raises ConfigurationError: naming the argument, the problem and the remedy.
    """

    batch_size: int = 500
    max_batch_bytes: int = 4 * 1024 * 1024
    concurrency: int = 1
    on_duplicate: str = "fail"
    max_rejected: int | float = 0
    rejects_path: str | None = None
    reject_rows: bool = False
    max_billable: int | None = None
    dry_run: bool = False
    verify: bool = True
    log_ids: bool = False
