"""The probe's questions about messages: it finds what was set, says what it costs, and asks only on demand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator.probe.cli import run
from airflow_provider_cm.emulator.probe.message_questions import MESSAGE_QUESTIONS, MOST_AI_UNITS

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle


@pytest.fixture
def tenant(comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> TenantHandle:
    monkeypatch.setenv("CM_TOKEN", "emulator-admin")
    return comms_mining_emulator.tenant("/acme/dev/reinfer_")


def _probe(tenant: TenantHandle, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, Any], str]:
    place = ["--endpoint", tenant.endpoint, "--project", "acme-dev", "--token-env", "CM_TOKEN"]
    assert run([*place, "--yes", "--json", *more], backoff=0.01) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "bad_message": "skip",
            "duplicate_messages": "first",
            "omitted_message_field": "keep",
            "message_without_timestamp": 422,
            "naive_timestamp": 400,
            "range_end": "exclusive",
            "billed_text": "body",
            "max_delete_ids": 128,
        },
        {"duplicate_messages": 409, "message_without_timestamp": 400, "naive_timestamp": 422},
    ],
)
def test_it_finds_what_was_set(
    comms_mining_emulator: EmulatorServer,
    tenant: TenantHandle,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
) -> None:
    truth = comms_mining_emulator.configure(**settings).model_dump()
    if settings.get("bad_message") == "skip":
        # Whatever is wrong with a message, it is left out: then the status is never seen.
        settings = {name: value for name, value in settings.items() if not name.endswith("timestamp")}
    report, err = _probe(tenant, capsys, "--load-messages")
    asked = {name: value for name, value in report["settings"].items() if name in MESSAGE_QUESTIONS}
    assert asked == {name: truth[name] for name in asked}, report["evidence"]
    assert set(settings) <= set(asked), report["not_settled"]
    assert len(asked) >= len(MESSAGE_QUESTIONS) - 2
    assert 0 < tenant.bill.ai_units <= MOST_AI_UNITS
    assert f"at most\n{MOST_AI_UNITS} AI units (3 Platform units)" in err
    assert tenant.sources() == []


def test_a_lag_is_measured_and_a_limit_is_noticed(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.configure(statistics_lag_s=0.5, max_body_bytes=1_000_000)
    report, _ = _probe(tenant, capsys, "--load-messages")
    assert report["settings"]["statistics_lag_s"] == 1.0
    assert report["not_settled"]["max_body_bytes"].startswith("20 MB answered 413")


def test_without_being_told_to_it_loads_nothing(tenant: TenantHandle, capsys: pytest.CaptureFixture[str]) -> None:
    report, err = _probe(tenant, capsys)
    assert (tenant.bill.ai_units, "AI units" in err) == (0, False)
    for name in MESSAGE_QUESTIONS:
        assert report["not_settled"][name] == "needs a few messages, which are billed (--load-messages)"
