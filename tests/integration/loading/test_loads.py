"""Loads against the emulator: what it stores, what it bills, and what a killed process leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ApiSession, DeveloperToken, MessagesApi, RetryPolicy
from airflow_provider_cm.loading import LoadError, load

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle

PLACE: dict[str, Any] = {"project": "acme-dev", "source_name": "tickets"}
MAPPING = {"id": "t-{n}", "timestamp": "{at}", "body": "{text}", "properties": {"Region": "{region}"}}


@pytest.fixture
def tenant(comms_mining_emulator: EmulatorServer) -> TenantHandle:
    """Give a tenant with an empty source."""
    tenant = comms_mining_emulator.tenant()
    tenant.add_source(PLACE["project"], PLACE["source_name"])
    return tenant


@pytest.fixture
def messages(tenant: TenantHandle) -> MessagesApi:
    """Give its messages."""
    return MessagesApi(ApiSession(tenant.endpoint, DeveloperToken("emulator-admin")))


def rows(count: int, text: str = "Hello", region: str = "EU") -> list[dict[str, Any]]:
    return [{"n": n, "at": "2026-01-05T09:12:00Z", "text": f"{text} {n}", "region": region} for n in range(count)]


def test_the_life_of_messages(tenant: TenantHandle, messages: MessagesApi) -> None:
    first = load(rows(1200), messages, mapping=MAPPING, **PLACE)
    assert (first.new, first.batches, first.billable) == (1200, 3, 1200)
    again = load(rows(1200), messages, mapping=MAPPING, concurrency=3, **PLACE)
    assert (again.unchanged, again.billable, again.billable_is_exact) == (1200, 0, True)
    other = load(rows(1200, region="US"), messages, mapping=MAPPING, **PLACE)
    assert (other.updated, other.updated_text_changed, other.billable) == (1200, 0, 0)
    texts = load(rows(100, "Hi", "US"), messages, mapping=MAPPING, **PLACE)
    assert (texts.updated_text_changed, texts.billable) == (100, 100)
    assert tenant.bill.ai_units == 1300
    assert messages.count(**PLACE) == 1200
    region = {"user_properties": {"string:Region": {"one_of": ["US"]}}}
    assert messages.count(**PLACE, comment_filter=region) == 1200
    assert messages.get(**PLACE, message_id="t-7")["messages"][0]["body"]["text"] == "Hi 7"
    assert messages.delete(**PLACE, ids=[f"t-{n}" for n in range(100)]) == 100
    assert messages.count(**PLACE) == 1100


def test_a_count_that_lags_is_waited_for(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, messages: MessagesApi
) -> None:
    comms_mining_emulator.configure(statistics_lag_s=1)
    assert load(rows(10), messages, mapping=MAPPING, **PLACE).seconds >= 1


@pytest.mark.parametrize("bad_message", ["refuse", "skip"])
def test_a_bad_row_that_only_the_server_knows_is_found(
    comms_mining_emulator: EmulatorServer, messages: MessagesApi, tmp_path: Path, bad_message: str
) -> None:
    comms_mining_emulator.configure(bad_message=bad_message)
    given: list[dict[str, Any]] = [
        {"id": f"c-{n}", "timestamp": "2026-01-05T09:12:00Z", "messages": [{"body": {"text": f"{n}"}}]}
        for n in range(300)
    ]
    given[123]["messages"][0]["body"]["text_markup"] = [{"kind": "no such"}]
    path = tmp_path / "rejects.jsonl"
    with pytest.raises(LoadError, match="1 of 300 rows were rejected"):
        load(given, messages, rejects_path=str(path), **PLACE)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["row_number"] == 124
    assert messages.count(**PLACE) == 299


def test_a_small_body_limit_is_met(
    comms_mining_emulator: EmulatorServer, messages: MessagesApi, tenant: TenantHandle
) -> None:
    comms_mining_emulator.configure(max_body_bytes=20_000)
    report = load(rows(2000), messages, mapping=MAPPING, concurrency=2, **PLACE)
    assert report.new == 2000
    assert tenant.bill.ai_units == 2000


def test_a_full_quota_stops_at_once(comms_mining_emulator: EmulatorServer, messages: MessagesApi) -> None:
    comms_mining_emulator.configure(message_quota=1000)
    with pytest.raises(LoadError, match="quota") as caught:
        load(rows(2000), messages, mapping=MAPPING, **PLACE)
    assert caught.value.report is not None
    assert (caught.value.report.sent, caught.value.report.splits) == (1000, 0)


def test_a_source_that_is_not_there_is_told_before_a_row_is_read(messages: MessagesApi) -> None:
    given = iter(rows(10))
    with pytest.raises(LoadError, match="404 Not Found"):
        load(given, messages, mapping=MAPPING, project="acme-dev", source_name="missing")
    assert len(list(given)) == 10


def test_emails_become_messages(tenant: TenantHandle, messages: MessagesApi) -> None:
    documents = [
        {
            "raw_email": {"headers": {"raw": f"From: a@b.example\nMessage-ID: <m{n}@b.example>\nDate: "
                                             "Mon, 05 Jan 2026 09:12:00 +0000\nSubject: Hi"},
                          "body": {"plain": f"Hello {n}"}},
            "comment_id": f"mail-{n}",
        }
        for n in range(30)
    ]  # fmt: skip
    assert load(documents, messages, raw_emails=True, batch_size=10, **PLACE).new == 30
    assert load(documents, messages, raw_emails=True, transform_tag="generic.0.CONVKER5", **PLACE).unchanged == 30
    with pytest.raises(LoadError, match="rows 1 and 31 have the same id"):
        load([*documents, documents[0]], messages, raw_emails=True, **PLACE)


CHILD = """
import json, pathlib, sys
from airflow_provider_cm.api import ApiSession, DeveloperToken, MessagesApi
from airflow_provider_cm.loading import load

endpoint, path = sys.argv[1:]

class File:
    def load(self):
        file = pathlib.Path(path)
        return json.loads(file.read_text()) if file.exists() else None
    def save(self, state):
        pathlib.Path(path + "~").write_text(json.dumps(state))
        pathlib.Path(path + "~").replace(path)
    def clear(self):
        pathlib.Path(path).unlink(missing_ok=True)

rows = ({"n": n, "at": "2026-01-05T09:12:00Z", "text": f"Hello {n}", "region": "EU"} for n in range(4000))
report = load(
    rows, MessagesApi(ApiSession(endpoint, DeveloperToken("emulator-admin"))), project="acme-dev",
    source_name="tickets", mapping=%r, batch_size=50, checkpoint=File(),
)
print(json.dumps(report.as_dict()))
"""


def test_a_process_that_is_killed_goes_on_where_it_was(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, tmp_path: Path
) -> None:
    comms_mining_emulator.configure(latency_ms=5)
    command = [sys.executable, "-c", CHILD % MAPPING, tenant.endpoint, str(tmp_path / "checkpoint.json")]
    for killed_after in (12, 37):
        before = len(tenant.messages("acme-dev", "tickets"))
        with subprocess.Popen(command) as process:
            until = time.monotonic() + 60
            while len(tenant.messages("acme-dev", "tickets")) < before + 50 * killed_after:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
    stored = len(tenant.messages("acme-dev", "tickets"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout)
    assert stored >= 49 * 50
    assert stored - 100 <= report["resumed_at_row"] <= stored
    assert report["sent"] == 4000
    assert report["replayed"]
    assert tenant.bill.ai_units == 4000
    assert {message["id"] for message in tenant.messages("acme-dev", "tickets")} == {f"t-{n}" for n in range(4000)}
    assert not (tmp_path / "checkpoint.json").exists()


def test_the_timeouts_of_a_session_bound_a_load(tenant: TenantHandle, comms_mining_emulator: EmulatorServer) -> None:
    comms_mining_emulator.faults.add("no-answer", "POST", "*/sync", times=2)
    session = ApiSession(
        tenant.endpoint, DeveloperToken("emulator-admin"), retry=RetryPolicy(max_attempts=2, base=0.01, max_seconds=5)
    )
    with pytest.raises(LoadError, match="sending the same again is safe"):
        load(rows(10), MessagesApi(session), mapping=MAPPING, **PLACE)
    assert load(rows(10), MessagesApi(session), mapping=MAPPING, **PLACE).new == 10
