"""Metrics: what a StatsD server receives, and what may never be in it."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from airflow_provider_cm import metrics
from airflow_provider_cm.api.errors import ConfigurationError, NotFoundError, RateLimitedError
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
from tests.statsd import StatsD

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_cm.emulator import EmulatorServer
    from tests.conftest import Connect

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "metrics.md").read_text()
TENANT = "/acme/dev/reinfer_"

# --- what is received

SCENARIOS = """
import json, os, sys
# As a triggerer does before it starts a trigger. On some versions Airflow's Stats know of [metrics] only then; in a
# worker, the task runner tells them.
from airflow.models.trigger import Trigger
Trigger._decrypt_kwargs(Trigger.encrypt_kwargs({}))
from airflow.providers.common.compat.sdk import Stats
from airflow_provider_cm import metrics
from airflow_provider_cm.api.errors import RateLimitedError
from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

def connect(name):
    os.environ["AIRFLOW_CONN_COMMS_MINING_DEFAULT"] = json.dumps(connections[name])
    return CommsMiningHook()

def mark(name):
    Stats.incr("mark." + name)

connections = json.loads(sys.argv[1])
hook = connect("token")
hook.sources.get("acme", "inbox")
mark("success")
hook.sources.get("acme", "limited")
mark("limited")
connect("app").sources.get("acme", "inbox")
mark("fetched")
hook = connect("refused")
hook.get_conn()
connect("token")
hook.sources.get("acme", "inbox")
mark("reread")
metrics.poll(None, 3)
metrics.poll(RateLimitedError("no"), 6.5)
metrics.polling(waits=40, loops=3, queue=2)
metrics.rate_limit_wait(2)
mark("polled")
"""


def receive(emulator: EmulatorServer, home: Path, *, tags: bool) -> dict[str, list[str]]:
    """Run the scenarios in a process of their own; give what was received in each."""
    tenant = emulator.tenant(TENANT)
    tenant.add_project("acme")
    tenant.add_source("acme", "inbox")
    tenant.add_source("acme", "limited")
    emulator.faults.add("429", "GET", "*/limited", retry_after=1)
    good = tenant.connection()
    connections = {"token": good, "refused": {**good, "password": "replaced"}, "app": tenant.connection("app")}
    server = StatsD()
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(server.port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": str(tags),
    }
    command = [sys.executable, "-c", SCENARIOS, json.dumps(connections)]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[str]] = {}
    since: list[str] = []
    for line in server.ended():
        if line.startswith("airflow.mark."):
            found[line.removeprefix("airflow.mark.").partition(":")[0]], since = since, []
        elif line.startswith("airflow.comms_mining."):
            since.append(line)
    return found


def without_times(lines: list[str]) -> Counter[str]:
    return Counter(re.sub(r":[\d.]+\|ms$", ":T|ms", line.removeprefix("airflow.comms_mining.")) for line in lines)


def milliseconds(lines: list[str], name: str) -> list[float]:
    return [float(line.rpartition(":")[2].removesuffix("|ms")) for line in lines if f".{name}" in line]


def test_a_statsd_server_receives_them(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    found = receive(comms_mining_emulator, tmp_path, tags=True)
    read = "method=GET,route=sources/PROJECT/NAME"
    success = Counter({f"requests,{read},status=200:1|c": 1, f"request_time,{read},status=200:T|ms": 1})
    assert without_times(found["success"]) == success
    assert 0 < milliseconds(found["success"], "request_time")[0] < 10_000

    assert without_times(found["limited"]) == success + Counter(
        {
            f"requests,{read},status=429:1|c": 1,
            f"request_time,{read},status=429:T|ms": 1,
            f"retries,{read}:1|c": 1,
            "rate_limit_wait,set_by=server,where=call:T|ms": 1,
        }
    )
    assert milliseconds(found["limited"], "rate_limit_wait") == [1000]
    assert max(milliseconds(found["limited"], "request_time")) < 1000, "a wait is no time of a request"

    assert without_times(found["fetched"]) == success + Counter(
        {"token_renewals,kind=client_credentials,outcome=ok:1|c": 1}
    )
    assert without_times(found["reread"]) == success + Counter(
        {
            f"requests,{read},status=401:1|c": 1,
            f"request_time,{read},status=401:T|ms": 1,
            f"retries,{read}:1|c": 1,
            "token_renewals,kind=developer_token,outcome=ok:1|c": 1,
        }
    )
    assert found["polled"] == [
        "airflow.comms_mining.polls,outcome=ok:1|c",
        "airflow.comms_mining.poll_gap:3000.000000|ms",
        "airflow.comms_mining.polls,outcome=RateLimitedError:1|c",
        "airflow.comms_mining.poll_gap:6500.000000|ms",
        "airflow.comms_mining.waits:40|g",
        "airflow.comms_mining.poll_loops:3|g",
        "airflow.comms_mining.poll_queue:2|g",
        "airflow.comms_mining.rate_limit_wait,set_by=server,where=poll:2000.000000|ms",
    ]


def test_statsd_without_tags_receives_the_sums(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    found = receive(comms_mining_emulator, tmp_path, tags=False)
    assert without_times(found["limited"]) == Counter(
        {"requests:1|c": 2, "request_time:T|ms": 2, "retries:1|c": 1, "rate_limit_wait:T|ms": 1}
    )


# --- what each call amounts to


class Recorder:
    """Takes the place of Airflow's ``Stats``, where its way to a server is not what is tested."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def incr(self, name: str, count: int, *, tags: dict[str, str]) -> None:
        self.seen.append((name, count, tags))

    def gauge(self, name: str, value: int) -> None:
        self.seen.append((name, value, {}))

    def timing(self, name: str, value: timedelta, *, tags: dict[str, str]) -> None:
        self.seen.append((name, value.total_seconds(), tags))

    def of(self, metric: metrics.Metric) -> list[tuple[float, dict[str, str]]]:
        return [(value, tags) for name, value, tags in self.seen if name == metric.name]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(metrics, "Stats", recorder)
    return recorder


def test_every_endpoint_has_a_route_of_its_own_and_tags_hold_no_names(connect: Connect, recorder: Recorder) -> None:
    tenant = connect()
    tenant.add_project("acme")
    tenant.add_source("acme", "inbox")
    hook = CommsMiningHook()
    sources = hook.sources
    sources.list()
    sources.list("acme")
    sources.get("acme", "inbox")
    sources.message_count("acme", "inbox")
    created = sources.create("acme", "new-one")
    sources.update("acme", "new-one", title="Other")
    sources.get_by_id(created.id)
    sources.delete(created.id)
    message = {"id": "m", "timestamp": "2026-01-05T09:00:00Z", "messages": [{"body": {"text": "text"}}]}
    hook.messages.sync("acme", "inbox", [message])
    hook.messages.get("acme", "inbox", "m")
    hook.messages.delete("acme", "inbox", ["m"])
    raw = {"headers": {"raw": "From: a@b.example\nMessage-ID: <m@b.example>\n"}, "body": {"plain": "text"}}
    hook.messages.sync_raw_emails("acme", "inbox", [{"raw_email": raw}])
    seen = {(tags["method"], tags["route"]) for _, tags in recorder.of(metrics.REQUESTS)}
    assert {route for _, route in seen} == set(metrics.ROUTES.values())
    assert seen >= {("PUT", "sources/PROJECT/NAME"), ("POST", "sources/PROJECT/NAME"), ("DELETE", "sources/ID")}

    recorder.seen.clear()
    with pytest.raises(NotFoundError):
        hook.request("GET", "made-up", "acme")
    with pytest.raises(Exception, match="BREW"):
        hook.request("BREW", "sources", "acme")
    assert [tags["route"] for _, tags in recorder.of(metrics.REQUESTS)] == ["other", "other"]
    assert [tags["method"] for _, tags in recorder.of(metrics.REQUESTS)] == ["GET", "other"]


def test_what_statsd_takes(connect: Connect, recorder: Recorder) -> None:
    connect().add_project("acme")
    CommsMiningHook().sources.list("acme")
    assert recorder.seen
    allowed = re.compile(r"[A-Za-z0-9_.\-/]+")
    values = [*metrics.METHODS, *metrics.ROUTES.values()]
    values += [value for _, _, tags in recorder.seen for value in tags.values()]
    assert [value for value in values if not allowed.fullmatch(value)] == []
    assert all(allowed.fullmatch(metric.name) for metric in metrics.ALL)


def test_a_write_that_is_sent_again_after_reading_back_is_a_retry(
    connect: Connect, comms_mining_emulator: EmulatorServer, recorder: Recorder
) -> None:
    connect().add_project("acme")
    comms_mining_emulator.faults.add("503", "PUT", "*/sources/*", retry_after=0)
    CommsMiningHook().sources.create("acme", "inbox")
    requests = [(tags["method"], tags["status"]) for _, tags in recorder.of(metrics.REQUESTS)]
    assert requests == [("PUT", "503"), ("GET", "404"), ("PUT", "200")]
    assert recorder.of(metrics.RETRIES) == [(1, {"method": "PUT", "route": "sources/PROJECT/NAME"})]
    assert recorder.of(metrics.RATE_LIMIT_WAIT) == [], "a 503 is no rate limit"


def test_a_429_without_a_time_is_the_clients_own_wait(
    connect: Connect, comms_mining_emulator: EmulatorServer, recorder: Recorder
) -> None:
    connect()
    comms_mining_emulator.faults.add("429", "GET", "*/sources")
    CommsMiningHook().sources.list()
    ((seconds, tags),) = recorder.of(metrics.RATE_LIMIT_WAIT)
    assert 0 <= seconds <= 1
    assert tags == {"set_by": "backoff", "where": "call"}


def test_the_identity_servers_429_counts_too(
    connect: Connect, comms_mining_emulator: EmulatorServer, recorder: Recorder
) -> None:
    connect(auth="app")
    comms_mining_emulator.faults.add("429", "POST", "*/token", retry_after=1)
    CommsMiningHook().sources.list()
    assert recorder.of(metrics.RATE_LIMIT_WAIT) == [(1, {"set_by": "server", "where": "call"})]
    assert recorder.of(metrics.TOKEN_RENEWALS) == [(1, {"kind": "client_credentials", "outcome": "ok"})]


@pytest.mark.parametrize(
    ("auth", "field", "kind"), [("app", "password", "client_credentials"), ("token", "password", "developer_token")]
)
def test_a_token_that_is_not_to_be_had_is_a_failed_renewal(
    connect: Connect, recorder: Recorder, auth: str, field: str, kind: str
) -> None:
    connect(auth=auth, **{field: "wrong"})
    with pytest.raises(Exception, match=r"401|invalid_client"):
        CommsMiningHook().sources.list()
    assert recorder.of(metrics.TOKEN_RENEWALS) == [(1, {"kind": kind, "outcome": "failed"})]


@pytest.mark.parametrize(
    ("fault", "status"), [("no-answer", "TransportError"), ("html", "ProtocolError"), ("redirect", "ProtocolError")]
)
def test_what_is_no_answer_of_the_api_is_tagged_with_the_error(
    connect: Connect, comms_mining_emulator: EmulatorServer, recorder: Recorder, fault: str, status: str
) -> None:
    connect(extra={"max_attempts": 1})
    options = {"to": "https://example.com/"} if fault == "redirect" else {}
    comms_mining_emulator.faults.add(fault, "GET", "*/sources", **options)
    with pytest.raises(Exception, match="sources"):
        CommsMiningHook().sources.list()
    assert [tags["status"] for _, tags in recorder.of(metrics.REQUESTS)] == [status]


def test_polls_are_counted_by_outcome(recorder: Recorder) -> None:
    class MadeUpError(NotFoundError):
        pass

    for error in (None, ConfigurationError("no"), MadeUpError("no"), ValueError("a stranger")):
        metrics.poll(error, 1.5)
    outcomes = [tags["outcome"] for _, tags in recorder.of(metrics.POLLS)]
    assert outcomes == ["ok", "ConfigurationError", "other", "other"]
    assert recorder.of(metrics.POLL_GAP) == [(1.5, {})] * 4


def test_no_call_fails_for_a_metric(
    connect: Connect, comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("no metrics today")

    connect(auth="app")
    comms_mining_emulator.faults.add("429", "GET", "*/sources", retry_after=0)
    monkeypatch.setattr(metrics, "Stats", Broken())
    assert CommsMiningHook().sources.list() == []
    metrics.poll(RateLimitedError("no"), 1.0)
    metrics.polling(waits=1, loops=1, queue=0)


# --- what the document says


def table(first: str) -> list[list[str]]:
    """Give the rows of the table whose first heading this is."""
    block = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCS, re.MULTILINE)
    assert block
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block[1].splitlines()]


def test_the_document_names_every_metric() -> None:
    units = {
        "counter": {"requests", "attempts", "polls", "rows"},
        "timer": {"ms"},
        "gauge": {"polls", "loops", "waits"},
    }
    rows = table("Name")
    assert [(row[0], row[1], row[3]) for row in rows] == [
        (f"`{metric.name}`", metric.kind, ", ".join(f"`{tag}`" for tag in metric.tags)) for metric in metrics.ALL
    ]
    assert all(row[2] in units[row[1]] and row[4].rstrip("|").strip() for row in rows)


def test_the_document_names_every_value_of_a_tag() -> None:
    values = {row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[1])) for row in table("Tag")}
    assert set(values) == {tag for metric in metrics.ALL for tag in metric.tags}
    assert values["method"] == {*metrics.METHODS, metrics.OTHER}
    assert values["route"] - {"hook.request()"} == {*metrics.ROUTES.values(), metrics.OTHER}
    assert values["kind"] == set(get_args(metrics.TokenKind))
    assert {"server", "backoff"} <= values["set_by"]
    assert {"call", "poll"} == values["where"]


def test_names_are_declared_once() -> None:
    declared = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]
    assert sorted(declared, key=id) == sorted(metrics.ALL, key=id)
    assert len({metric.name for metric in metrics.ALL}) == len(metrics.ALL)
    source = inspect.getsource(metrics)
    others = [path for path in (ROOT / "airflow_provider_cm").rglob("*.py") if path.name != "metrics.py"]
    for metric in metrics.ALL:
        assert source.count(f'"{metric.name}"') == 1
        assert not [path for path in others if metric.name in path.read_text()]


def test_every_use_gives_the_tags_that_are_declared(
    connect: Connect, comms_mining_emulator: EmulatorServer, recorder: Recorder
) -> None:
    connect(auth="app")
    comms_mining_emulator.faults.add("429", "GET", "*/sources", retry_after=0)
    CommsMiningHook().sources.list()
    metrics.poll(None, 1.0)
    metrics.polling(waits=1, loops=1, queue=0)
    metrics.load_ended(dict.fromkeys(metrics.LOADS, 2), {"sent": 1})
    assert {(name, tuple(tags)) for name, _, tags in recorder.seen} == {
        (metric.name, metric.tags) for metric in metrics.ALL
    }
