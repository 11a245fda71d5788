"""What does a call cost compared with a bare request?

2,000 `hook.sources.get` and 2,000 `requests.Session.get(...).json()` with the same token, in turns of 100, on one
loopback server in its own process. Each call of ours logs a line, which Airflow writes at its default log level
only.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import requests

from benchmarks import comparing, loopback
from benchmarks.comparing import Answer, Figure, Samples

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "some-token-as-long-as-those-that-are-issued"  # noqa: S105  # of nothing
GOAL = 1.15


def timed(call: Callable[[], object], count: int) -> dict[str, float]:
    """Call it a number of times; microseconds a call."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    ended = {"us": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    return {name: seconds / count * 1e6 for name, seconds in ended.items()}


def rounds(url: str, turns: int, count: int) -> dict[str, Any]:
    """Take turns; also count the connections that ours took."""
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    with comparing.connections(ours={"conn_type": "comms_mining", "host": url, "password": TOKEN}):
        hook = CommsMiningHook("ours")
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        address = f"{url}/api/v1/sources/acme-dev/source-0"

        def ours() -> object:
            return hook.sources.get("acme-dev", "source-0")

        def bare() -> object:
            return session.get(address).json()

        loopback.counts(url)
        timed(ours, count)
        timed(bare, count)
        samples = comparing.interleaved(turns, {"ours": lambda: timed(ours, count), "bare": lambda: timed(bare, count)})
        return {**samples, **loopback.counts(url)}


def measure(*, quick: bool = False) -> Answer:
    turns, count = (2, 2) if quick else (20, 100)
    figures = []
    with loopback.running() as url:
        loopback.put_there(url, 1)
        for level, log in (("ERROR", "no line in the log"), ("INFO", "a line in the log for each call")):
            samples = comparing.fresh(rounds, url, turns, count, level=level)
            for name, what in (("us", "time of a call"), ("cpu", "CPU time of a call")):
                ours, bare = (Samples([each[name] for each in samples[who]], "µs") for who in ("ours", "bare"))
                ratio = ours.over(bare)
                goal = f"at most {GOAL}" if (name, level) == ("us", "ERROR") else ""
                met = ratio.median <= GOAL if goal else None
                figures.append(Figure(f"{what}, {log}", ours, bare, ratio, goal, met))
            if level == "ERROR":
                opened = samples["connections"] - 1  # the bare session has one
    figures.append(Figure(f"TCP connections for {turns * count:,} calls", opened, 1, goal="1", met=opened == 1))
    shortfall = (
        "what a call adds: the retry loop, the deadline on each read, the check of the envelope, the search for "
        "secrets in the answer, the `Source`, and the record for the log and the metrics."
    )
    return Answer(figures, "bare `requests.Session`", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
