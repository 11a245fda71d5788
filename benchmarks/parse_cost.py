"""What does our provider cost each DAG file parse?

Time and new modules to import all operators, the sensor and the trigger, in a fresh process that has already
imported what any DAG file with a sensor imports. Compared with the http provider and others, from compiled files.
"""

from __future__ import annotations

import importlib
import sys
import time
from functools import partial
from typing import Any

from benchmarks import comparing
from benchmarks.comparing import Answer, Figure, Samples

BASE = (
    "airflow.sdk",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.bases.operatorlink",
    "airflow.providers.common.compat.sdk",
    "airflow.providers.common.compat.triggers",
    "airflow.triggers.base",
)
OURS = "airflow-provider-cm"
HTTP = "http, operator and sensor"
CONTENDERS = {
    OURS: [f"airflow_provider_cm.{name}" for name in ("operators.sources", "operators.rollout", "sensors.sources")]
    + ["airflow_provider_cm.triggers.sources"],
    HTTP: [f"airflow.providers.http.{name}" for name in ("operators.http", "sensors.http")],
    "dbt-cloud": [f"airflow.providers.dbt.cloud.{name}" for name in ("operators.dbt", "sensors.dbt", "triggers.dbt")],
    "databricks": [
        f"airflow.providers.databricks.{name}"
        for name in ("operators.databricks", "sensors.databricks", "triggers.databricks")
    ],
    "airbyte": [
        f"airflow.providers.airbyte.{name}" for name in ("operators.airbyte", "sensors.airbyte", "triggers.airbyte")
    ],
}
GOAL = 1 / 20


def imported(modules: list[str]) -> dict[str, Any]:
    """Import the base, then modules."""
    for name in BASE:
        importlib.import_module(name)
    before = set(sys.modules)
    began = time.perf_counter()
    for name in modules:
        importlib.import_module(name)
    seconds = time.perf_counter() - began
    new = sorted(set(sys.modules) - before)
    return {"ms": seconds * 1000, "modules": len(new), "outside": [name for name in new if _is_outside(name)]}


def _is_outside(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top != "airflow_provider_cm"


def measure(*, quick: bool = False) -> Answer:
    names = [OURS, HTTP] if quick else list(CONTENDERS)
    rounds = comparing.interleaved(
        1 if quick else 7, {name: partial(comparing.fresh, imported, CONTENDERS[name]) for name in names}
    )
    times = {name: Samples([each["ms"] for each in samples], "ms") for name, samples in rounds.items()}
    last = {name: samples[-1] for name, samples in rounds.items()}
    outside = last[OURS]["outside"]
    others = [name for name in last[HTTP]["outside"] if not name.startswith("airflow.providers.http")]
    figures = []
    for name in names[1:]:
        ratio = times[OURS].over(times[name])
        goal, met = ("at most 0.05 (1/20)", ratio.median <= GOAL) if name == HTTP else ("", None)
        figures.append(Figure(f"time, compared with {name}", times[OURS], times[name], ratio, goal, met))
    figures += [
        Figure("new modules, compared with http", last[OURS]["modules"], last[HTTP]["modules"]),
        Figure("of these, modules of third parties", len(outside), len(others), "", "none", not outside),
    ]
    notes = [f"Modules of third parties: {', '.join(f'`{name}`' for name in outside)}."] if outside else []
    shortfall = (
        "what is left is our own modules, most of it the classes that Python makes of dataclasses; the http provider's "
        "time is that of `aiohttp` and `requests`."
    )
    return Answer(figures, "the other provider", shortfall, notes)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
