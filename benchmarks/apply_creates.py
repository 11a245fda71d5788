"""How close is apply to the server's limit?

1,000 creates with 8 workers on a server that answers after 50 ms: the limit is 1,000 x 50 ms / 8. Compared also
with 8 threads that send the same PUT requests with bare `requests`, and check nothing. Each run in a fresh process.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import requests

from airflow_provider_cm.api import ApiSession, DeveloperToken, SourcesApi
from airflow_provider_cm.rollout import Manifest, apply, observe, plan
from benchmarks import comparing, loopback
from benchmarks.comparing import Answer, Figure, Samples

LATENCY = 0.05
WORKERS = 8
GOAL = 1.1


def ours(url: str, count: int) -> dict[str, Any]:
    """Plan and apply."""
    loopback.put_there(url, 0)
    sources = SourcesApi(ApiSession(url, DeveloperToken("some-token")))
    entries = [{"name": f"source-{number:04}", "title": f"Source {number}"} for number in range(count)]
    manifest = Manifest.parse({"project": "acme-dev", "sources": entries})
    made = plan(manifest, observe(manifest, sources), target=sources.session.endpoint)
    loopback.counts(url)
    began, cpu = time.perf_counter(), time.process_time()
    report = apply(made, sources, max_workers=WORKERS)
    ended = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, **loopback.counts(url)}
    if report.counts != {"done": count}:
        raise SystemExit(f"apply did not do its work: {report.summary()}")
    return ended


def bare(url: str, count: int) -> dict[str, Any]:
    """Send the same requests, and look at nothing but the status."""
    loopback.put_there(url, 0)
    left = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                body = {"source": {"title": f"Source {number}"}}
                session.put(f"{url}/api/v1/sources/acme-dev/source-{number:04}", json=body).raise_for_status()

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, **loopback.counts(url)}


def measure(*, quick: bool = False) -> Answer:
    count = 20 if quick else 1000
    with loopback.running(LATENCY) as url:
        samples = comparing.interleaved(
            1 if quick else 3, {each.__name__: partial(comparing.fresh, each, url, count) for each in (ours, bare)}
        )
    limit = count * LATENCY / WORKERS
    seconds = {name: Samples([each["seconds"] for each in rounds], "s") for name, rounds in samples.items()}
    cpu = {name: Samples([each["cpu"] for each in rounds], "s") for name, rounds in samples.items()}
    ratio = Samples([each / limit for each in seconds["ours"].values])
    sent = max(each["requests"] for each in samples["ours"])
    opened = max(each["connections"] for each in samples["ours"])
    figures = [
        Figure(
            "time, compared with the limit",
            seconds["ours"],
            f"{limit:.2f} s",
            ratio,
            f"at most {GOAL} times the limit",
            ratio.median <= GOAL,
        ),
        Figure(
            "time, compared with bare threads", seconds["ours"], seconds["bare"], seconds["ours"].over(seconds["bare"])
        ),
        Figure(
            "bare threads, compared with the limit",
            seconds["bare"],
            f"{limit:.2f} s",
            Samples([each / limit for each in seconds["bare"].values]),
        ),
        Figure("CPU time, compared with bare threads", cpu["ours"], cpu["bare"], cpu["ours"].over(cpu["bare"])),
        Figure("requests", f"{sent:,}", f"{count:,}", goal="N + 2: a list before, a list after", met=sent == count + 2),
        Figure(
            "TCP connections",
            opened,
            max(each["connections"] for each in samples["bare"]),
            goal=f"at most {WORKERS + 1}",
            met=opened <= WORKERS + 1,
        ),
    ]
    shortfall = (
        "bare threads are above the limit too, by the CPU time of `requests`, of which Python runs one thread at a "
        "time, and by the wake-up of a thread for each answer. Ours beyond them are the two lists, which take the "
        "server's time twice while nothing else is under way, and the CPU time compared with theirs."
    )
    return Answer(figures, "limit, or bare requests", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
