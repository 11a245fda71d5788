"""What does a reconcile without changes cost?

`ReconcileSourcesOperator` with a manifest of 10,000 sources that are all in place. Memory is how much the process's
resident set grows at most while the operator runs, in a fresh process that has imported everything. CPU times are
of one step each, in the same process.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import comparing, loopback
from benchmarks.comparing import Answer, Figure, Samples

COUNT = 10_000
CPU_GOAL, MEMORY_GOAL = 0.5, 150.0  # s, MiB


class Peak:
    """The largest resident set since it was made, above what it was then."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._base = self._largest = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self._largest = max(self._largest, self._process.memory_info().rss)

    def end(self) -> float:
        """Return the figure in MiB."""
        self._ended.set()
        self._thread.join()
        return (max(self._largest, self._process.memory_info().rss) - self._base) / 2**20


def entries(count: int) -> dict[str, Any]:
    """Make a manifest of what the server has."""
    return {
        "project": "acme-dev",
        "sources": [
            {"name": f"source-{n}", "title": f"Source {n}", "description": "", "should_translate": False}
            for n in range(count)
        ],
    }


class _TaskInstance:
    """What of a task's instance the operator uses: no try number, since no store keeps anything for a retry."""

    def xcom_push(self, key: str, value: object) -> None:
        """Take it as Airflow does, whose own work is no part of what is measured."""


def reconciled(url: str, count: int, suffix: str) -> dict[str, float]:
    """Run the operator on a file."""
    from airflow_provider_cm.hooks import comms_mining  # noqa: F401  # imported before memory is looked at
    from airflow_provider_cm.operators.rollout import ReconcileSourcesOperator
    from airflow_provider_cm.rollout import Manifest

    Manifest.parse(entries(1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"manifest{suffix}"
        path.write_text(json.dumps(entries(count)) if suffix == ".json" else yaml.safe_dump(entries(count)))
        operator = ReconcileSourcesOperator(
            task_id="reconcile", comms_mining_conn_id="ours", manifest_file=str(path), on_drift="apply"
        )
        with comparing.connections(ours={"conn_type": "comms_mining", "host": url, "password": "some-token"}):
            loopback.counts(url)
            peak, began, cpu = Peak(), time.perf_counter(), time.process_time()
            result = operator.execute({"ti": _TaskInstance()})
            ended = {"s": time.perf_counter() - began, "cpu": time.process_time() - cpu, "mib": peak.end()}
    if result["plan"]["actions"]:
        raise SystemExit("this was no no-op")
    return ended | loopback.counts(url)


def steps(url: str, count: int, suffix: str) -> dict[str, float]:
    """Return the CPU time of each step."""
    from airflow_provider_cm.api import ApiSession, DeveloperToken, SourcesApi
    from airflow_provider_cm.rollout import Manifest, observe, plan

    text = json.dumps(entries(count)) if suffix == ".json" else yaml.safe_dump(entries(count))
    sources = SourcesApi(ApiSession(url, DeveloperToken("some-token")))
    marks = [time.process_time()]
    manifest = Manifest.parse(text)
    marks.append(time.process_time())
    actual = observe(manifest, sources)
    marks.append(time.process_time())
    made = plan(manifest, actual, target=sources.session.endpoint)
    json.dumps([made.to_dict(), made.digest])
    marks.append(time.process_time())
    return dict(zip(("manifest", "list", "plan"), (b - a for a, b in itertools.pairwise(marks)), strict=True))


def measure(*, quick: bool = False) -> Answer:
    count, rounds = (20, 1) if quick else (COUNT, 5)
    with loopback.running() as url:
        loopback.put_there(url, count)
        yaml_rounds = [comparing.fresh(reconciled, url, count, ".yaml") for _ in range(1 if quick else 3)]
        ran = [comparing.fresh(reconciled, url, count, ".json") for _ in range(rounds)]
        stepped = {
            suffix: [comparing.fresh(steps, url, count, suffix) for _ in range(1 if quick else 3)]
            for suffix in (".json", ".yaml")
        }
    sent = max(each["requests"] for each in [*ran, *yaml_rounds])
    planning = Samples([each["plan"] for each in [*stepped[".json"], *stepped[".yaml"]]], "s")
    memory = Samples([each["mib"] for each in ran], "MiB")
    memory_yaml = Samples([each["mib"] for each in yaml_rounds], "MiB")
    goal = f"under {MEMORY_GOAL:g} MiB"
    figures = [
        Figure("requests", f"{sent:g}", "", "", "1", sent == 1),
        Figure("CPU time of planning", planning, "", "", f"under {CPU_GOAL:g} s", planning.median < CPU_GOAL),
        Figure("memory, with a manifest in JSON", memory, "", "", goal, memory.median < MEMORY_GOAL),
        Figure("memory, with a manifest in YAML", memory_yaml, "", "", goal, memory_yaml.median < MEMORY_GOAL),
        Figure(
            "CPU time of listing and reading the sources", Samples([each["list"] for each in stepped[".json"]], "s")
        ),
        *(
            Figure(f"CPU time of reading a manifest, {suffix}", Samples([each["manifest"] for each in samples], "s"))
            for suffix, samples in stepped.items()
        ),
        Figure("time of the task's work, JSON", Samples([each["s"] for each in ran], "s")),
        Figure("time of the task's work, YAML", Samples([each["s"] for each in yaml_rounds], "s")),
    ]
    return Answer(
        figures,
        shortfall="a manifest is read with the line of each value, for messages that name it; a YAML text takes most.",
    )


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
