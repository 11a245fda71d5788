"""What does a create cost compared with two HttpOperators?

Our operator reads, then creates. The other side is two tasks with the http provider's `HttpOperator` that send the
same two requests. `execute` runs in turns in one process. What Airflow adds for each task is in neither figure; the
other side pays that twice.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import comparing, loopback
from benchmarks.comparing import Answer, Figure, Samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

TOKEN = "some-token-as-long-as-those-that-are-issued"  # noqa: S105  # of nothing


def ours(name: str) -> None:
    """Create a source with our operator."""
    from airflow_provider_cm.operators.sources import CreateSourceOperator

    CreateSourceOperator(
        task_id="create", comms_mining_conn_id="ours", project="acme-dev", source_name=name, title="Title"
    ).execute({})


def http(name: str) -> None:
    """Look for a source and create it with two operators of the http provider."""
    from airflow.providers.http.operators.http import HttpOperator

    options: dict[str, Any] = {
        "http_conn_id": "http",
        "endpoint": f"api/v1/sources/acme-dev/{name}",
        "headers": {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    }
    exists = HttpOperator(
        task_id="look",
        method="GET",
        extra_options={"check_response": False},
        response_filter=lambda response: response.status_code == 200,
        **options,
    ).execute({})
    if not exists:
        body = json.dumps({"source": {"title": "Title"}})
        HttpOperator(
            task_id="put", method="PUT", data=body, response_filter=lambda response: response.json(), **options
        ).execute({})


def settings(url: str) -> AbstractContextManager[None]:
    """Put both connections into the environment."""
    host, port = url.removeprefix("http://").split(":")
    return comparing.connections(
        ours={"conn_type": "comms_mining", "host": url, "password": TOKEN},
        http={"conn_type": "http", "schema": "http", "host": host, "port": int(port)},
    )


def rounds(url: str, turns: int, count: int) -> dict[str, Any]:
    """Take turns; for each turn, what one create took."""
    numbers = itertools.count()

    def turn(create: Callable[[str], None]) -> dict[str, float]:
        loopback.counts(url)
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            create(f"source-{next(numbers)}")
        ended = {"ms": (time.perf_counter() - began) * 1000, "cpu": (time.process_time() - cpu) * 1000}
        return {name: value / count for name, value in (ended | loopback.counts(url)).items()}

    with settings(url):
        turn(ours)
        turn(http)
        return comparing.interleaved(turns, {"ours": lambda: turn(ours), "http": lambda: turn(http)})


def measure(*, quick: bool = False) -> Answer:
    with loopback.running() as url:
        samples = comparing.fresh(rounds, url, *((1, 2) if quick else (15, 20)))
    figures = []
    for name, unit, what in (
        ("requests", "", "requests of a create"),
        ("connections", "", "TCP connections of a create"),
        ("ms", "ms", "time of a create"),
        ("cpu", "ms", "CPU time of a create"),
    ):
        one, two = (Samples([each[name] for each in samples[who]], unit) for who in ("ours", "http"))
        ratio = one.over(two)
        goal = {"requests": "", "connections": "half"}.get(name, "less")
        limit = 0.5 if name == "connections" else 1.0
        met = (ratio.median <= limit) if goal else None
        if unit:
            figures.append(Figure(what, one, two, ratio, goal, met))
        else:
            figures.append(Figure(what, f"{one.median:g}", f"{two.median:g}", f"{ratio.median:g}", goal, met))
    shortfall = "our operator makes a new hook for each task, as every operator does, and looks before it creates."
    return Answer(figures, "two `HttpOperator`", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
