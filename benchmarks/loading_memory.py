"""What memory a load takes: a million rows by each operator, compared with a thousand.

Each load is a process of its own, which reads real data (a JSON Lines file of 1 GiB, plain and packed, one Parquet
file in one row group, tables in SQLite, DuckDB and PostgreSQL) and sends it to a server in another process, which
answers at once. The figure is the largest resident set that the process ever had (``VmHWM``). It includes the
index that finds duplicates; the last table says how that grows.

Usage: ``python -m benchmarks.loading_memory [--rows N] [--case NAME ...]``; it needs the packages of ``make setup``,
and 5 GiB in the temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEW = 1_000
TARGET_MIB = 96
TEXT = 960  # characters, so that a row has about 1 KiB
PAGED = ("sqlite", "postgres", "duckdb")
#: Held to no target: DuckDB runs in the task's process, where it keeps what it has read of its file, up to its own
#: memory_limit; and without key= psycopg holds the whole result.
CONTRASTS = ("duckdb", "postgres without key=")
CASES = ("generator", "jsonl", "jsonl.gz", "csv", "parquet", *PAGED, "postgres without key=")
MAPPING = {"id": "m-{id}", "timestamp": "{sent}", "body": "{text}", "sender": "{sender}"}


def row(number: int) -> dict[str, Any]:
    """Return a row of about 1 KiB, none like the other."""
    text = f"{number} times the order has not arrived, and nobody answers. " * (TEXT // 50)
    return {"id": number, "sent": "2026-01-05T09:12:00+00:00", "sender": "a@example.org", "text": text[:TEXT]}


# --- the server


class Counting(BaseHTTPRequestHandler):
    """Counts the messages that it is sent, and keeps none."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        """Answer a sync or a question for the number of messages."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer: dict[str, Any] = {"status": "ok", "statistics": {"num_comments": Counting.count}}
        if self.path.endswith("/sync"):
            new = body.count(b'"id":"m-')
            Counting.count += new
            zero = dict.fromkeys(("updated", "unchanged", "updated_properties_only", "updated_text_changed"), 0)
            answer = {"status": "ok", "new": new, **zero}
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def _serve(port: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    port.put(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run the server in another process; gives its URL."""
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    process = context.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=30)}"
    finally:
        process.terminate()
        process.join()


# --- the data


def write_data(folder: Path, count: int, cases: list[str], postgres: str | None) -> None:
    """Write what the cases read, with so many rows."""
    makers: dict[str, Callable[[], None]] = {
        "jsonl": lambda: _lines(folder / f"{count}.jsonl", count),
        "jsonl.gz": lambda: _lines(folder / f"{count}.jsonl.gz", count),
        "csv": lambda: _csv(folder / f"{count}.csv", count),
        "parquet": lambda: _parquet(folder / f"{count}.parquet", count),
        "sqlite": lambda: _sqlite(folder / f"{count}.sqlite", count),
        "duckdb": lambda: _duckdb(folder / f"{count}.duckdb", count),
        "postgres": lambda: _postgres(str(postgres), count),
    }
    for name in sorted({case.partition(" ")[0] for case in cases} - {"generator"}):
        makers[name]()


def _lines(path: Path, count: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        for number in range(count):
            file.write(json.dumps(row(number)).encode() + b"\n")


def _csv(path: Path, count: int) -> None:
    import csv

    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row(0))
        writer.writeheader()
        writer.writerows(map(row, range(count)))


def _parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # One row group: the worst that a writer can do.
    rows = [row(number) for number in range(count)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=count, compression="none", use_dictionary=False)


def _sqlite(path: Path, count: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, sent TEXT, sender TEXT, text TEXT)")
        rows = (tuple(row(number).values()) for number in range(count))
        database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
        database.commit()


_GENERATED = (
    "SELECT n AS id, '2026-01-05T09:12:00+00:00' AS sent, 'a@example.org' AS sender, "
    "substr(repeat(n || ' times the order has not arrived, and nobody answers. ', 20), 1, 960) AS text "
)


def _duckdb(path: Path, count: int) -> None:
    import duckdb

    with contextlib.closing(duckdb.connect(str(path))) as database:
        database.execute(f"CREATE TABLE messages AS {_GENERATED} FROM range({count}) AS t(n)")
        database.execute("CREATE UNIQUE INDEX by_id ON messages (id)")


def _postgres(url: str, count: int) -> None:
    import psycopg2

    with contextlib.closing(psycopg2.connect(url)) as database, database.cursor() as cursor:
        cursor.execute(f"CREATE TABLE messages_{count} AS {_GENERATED} FROM generate_series(0, {count - 1}) AS n")
        cursor.execute(f"ALTER TABLE messages_{count} ADD PRIMARY KEY (id)")
        database.commit()


# --- one load, in a process of its own


def load(case: str, count: int, folder: Path) -> None:
    """Load so many rows, and print the report, the seconds and the largest resident set."""
    from airflow.providers.common.compat.sdk import BaseOperator  # noqa: F401  # sets Airflow up

    operator = _operator(case, count, folder)
    started = time.monotonic()
    report = operator.execute({})
    seconds = time.monotonic() - started
    if report["new"] != count:
        raise RuntimeError(f"not all rows were loaded: {report}")
    print("FOUND " + json.dumps({"seconds": seconds, "mib": _peak_mib()}))


def _operator(case: str, count: int, folder: Path) -> Any:
    from airflow_provider_cm.operators.loading import BaseLoadOperator
    from airflow_provider_cm.transfers.files_to_comms_mining import FilesToCommsMiningOperator
    from airflow_provider_cm.transfers.sql_to_comms_mining import SqlToCommsMiningOperator

    common: dict[str, Any] = {"task_id": "t", "project": "p", "source_name": "s", "mapping": MAPPING}
    if case == "generator":

        class Generated(BaseLoadOperator):
            def rows(self, context: Any) -> Iterator[dict[str, Any]]:
                return map(row, range(count))

        generated = Generated(**common)
        generated.check_literals()
        return generated
    kind, _, unpaged = case.partition(" ")
    if kind not in PAGED:
        return FilesToCommsMiningOperator(**common, path=str(folder / f"{count}.{case}"))
    table = f"messages_{count}" if kind == "postgres" else "messages"
    paging: dict[str, Any] = {} if unpaged else {"key": "id"}
    sql = f"SELECT * FROM {table}"  # noqa: S608  # the table is ours
    return SqlToCommsMiningOperator(**common, sql=sql, sql_conn_id=f"{kind}_{count}", **paging)


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(case: str, count: int, folder: Path, env: dict[str, str]) -> dict[str, float]:
    """Run one load in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loading_memory", "--load", case, "--rows", str(count)]
    ran = subprocess.run([*command, "--folder", folder], env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{case} failed: {ran.stdout[-2000:]} {ran.stderr[-4000:]}")
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("FOUND "))
    measured: dict[str, float] = json.loads(line.removeprefix("FOUND "))
    return measured


def environment(url: str, folder: Path, counts: tuple[int, ...], postgres: str | None) -> dict[str, str]:
    """Return the environment of a load, with its connections."""
    ours = {"conn_type": "comms_mining", "host": url, "password": "x" * 32, "extra": {"allow_http": True}}
    env = os.environ | {"AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW_CONN_COMMS_MINING_DEFAULT": json.dumps(ours)}
    for count in counts:
        for kind in ("sqlite", "duckdb"):
            database = {"conn_type": kind, "host": str(folder / f"{count}.{kind}")}
            env[f"AIRFLOW_CONN_{kind.upper()}_{count}"] = json.dumps(database)
        if postgres:
            env[f"AIRFLOW_CONN_POSTGRES_{count}"] = postgres
    return env


# --- the digests


def digests() -> Iterator[tuple[int, float]]:
    """Yield the largest memory of the index that finds duplicates, in MiB, by the number of ids."""
    for count in (1_000_000, 10_000_000):
        code = (
            "from benchmarks.loading_memory import _peak_mib\n"
            "from airflow_provider_cm.loading.duplicates import MetIds\n"
            "before, met = _peak_mib(), MetIds()\n"
            f"for number in range({count}):\n    met.meet(f'm-{{number}}', number + 1)\n"
            "print(_peak_mib() - before)"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        yield count, float(ran.stdout)


def main() -> None:
    """Measure all cases, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.load:
        load(chosen.load, chosen.rows, chosen.folder)
        return
    cases = chosen.case or list(CASES)
    folder = Path(tempfile.mkdtemp(prefix="airflow-provider-cm-memory-"))
    try:
        with contextlib.ExitStack() as stack:
            postgres = None
            if any(case.startswith("postgres") for case in cases):
                from tests.e2e.postgres import postgres as server

                postgres = stack.enter_context(server()).replace("postgresql+psycopg2", "postgresql")
            counts = (FEW, chosen.rows)
            for count in counts:
                write_data(folder, count, cases, postgres)
            env = environment(stack.enter_context(serving()), folder, counts, postgres)
            print(f"| rows from | {FEW:,} rows, MiB | {chosen.rows:,} rows, MiB | growth, MiB | target | rows/s |")
            print("|---|---|---|---|---|---|", flush=True)
            failed = [case for case in cases if not _told(case, chosen.rows, folder, env)]
        print("\n| ids | finding duplicates takes at most, MiB |\n|---|---|")
        for ids, mib in digests():
            print(f"| {ids:,} | {mib:.0f} |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        sys.exit(f"over {TARGET_MIB} MiB: {', '.join(failed)}")


def _told(case: str, count: int, folder: Path, env: dict[str, str]) -> bool:
    few, many = measured(case, FEW, folder, env), measured(case, count, folder, env)
    growth = many["mib"] - few["mib"]
    met = growth < TARGET_MIB
    target = "none" if case in CONTRASTS else f"under {TARGET_MIB}: {'met' if met else '**missed**'}"
    rate = count / many["seconds"]
    print(f"| {case} | {few['mib']:.0f} | {many['mib']:.0f} | {growth:.0f} | {target} | {rate:,.0f} |", flush=True)
    return met or case in CONTRASTS


if __name__ == "__main__":
    main()
