"""How close to the limit is apply? 1,000 creates on a server that answers after 50 ms, with 8 workers.

The limit is 1000 x 50 ms / 8 = 6.25 s. Prints the time of each round, the median and its ratio to that limit; exits
with 1 beyond 1.2 times the limit.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time

import requests

from airflow_provider_cm.api import ApiSession, DeveloperToken, SourcesApi
from airflow_provider_cm.rollout import Manifest, apply, observe, plan

SOURCES = 1000
LATENCY = 0.05
WORKERS = 8
ROUNDS = 3
LIMIT = 1.2


def main() -> int:
    command = [sys.executable, "-m", "airflow_provider_cm.emulator", "--port", "0", "--quiet"]
    server = subprocess.Popen(
        [*command, "--latency-ms", str(LATENCY * 1000)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        url = (server.stdout.readline() if server.stdout else "").split()[-1]
        ideal = SOURCES * LATENCY / WORKERS
        times = [one_round(url) for _ in range(ROUNDS)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)
    median = statistics.median(times)
    print(f"{SOURCES} creates, {LATENCY * 1000:.0f} ms each, {WORKERS} workers: limit {ideal:.2f} s")
    rounds = ", ".join(f"{each:.2f}" for each in times)
    print(f"apply: {rounds} s; median {median:.2f} s, {median / ideal:.2f} x the limit")
    return 0 if median <= LIMIT * ideal else 1


def one_round(url: str) -> float:
    requests.post(f"{url}/_emulator/reset", timeout=10)
    sources = SourcesApi(ApiSession(url, DeveloperToken("emulator-admin")))
    entries = [{"name": f"source-{number:04}", "title": f"Source {number}"} for number in range(SOURCES)]
    manifest = Manifest.parse({"project": "acme-dev", "sources": entries})
    made = plan(manifest, observe(manifest, sources), target=sources.session.endpoint)
    started = time.perf_counter()
    report = apply(made, sources, max_workers=WORKERS)
    seconds = time.perf_counter() - started
    if report.counts != {"done": SOURCES}:
        raise SystemExit(f"apply did not do its work: {report.summary()}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
