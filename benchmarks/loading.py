"""How long does a load take, compared with a program that only posts what was encoded beforehand?

``load()`` maps rows of 1 KiB, checks them, looks for duplicates, and sends batches of 500 to a server in a process of
its own that answers after 50 ms. A bare ``requests.Session`` for each thread posts the same bodies, encoded beforehand.
A third program is the code that users write instead: rows to dicts and ``json=``, 500 a request, and 128 as the
vendor's command-line client does. CPU is that of the process that loads.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import requests

from airflow_provider_cm.api import ApiSession, DeveloperToken, MessagesApi
from airflow_provider_cm.loading import load
from benchmarks import comparing
from benchmarks.comparing import Answer, Figure, Samples, interleaved

if TYPE_CHECKING:
    from collections.abc import Iterator

LATENCY = 0.05
BATCH = 500
TEXT = ("The order has not arrived, and nobody answers the phone. " * 20)[:960]
MAPPING = {
    "id": "ticket-{number}",
    "timestamp": "{created_at}",
    "body": "{text}",
    "sender": "{sender}",
    "properties": {"Region": "{region}"},
}
GOAL = 1.10
COUNT, ROUNDS, QUICK = 200_000, 3, 2_000


class Answering(BaseHTTPRequestHandler):
    """Answers each sync after a while, without a look at it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer after 50 ms."""
        left = int(self.headers["Content-Length"])
        size = int(self.headers.get("X-Messages") or 0)
        counted = 0
        while left:
            chunk = self.rfile.read(min(left, 1 << 20))
            left -= len(chunk)
            counted += chunk.count(b'"id":"ticket-')
        time.sleep(LATENCY)
        answer = {"status": "ok", "new": size or counted, "updated": 0, "unchanged": 0}
        body = json.dumps({**answer, "updated_properties_only": 0, "updated_text_changed": 0}).encode()
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield rows as a database would."""
    for number in range(count):
        yield {
            "number": number,
            "created_at": "2026-01-05T09:12:00+00:00",
            "text": TEXT,
            "sender": "a@example.org",
            "region": "EU",
        }


def comment(row: dict[str, Any]) -> dict[str, Any]:
    """Make the API's object of a row, as a user would."""
    return {
        "id": f"ticket-{row['number']}",
        "timestamp": row["created_at"],
        "messages": [{"body": {"text": row["text"]}, "from": row["sender"]}],
        "user_properties": {"string:Region": row["region"]},
    }


def encoded(count: int, batch: int) -> list[bytes]:
    """Return all request bodies."""
    comments = [json.dumps(comment(row), separators=(",", ":")) for row in rows(count)]
    return [f'{{"comments":[{",".join(comments[at : at + batch])}]}}'.encode() for at in range(0, count, batch)]


def bare(url: str, bodies: list[bytes], threads: int) -> None:
    """Post what is encoded already."""
    local = threading.local()

    def post(body: bytes) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
            local.session.headers["Content-Type"] = "application/json"
        local.session.post(f"{url}/api/v1/sources/p/s/sync", data=body, timeout=60).raise_for_status()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post, bodies))


def by_hand(url: str, count: int, batch: int) -> None:
    """Load as a user would: rows to dicts, and ``json=``."""
    with requests.Session() as session:
        session.trust_env = False
        some: list[dict[str, Any]] = []
        for row in rows(count):
            some.append(comment(row))
            if len(some) == batch:
                session.post(f"{url}/api/v1/sources/p/s/sync", json={"comments": some}, timeout=60).raise_for_status()
                some = []
        if some:
            session.post(f"{url}/api/v1/sources/p/s/sync", json={"comments": some}, timeout=60).raise_for_status()


def ours(url: str, count: int, threads: int) -> None:
    """Load with this package."""
    session = ApiSession(url, DeveloperToken("x" * 32))
    report = load(
        rows(count),
        MessagesApi(session),
        project="p",
        source_name="s",
        mapping=MAPPING,
        batch_size=BATCH,
        concurrency=threads,
        verify=False,
    )
    if report.new != count:
        raise SystemExit(f"not all was loaded: {report}")


def timed(work: Any, *arguments: Any) -> tuple[float, float]:
    """Return seconds, and seconds of this process's CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return time.perf_counter() - started, time.process_time() - cpu


def measure(*, quick: bool = False) -> Answer:
    count, rounds = (QUICK, 1) if quick else (COUNT, ROUNDS)
    figures = []
    with _Server() as url:
        bodies = encoded(count, BATCH)
        for threads in (1, 4):
            samples = interleaved(
                rounds,
                {
                    "bare": partial(timed, bare, url, bodies, threads),
                    "ours": partial(timed, ours, url, count, threads),
                },
            )
            mine, least = (Samples([seconds for seconds, _ in samples[name]], "s") for name in ("ours", "bare"))
            ratio = mine.over(least)
            figures.append(
                Figure(
                    f"{count:,} messages, {threads} at a time"
                    if threads > 1
                    else f"{count:,} messages, one request at a time",
                    mine,
                    least,
                    ratio,
                    f"at most {GOAL:.2f}",
                    quick or ratio.median <= GOAL,
                )
            )
            cpu, other = (Samples([cpu / count * 1e6 for _, cpu in samples[name]], "us") for name in ("ours", "bare"))
            figures.append(Figure("CPU a message", cpu, other))
        some = min(count, 20_000)
        for batch in (BATCH, 128):
            seconds, cpu_by_hand = timed(by_hand, url, some, batch)
            what = f"the first of these compared with code written by hand with `json=`, {batch} a request"
            cpu = Samples([cpu_by_hand / some * 1e6], "us of CPU a message")
            figures.append(Figure(what, figures[0].ours, f"{Samples([seconds * count / some], 's')}, {cpu}"))
    return Answer(
        figures,
        other="bare requests",
        shortfall="with four requests in flight a batch has to be made in 12 ms, on cores that the server and whatever "
        "else runs here share.",
    )


class _Server:
    """The server, in a process of its own, since it must not share this one's interpreter lock."""

    def __enter__(self) -> str:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        return f"http://127.0.0.1:{here.recv()}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()


def _serve(pipe: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    pipe.send(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
