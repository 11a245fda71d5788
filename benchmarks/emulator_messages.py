"""How fast does the emulator take messages?

Messages of 1 KiB of text, in batches of 500 over one connection, to the emulator in its own process. The bodies are
made beforehand, so that the emulator is measured and not the sender. Memory is its resident set at the end:
messages spill into a temporary file, and the latest 256 MiB of requests stay on record.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import comparing
from benchmarks.comparing import Answer, Figure, Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT, BATCH, SHAPES = 1_000_000, 500, 20
SPEED_GOAL, MEMORY_GOAL = 20_000, 1.5  # messages a second, GiB
PATH = "/api/v1/sources/acme-dev/inbox"
HEADERS = {"Authorization": "Bearer emulator-admin", "Content-Type": "application/json"}


@contextmanager
def emulator() -> Iterator[tuple[http.client.HTTPConnection, psutil.Process]]:
    """Run one in a process of its own."""
    command = [sys.executable, "-m", "airflow_provider_cm.emulator", "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101
        host = process.stdout.readline().strip().rpartition("http://")[2].split("/")[0]
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            yield connection, psutil.Process(process.pid)
        finally:
            connection.close()
            process.terminate()


def call(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> dict[str, Any]:
    """Send a request; give what came."""
    connection.request(method, path, body, HEADERS)
    answer = connection.getresponse()
    content: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200:
        raise SystemExit(f"{method} {path} was answered {answer.status}: {content}")
    return content


def bodies() -> list[bytes]:
    """Make batches whose ids begin with BATCH_."""
    dice = random.Random(1)  # noqa: S311  of test data
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 10))) for _ in range(2000)]
    made = []
    for _ in range(SHAPES):
        comments = [
            {
                "id": f"BATCH_-{number}",
                "timestamp": f"2026-01-{dice.randint(1, 28):02d}T{dice.randint(0, 23):02d}:00:00+00:00",
                "thread_id": f"thread-{dice.randrange(1000)}",
                "user_properties": {"string:Region": dice.choice(["EU", "US"]), "number:Priority": dice.randint(1, 5)},
                "messages": [
                    {
                        "subject": {"text": " ".join(dice.choices(words, k=4))},
                        "body": {"text": " ".join(dice.choices(words, k=300))[:1024]},
                        "from": "somebody@example.org",
                        "to": ["support@example.org"],
                    }
                ],
            }
            for number in range(BATCH)
        ]
        made.append(json.dumps({"comments": comments}).encode())
    return made


def loaded(count: int) -> dict[str, float]:
    """Load that many messages; give what it took."""
    made = bodies()
    with emulator() as (connection, process):
        call(connection, "PUT", PATH, b'{"source": {}}')
        rates = []
        for first in range(0, count // BATCH, SHAPES):
            # The ids of the batches of a round have the same length, so that nothing but the ids differs.
            round_ = [body.replace(b"BATCH_", b"%06d" % (first + number)) for number, body in enumerate(made)]
            began = time.perf_counter()
            for body in round_:
                call(connection, "POST", f"{PATH}/sync?no_charge=false", body)
            rates.append(BATCH * len(round_) / (time.perf_counter() - began))
        began = time.perf_counter()
        number = call(connection, "POST", f"{PATH}/statistics", b"{}")["statistics"]["num_comments"]
        counting = time.perf_counter() - began
        memory = process.memory_info().rss
    if number != len(rates) * SHAPES * BATCH:
        raise SystemExit(f"the emulator holds {number} messages")
    rates.sort()
    return {
        "messages": number,
        "rate": rates[len(rates) // 2],
        "slowest": rates[0],
        "fastest": rates[-1],
        "seconds": sum(BATCH * SHAPES / rate for rate in rates),
        "gib": memory / 2**30,
        "counting": counting,
    }


def measure(*, quick: bool = False) -> Answer:
    count = BATCH * SHAPES if quick else COUNT
    load = loaded(count)
    rate, memory = Samples([load[name] for name in ("slowest", "rate", "fastest")], "messages/s"), load["gib"]
    figures = [
        Figure(
            f"messages taken, in batches of {BATCH}",
            rate,
            goal=f"at least {SPEED_GOAL:,} a second",
            met=load["rate"] >= SPEED_GOAL,
        ),
        Figure(
            f"resident set with {load['messages']:,} messages",
            f"{memory:.2f} GiB",
            goal=f"under {MEMORY_GOAL} GiB",
            met=memory < MEMORY_GOAL,
        ),
        Figure("time of the whole load", Samples([load["seconds"]], "s")),
        Figure("time of counting them", Samples([load["counting"] * 1000], "ms")),
    ]
    return Answer(
        figures,
        shortfall="one request is served at a time, by one core, which other work on the machine takes away. Of its "
        "time more than half goes into storing rows, a quarter into reading JSON, the rest into checking the contract.",
    )


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
