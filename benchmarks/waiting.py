"""What do 1,000 waiting tasks cost? One TriggerRunner without a database, our trigger and the http provider's in it.

Each of 1,000 triggers waits for a source of its own, at one interval; then all sources appear at once. Counted on the
server: requests, and TCP connections. Measured in the event loop that all triggers share: how long it was blocked, from
the first trigger to the last event. Starting them makes Python's garbage collector go through all that Airflow has
loaded, which takes longer than anything else here and is no trigger's work, so that phase is shown without it, too.
Then one trigger of each meets a server that answers 401.

What no listing shows is polled by source: 200 of our triggers wait for ids that are not there, while as many wait for
those of a tenant that never answers.

Usage: ``waiting.py [--document FILE]``; with FILE, the figures are written into its blocks ``triggers`` and
``by-source``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figures, loopback

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

TRIGGERS = 1000
INTERVAL = 2.0
WINDOW = 10  # intervals
REFUSED_SECONDS = 10.0
BY_SOURCE = 200
OURS, HTTP = "SourceTrigger", "HttpSensorTrigger"
BLOCKED_AT_MOST = 50.0  # ms, for ours


def make_by_source(number: int, conn_id: str) -> BaseTrigger:
    from airflow_provider_cm.triggers.sources import SourceTrigger

    return SourceTrigger(
        comms_mining_conn_id=conn_id,
        source_id=f"{number + 10**6:016x}",
        poll_interval=INTERVAL,
        max_consecutive_failures=10**6,
    )


def make(contender: str, number: int, prefix: str = "") -> BaseTrigger:
    if contender == OURS:
        from airflow_provider_cm.triggers.sources import SourceTrigger

        return SourceTrigger(
            comms_mining_conn_id="ours" + prefix,
            project="acme-dev",
            source_name=f"source-{number}",
            poll_interval=INTERVAL,
            deadline=(datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            max_consecutive_failures=10**6,
        )
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(
        endpoint=f"api/v1/sources/acme-dev/source-{number}",
        http_conn_id="http" + prefix,
        headers={"Authorization": "Bearer some-token"},
        poke_interval=INTERVAL,
    )


class Gaps:
    """How late the event loop serves one who asks to be woken every 5 ms."""

    def __init__(self) -> None:
        self._gaps: list[tuple[float, float]] = []
        self._collections: list[tuple[float, float]] = []
        self._began = 0.0
        gc.callbacks.append(self._collected)
        self._task = asyncio.create_task(self._watch())

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collections.append((self._began, time.perf_counter()))

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            self._gaps.append((before + 0.005, time.perf_counter()))

    def _own(self, begin: float, end: float) -> float:
        """Return the part of a gap that is no garbage collection."""
        return end - begin - sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in self._collections)

    def take(self) -> dict[str, float]:
        """Return longest gap and 99th percentile since the last call, and longest without collections, in ms."""
        gaps = sorted(end - begin for begin, end in self._gaps)
        own = max(self._own(*gap) for gap in self._gaps)
        self._gaps, self._collections = [], []
        return {"max": gaps[-1] * 1000, "p99": gaps[int(len(gaps) * 0.99)] * 1000, "own": own * 1000}


class Runner:
    """Airflow's own TriggerRunner, without its supervisor and database."""

    def __init__(self) -> None:
        from airflow.jobs.triggerer_job_runner import TriggerRunner

        self._runner: Any = TriggerRunner()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, trigger: BaseTrigger) -> None:
        """Run a trigger."""
        number = len(self.tasks)
        self._runner.triggers[number] = {"name": f"trigger {number}", "events": 0, "is_watcher": False, "task": None}
        self.tasks.append(asyncio.create_task(self._runner.run_trigger(number, trigger)))

    @property
    def events(self) -> int:
        """Count what the triggers have yielded."""
        return len(self._runner.events)


async def measure(contender: str, url: str) -> dict[str, Any]:
    """Let all triggers wait, then end."""
    gaps, runner = Gaps(), Runner()
    await asyncio.sleep(0.1)
    gaps.take()
    # The first one pays for the imports, as in a triggerer that has waited for such a thing before.
    runner.start(make(contender, 0))
    await asyncio.sleep(2 * INTERVAL + 5)
    for number in range(1, TRIGGERS):
        runner.start(make(contender, number))
        if number % 10 == 0:
            await asyncio.sleep(0)
    # Each one's first look belongs to the start: Airflow makes each a log of its own, and each says what it saw.
    await asyncio.sleep(2 * INTERVAL)
    results: dict[str, Any] = {"start": gaps.take()}
    await asyncio.to_thread(loopback.counts, url)
    cpu = time.process_time()
    await asyncio.sleep(WINDOW * INTERVAL)
    results |= {"cpu": time.process_time() - cpu, **await asyncio.to_thread(loopback.counts, url)}
    results["waiting"] = gaps.take()
    await asyncio.to_thread(loopback.put_there, url, TRIGGERS)
    began = time.perf_counter()
    await asyncio.wait(runner.tasks, timeout=60)
    return results | {"ended": time.perf_counter() - began, "ending": gaps.take(), "events": runner.events}


async def refused(contender: str, url: str) -> dict[str, Any]:
    """Let one trigger poll a server that answers each request with 401."""
    runner = Runner()
    await asyncio.to_thread(loopback.counts, url)
    runner.start(make(contender, 0, "_refused"))
    await asyncio.sleep(REFUSED_SECONDS)
    counted = await asyncio.to_thread(loopback.counts, url)
    # A trigger that never awaits anything slow could not be canceled in an orderly way; the process ends anyway.
    return {"a_second": counted["requests"] / REFUSED_SECONDS, "connections": counted["connections"]}


class Silent(asyncio.Protocol):
    """A server that takes requests and never answers."""

    connections = 0

    def connection_made(self, _: Any) -> None:
        """Count it."""
        Silent.connections += 1


async def by_source(_: str, url: str) -> dict[str, Any]:
    """Let many triggers wait by source, with as many on a tenant that stalls."""
    runner, loop = Runner(), asyncio.get_running_loop()
    server = await loop.create_server(Silent, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    silent = {"conn_type": "comms_mining", "host": f"http://127.0.0.1:{port}", "password": "some-token"}
    os.environ["AIRFLOW_CONN_SILENT"] = json.dumps(silent)
    await asyncio.to_thread(loopback.counts, url)
    for number in range(BY_SOURCE):
        runner.start(make_by_source(number, "silent"))
        runner.start(make_by_source(number, "ours"))
    await asyncio.sleep(5 + 2 * INTERVAL)
    connections = (await asyncio.to_thread(loopback.counts, url))["connections"]
    gaps = Gaps()
    await asyncio.sleep(WINDOW * INTERVAL)
    counted = await asyncio.to_thread(loopback.counts, url)
    connections += counted["connections"]
    return {
        "requests": counted["requests"],
        "connections": connections,
        "silent": Silent.connections,
        "p99": gaps.take()["p99"],
    }


def table_by_source(results: dict[str, Any]) -> str:
    intervals = results["requests"] / BY_SOURCE
    return "\n".join(
        [
            f"| {BY_SOURCE} waits by source, and as many on a tenant that never answers | |",
            "|---|---|",
            f"| polls of each in {WINDOW} intervals of {INTERVAL:.0f} s | {intervals:.1f} |",
            f"| TCP connections to the tenant that answers, in all | {results['connections']} |",
            f"| TCP connections to the one that does not, opened again after each timeout | {results['silent']} |",
            f"| event loop blocked meanwhile, 99th percentile | {results['p99']:.1f} ms |",
        ]
    )


def in_child(what: str, contender: str, url: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    port = url.rsplit(":", 1)[1]
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-bench-") as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        for conn_id, prefix in (("", ""), ("_refused", "/refused")):
            ours = {"conn_type": "comms_mining", "host": url + prefix, "password": "some-token"}
            http = {"conn_type": "http", "host": f"127.0.0.1:{port}{prefix}", "schema": "http"}
            environment[f"AIRFLOW_CONN_OURS{conn_id}".upper()] = json.dumps(ours)
            environment[f"AIRFLOW_CONN_HTTP{conn_id}".upper()] = json.dumps(http)
        result = Path(home) / "result.json"
        command = [sys.executable, __file__, "--measure", what, contender, url, str(result)]
        with (Path(home) / "log").open("w+") as log:
            ended = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False, timeout=200)
            if ended.returncode or not result.exists():
                log.seek(0)
                raise SystemExit(f"{contender} could not be measured:\n{log.read()[-3000:]}")
        measured: dict[str, Any] = json.loads(result.read_text())
        return measured


def table(results: dict[str, dict[str, Any]], rates: dict[str, dict[str, Any]]) -> str:
    def row(what: str, *cells: str) -> str:
        return f"| {what} | {' | '.join(cells)} |"

    both = [results[OURS], results[HTTP]]
    window = f"{WINDOW} intervals of {INTERVAL:.0f} s"
    lines = [
        row("", f"`{OURS}`", f"the http provider's `{HTTP}`"),
        "|---|---|---|",
        row(f"requests in {window}", *(f"{each['requests']:,}" for each in both)),
        row("TCP connections opened meanwhile", *(f"{each['connections']:,}" for each in both)),
        row("CPU time meanwhile", *(f"{each['cpu']:.1f} s" for each in both)),
        row("event loop blocked meanwhile, longest", *(f"{each['waiting']['max']:.0f} ms" for each in both)),
        row("the same, 99th percentile", *(f"{each['waiting']['p99']:.1f} ms" for each in both)),
        row(f"events delivered of {TRIGGERS:,}", *(f"{each['events']:,}" for each in both)),
        row("from the change to the last event", *(f"{each['ended']:.1f} s" for each in both)),
        row("event loop blocked while they ended, longest", *(f"{each['ending']['max']:.0f} ms" for each in both)),
        row("event loop blocked while all started, longest", *(f"{each['start']['max']:.0f} ms" for each in both)),
        row("the same but for Python's garbage collector", *(f"{each['start']['own']:.0f} ms" for each in both)),
        row("requests a second of one trigger on 401", *(f"{rates[each]['a_second']:.1f}" for each in (OURS, HTTP))),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--document", type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        what, contender, url, result = arguments.measure
        measured = {"wait": measure, "refused": refused, "by source": by_source}[what](contender, url)
        Path(result).write_text(json.dumps(asyncio.run(measured)))
        # What was started and not ended goes with the process.
        os._exit(0)
    results, rates = {}, {}
    for contender in (OURS, HTTP):
        with loopback.running() as url:
            results[contender] = in_child("wait", contender, url)
            rates[contender] = in_child("refused", contender, url)
    with loopback.running() as url:
        sourced = in_child("by source", OURS, url)
    text, text_by_source = table(results, rates), table_by_source(sourced)
    print(f"{TRIGGERS:,} triggers in one TriggerRunner, one poll every {INTERVAL:.0f} s\n\n{text}\n\n{text_by_source}")
    if arguments.document:
        caption = (
            f"1,000 triggers in one `TriggerRunner` without a database, each waiting for a source of its own; Airflow "
            f"{version('apache-airflow')}, http provider {version('apache-airflow-providers-http')}, Python "
            f"{platform.python_version()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}. Written by "
            f"`make figures`."
        )
        figures.write(arguments.document, "triggers", f"{caption}\n\n{text}")
        figures.write(arguments.document, "by-source", text_by_source)
    return 0 if holds(results[OURS]) and holds_by_source(sourced) else 1


def holds_by_source(results: dict[str, Any]) -> bool:
    return bool(results["connections"] <= 8 and results["requests"] >= 0.8 * WINDOW * BY_SOURCE)


def holds(ours: dict[str, Any]) -> bool:
    blocked = max(ours["start"]["own"], ours["waiting"]["max"], ours["ending"]["max"])
    return bool(ours["requests"] <= WINDOW + 1 and ours["events"] == TRIGGERS and blocked <= BLOCKED_AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
