"""What does a task cost?

One create by `CreateSourceOperator.execute` in a cold process, step by step. Importing `airflow.sdk` is Airflow's
share. Compared with two `HttpOperator` of the http provider in one process.
"""

from __future__ import annotations

import importlib
import sys
import time
from functools import partial

from benchmarks import comparing, create_task, loopback
from benchmarks.comparing import Answer, Figure, Samples
from benchmarks.parse_cost import BASE

STEPS = {
    "ours": {
        "importing Airflow": BASE,
        "importing the operator": ["airflow_provider_cm.operators.sources"],
        "importing `requests`, `tenacity`": ["requests", "tenacity"],
        "importing our hook and client": ["airflow_provider_cm.hooks.comms_mining"],
    },
    "http": {
        "importing Airflow": BASE,
        "importing the operator": ["airflow.providers.http.operators.http"],
        "importing `requests`, `tenacity`": ["requests", "tenacity"],
        "importing our hook and client": ["airflow.providers.http.hooks.http"],
    },
}
WORK = "the work: connection, look, put"


def cold(contender: str, url: str, name: str) -> dict[str, float]:
    """Create one source; milliseconds of each step."""
    times = {}
    for step, modules in STEPS[contender].items():
        began = time.perf_counter()
        for module in modules:
            importlib.import_module(module)
        times[step] = (time.perf_counter() - began) * 1000
    with create_task.settings(url):
        began = time.perf_counter()
        {"ours": create_task.ours, "http": create_task.http}[contender](name)
        times[WORK] = (time.perf_counter() - began) * 1000
    return times


def measure(*, quick: bool = False) -> Answer:
    with loopback.running() as url:
        loopback.put_there(url, 0)
        numbers = iter(range(1000))
        contenders = {
            who: partial(lambda who: comparing.fresh(cold, who, url, f"source-{next(numbers)}"), who) for who in STEPS
        }
        rounds = comparing.interleaved(1 if quick else 7, contenders)
    figures = []
    for step in (*STEPS["ours"], WORK):
        ours, http = (Samples([each[step] for each in rounds[who]], "ms") for who in ("ours", "http"))
        figures.append(Figure(step, ours, http))
    steps = (*list(STEPS["ours"])[1:], WORK)
    share, theirs = (Samples([sum(each[step] for step in steps) for each in rounds[who]], "ms") for who in STEPS)
    airflow = Samples([each["importing Airflow"] for each in rounds["ours"]], "ms")
    figures.append(Figure("all but Airflow", share, theirs, share.over(theirs)))
    figures.append(Figure("the same, compared with importing Airflow", share, airflow, share.over(airflow), "stated"))
    return Answer(figures, "two `HttpOperator`")


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
