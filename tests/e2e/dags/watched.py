"""Sources that are watched, in all ways."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetAny, AssetWatcher

from airflow_provider_cm.assets import source_asset
from airflow_provider_cm.triggers.sources import SourceTrigger

WATCHES = {
    "moving": ("exists", "absent", "updated"),
    "settled": ("updated",),  # its last change comes long before the triggerer is killed
    "touched": ("updated",),  # its last change comes just before
    "holding": ("exists",),  # is always there, so nothing ever happens to it
}

ASSETS = [
    source_asset(
        "watched",
        source,
        watchers=[
            AssetWatcher(
                name=f"{source} {until}",
                trigger=SourceTrigger(
                    comms_mining_conn_id="comms_mining_default",
                    project="watched",
                    source_name=source,
                    until=until,
                    poll_interval=1,
                ),
            )
            for until in untils
        ],
    )
    for source, untils in WATCHES.items()
]

with DAG(
    "watched",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=AssetAny(*ASSETS),
    catchup=False,
    max_active_runs=1,
):
    EmptyOperator(task_id="nothing")
