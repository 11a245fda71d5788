"""More waiting sensors than there are worker slots, and a task that needs one meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

from airflow_provider_cm.sensors.sources import SourceSensor

with DAG("waiting", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):
    wait = SourceSensor.partial(
        task_id="wait",
        project="acme-dev",
        deferrable=True,
        poke_interval=1,
        timeout=240,
    ).expand(source_name=[f"inbox-{number}" for number in range(7)])

    SourceSensor(
        task_id="end_from_trigger",
        project="acme-dev",
        source_name="inbox-0",
        deferrable=True,
        end_from_trigger=True,
        poke_interval=1,
        timeout=240,
    )

    SourceSensor(
        task_id="give_up",
        project="acme-dev",
        source_name="never",
        deferrable=True,
        poke_interval=1,
        timeout=15,
        soft_fail=True,
        # Airflow fails a task that resumes before its scheduler has noted that the worker let go of it.
        retries=2,
        retry_delay=timedelta(seconds=1),
    )

    @task
    def after(sources: list[dict[str, str]]) -> list[str]:
        return sorted(source["name"] for source in sources)

    after(wait.output)  # type: ignore[arg-type]  # an output stands for what the tasks will return

with DAG("other_work", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False):

    @task
    def work() -> str:
        return "done"

    work()
