"""A DAG that starts when somebody changes a source, with nobody polling in a task.

What a reader learns here:

- ``AssetWatcher`` with a ``SourceTrigger`` lets the triggerer watch a source; each change is an asset event.
- The event describes the change: ``source`` is the source now, ``before`` the source at the previous poll.
- The asset is named by the tenant's endpoint, given here so that parsing this file looks no connection up; it is the
  connection's host. ``comms_mining_conn_id=CONNECTION`` takes it from there.
- Several changes between two polls, or while the DAG is running, can come together: a run has one or more events.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, AssetWatcher, task

from airflow_provider_cm.assets import source_asset
from airflow_provider_cm.triggers.sources import SourceTrigger

PROJECT, SOURCE = "acme-dev", "support-inbox"
CONNECTION = "comms_mining_default"
ENDPOINT = "https://cloud.uipath.com/acme/dev/reinfer_"
POLL_EVERY_SECONDS = 60.0

inbox = source_asset(
    PROJECT,
    SOURCE,
    endpoint=ENDPOINT,
    watchers=[
        AssetWatcher(
            name="support_inbox_changed",
            trigger=SourceTrigger(
                comms_mining_conn_id=CONNECTION,
                project=PROJECT,
                source_name=SOURCE,
                until="updated",
                poll_interval=POLL_EVERY_SECONDS,
            ),
        )
    ],
)

with DAG(
    dag_id="example_asset_watcher",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=[inbox],
    catchup=False,
    max_active_runs=1,
    # Retries over half an hour survive a killed worker, a restart of the API server, and the replacement of a token:
    # Airflow may read the old token from its cache of connections for 15 minutes.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
    tags=["example", "comms_mining"],
    doc_md=__doc__,
) as dag:

    @task
    def describe(triggering_asset_events: Any = None) -> list[str]:
        """Return a line for each change; a run that was started by hand has no events."""
        changes = []
        for events in (triggering_asset_events or {}).values():
            for event in events:
                happened = event.extra["payload"]
                before = (happened["before"] or {}).get("title")
                changes.append(f"{happened['source_name']}: {before} -> {happened['source']['title']}")
        return changes

    describe()


if __name__ == "__main__":
    dag.test()
