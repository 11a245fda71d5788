"""How does waiting scale?

1 to 1,000 `SourceTrigger` in one of Airflow's own `TriggerRunner`, without its database, each waiting for its own
source in a project of 1,000 others. Lag is the delay of the shared event loop for a task that asks to be woken
every 5 ms; two rows measure it while a project of 20,000 sources is listed. Reading a listing holds the loop up for a
few thread switches of 5 ms, but its objects bring on full garbage collections, each of which looks at all that the
triggerer has loaded. Memory is what the resident set grows by, compared with triggers that only sleep, which is
Airflow's share.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import psutil

from benchmarks import comparing, loopback, waiting
from benchmarks.comparing import Answer, Figure, Samples

SIZES = (1, 10, 100, 1000)
INTERVAL = 2.0
WINDOW = 5  # intervals
OTHERS, MANY = 1000, 20_000  # sources of the project
LAG_GOAL, MEMORY_GOAL = 50.0, 10.0  # ms, KiB


def make(contender: str, number: int, interval: float) -> Any:
    """Make a trigger whose wait does not end."""
    if contender == waiting.OURS:
        trigger: Any = waiting.make(waiting.OURS, MANY + number)
        trigger.poll_interval = interval
        return trigger
    from airflow.triggers.base import BaseTrigger

    class Sleeper(BaseTrigger):
        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "benchmarks.waiting_growth.Sleeper", {}

        async def run(self) -> Any:
            await asyncio.Event().wait()
            yield None

    return Sleeper()  # type: ignore[no-untyped-call]


async def _wait(contender: str, url: str, size: int, interval: float, window: int) -> dict[str, float]:
    gaps, runner = waiting.Gaps(), waiting.Runner()
    runner.start(make(contender, 0, interval))  # pays for the imports
    await asyncio.sleep(2 * interval + min(interval, 1.0))
    gc.collect()
    before = psutil.Process().memory_info().rss
    for number in range(1, size):
        runner.start(make(contender, number, interval))
        if number % 10 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(2 * interval + min(interval, 1.0))
    gc.collect()
    gaps.take()
    await asyncio.to_thread(loopback.counts, url)
    await asyncio.sleep(window * interval)
    counts = await asyncio.to_thread(loopback.counts, url)
    lag = gaps.take()
    grown = (psutil.Process().memory_info().rss - before) / 1024 / max(1, size - 1)
    for task in runner.tasks:
        task.cancel()
    await asyncio.gather(*runner.tasks, return_exceptions=True)
    return {"requests": counts["requests"] / window, **lag, "kib": grown}


def waited(contender: str, url: str, size: int, interval: float, window: int) -> dict[str, float]:
    """Let triggers wait, in this process."""
    settings = {"conn_type": "comms_mining", "host": url, "password": "some-token"}
    with comparing.connections(ours=settings):
        return asyncio.run(_wait(contender, url, size, interval, window))


def measure(*, quick: bool = False) -> Answer:
    sizes, interval, window = ((1, 3), 0.1, 3) if quick else (SIZES, INTERVAL, WINDOW)
    with loopback.running() as url:
        loopback.put_there(url, OTHERS)
        ours = {size: comparing.fresh(waited, waiting.OURS, url, size, interval, window) for size in sizes}
        idle = comparing.fresh(waited, "idle", url, sizes[-1], interval, window)
    with loopback.running() as url:
        many = 30 if quick else MANY
        loopback.put_there(url, many)
        listed = comparing.fresh(waited, waiting.OURS, url, 1, interval, window)
    figures = []
    for size, each in ours.items():
        rate = each["requests"]
        figures.append(
            Figure(
                f"requests per interval, {size:,} waiting", f"{rate:g}", "", "", "1", abs(rate - 1) <= 1 / window + 1e-9
            )
        )
    for size, each in ours.items():
        figures.append(
            Figure(
                f"lag, 99th percentile, {size:,} waiting",
                f"{each['p99']:.1f} ms",
                f"{idle['p99']:.1f} ms" if size == sizes[-1] else "",
                "",
                f"under {LAG_GOAL:g} ms",
                each["p99"] < LAG_GOAL,
            )
        )
    figures += [
        Figure(
            f"lag, longest, a project of {many:,} sources, without Python's garbage collections",
            f"{listed['own']:.1f} ms",
            "",
            "",
            f"under {LAG_GOAL:g} ms",
            listed["own"] < LAG_GOAL,
        ),
        Figure(f"the same with them, a project of {many:,} sources", f"{listed['max']:.1f} ms", ""),
    ]
    most = ours[sizes[-1]]
    more = most["kib"] - idle["kib"]
    figures += [
        Figure(
            f"memory per trigger, {sizes[-1]:,} waiting", Samples([most["kib"]], "KiB"), Samples([idle["kib"]], "KiB")
        ),
        Figure(
            "of this, ours",
            Samples([more], "KiB"),
            "",
            "",
            f"under {MEMORY_GOAL:g} KiB",
            more < MEMORY_GOAL,
        ),
    ]
    shortfall = (
        "Airflow's shared streams give each waiting trigger a queue and tasks of its own, and each of these a context; "
        "the snapshot of the project is one for all."
    )
    return Answer(figures, "triggers that sleep", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
