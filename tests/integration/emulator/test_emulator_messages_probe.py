"""The probe's questions about messages, datasets and quotas: what they find, what they cost, when they are asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.probe.cli import run
from airflow_provider_cm.emulator.probe.dataset_questions import DATASET_QUESTIONS
from airflow_provider_cm.emulator.probe.message_questions import MESSAGE_QUESTIONS, MOST_AI_UNITS

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle


QUESTIONS = MESSAGE_QUESTIONS | DATASET_QUESTIONS


@pytest.fixture
def tenant(comms_mining_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> TenantHandle:
    monkeypatch.setenv("CM_TOKEN", "emulator-admin")
    return comms_mining_emulator.tenant("/acme/dev/reinfer_")


def datasets(server: EmulatorServer) -> list[str]:
    return [dataset.name for dataset in server.state.tenants["/acme/dev/reinfer_"].datasets.by_id.values()]


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
        {
            "max_batch": 50,
            "max_raw_email_batch": 5000,
            "message_quota": 500,
            "source_quota": 60,
            "max_sources_per_dataset": 3,
            "max_datasets_per_source": None,
            "unknown_source": "accept",
            "export_order": "descending",
            "export_bounds": "from",
            "predicted_label_names": "text",
            "stream_start": "beginning",
            "old_continuation": "ignore",
            "max_stream_results": 70,
        },
        {"unknown_source": 404, "export_bounds": "to", "old_continuation": 409, "max_stream_results": 5000},
        {"export_bounds": "neither", "old_continuation": 422},
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
    asked = {name: value for name, value in report["settings"].items() if name in QUESTIONS}
    assert asked == {name: truth[name] for name in asked}, report["evidence"]
    assert set(settings) <= set(asked), report["not_settled"]
    assert len(asked) >= len(QUESTIONS) - 4
    assert 0 < tenant.bill.ai_units <= MOST_AI_UNITS
    assert f"at most\n{MOST_AI_UNITS} AI units (3 Platform units)" in err
    assert tenant.sources() == []
    assert not datasets(comms_mining_emulator)


def test_a_lag_is_measured_and_a_limit_is_noticed(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.configure(statistics_lag_s=0.5, max_body_bytes=1_000_000)
    report, _ = _probe(tenant, capsys, "--load-messages")
    assert report["settings"]["statistics_lag_s"] == 1.0
    assert 990_000 <= report["settings"]["max_body_bytes"] <= 1_000_000


def test_lags_of_datasets_are_measured(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.configure(dataset_lag_s=0.5, prediction_lag_s=1.2)
    report, _ = _probe(tenant, capsys, "--load-messages")
    assert report["settings"]["dataset_lag_s"] == 1.0
    assert report["settings"]["prediction_lag_s"] in (1.0, 2.0)


@pytest.mark.parametrize("status", [401, 403])
def test_without_the_permission_for_datasets_it_says_so(
    comms_mining_emulator: EmulatorServer,
    tenant: TenantHandle,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    comms_mining_emulator.configure(no_permission=status)
    token = comms_mining_emulator.state.tokens.add("half", "half-token", ROLES["admin"] - {"voc"}, tenant=tenant.path)
    monkeypatch.setenv("CM_TOKEN", "half-token")
    report, _ = _probe(tenant, capsys, "--load-messages")
    assert token.name == "half"
    assert report["not_settled"]["export_order"].startswith(("datasets: ", "a dataset could not be created: 403"))
    assert report["settings"]["max_batch"] == 16384


def test_a_dataset_that_can_not_be_deleted_is_named(
    comms_mining_emulator: EmulatorServer, tenant: TenantHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    comms_mining_emulator.faults.add("500", "DELETE", "*/datasets/*", times=1000)
    place = ["--endpoint", tenant.endpoint, "--project", "acme-dev", "--token-env", "CM_TOKEN"]
    assert run([*place, "--yes", "--json", "--load-messages"], backoff=0.001) == 1
    left = json.loads(capsys.readouterr().out)["left_behind"]
    assert len(left) == len(datasets(comms_mining_emulator)) > 5
    assert all("a dataset that can't be deleted: " in each for each in left)


def test_without_being_told_to_it_loads_nothing(tenant: TenantHandle, capsys: pytest.CaptureFixture[str]) -> None:
    report, err = _probe(tenant, capsys)
    assert (tenant.bill.ai_units, "AI units" in err) == (0, False)
    for name in QUESTIONS:
        assert report["not_settled"][name] == "needs a few messages, which are billed (--load-messages)"
