"""Exports of datasets: pages, order, bounds, predictions, and what lags behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_cm.emulator import EmulatorServer
from tests.integration.emulator.conftest import Caller

URL = "/api/v1/datasets/acme-dev/support/export"
STATUS = "/api/_private/datasets/acme-dev/support/labellers/status"


def _message(number: int, day: int) -> dict[str, Any]:
    text = {"body": {"text": f"Where is parcel {number}?"}}
    return {"id": str(number), "timestamp": f"2020-01-{day:02}T00:00:00Z", "messages": [text]}


@pytest.fixture
def sources(comms_mining_emulator: EmulatorServer) -> list[str]:
    """Two sources in a dataset, whose messages arrived in the order of their ids, and are dated otherwise."""
    tenant = comms_mining_emulator.tenant("/")
    ids = [tenant.add_source("acme-dev", name)["id"] for name in ("one", "two")]
    for number, day in ((1, 4), (2, 2), (3, 3), (4, 1), (5, 2)):
        tenant.add_messages("acme-dev", "one" if number % 2 else "two", [_message(number, day)])
    tenant.add_dataset("acme-dev", "support", sources=["one", "acme-dev/two"], has_sentiment=True)
    return ids


def _pages(api: Caller, **body: object) -> list[list[str]]:
    pages = []
    while True:
        answer = api("POST", URL, body)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([each["comment"]["id"] for each in page["comments"]])
        if "continuation" not in page:
            return pages
        body["continuation"] = page["continuation"]


def test_pages_hold_each_message_once_in_the_order_asked_for(
    api: Caller, comms_mining_emulator: EmulatorServer, sources: list[str]
) -> None:
    by_time, by_arrival = ["4", "2", "5", "3", "1"], ["1", "2", "3", "4", "5"]
    assert _pages(api) == [by_time]
    for limit in (1, 2, 4, 5, 256):
        for order, expected in ((None, by_time), ("timestamp", by_time), ("created_at", by_arrival)):
            wanted = {"order_by": order} if order else {}
            pages = _pages(api, limit=limit, **wanted)
            assert [each for page in pages for each in page] == expected
            assert all(len(page) == limit for page in pages[:-1])
    comms_mining_emulator.configure(export_order="descending")
    assert _pages(api, limit=2, order_by="created_at") == [["5", "4"], ["3", "2"], ["1"]]
    assert _pages(api, limit=2) == [["1", "3"], ["5", "2"], ["4"]]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [("both", ["2", "5", "3"]), ("from", ["2", "5"]), ("to", ["3"]), ("neither", [])],
)
def test_the_bounds_are_what_the_setting_says(
    api: Caller, comms_mining_emulator: EmulatorServer, sources: list[str], bounds: str, expected: list[str]
) -> None:
    comms_mining_emulator.configure(export_bounds=bounds)
    dates = {"from": "2020-01-02T00:00:00Z", "to": "2020-01-03T01:00:00+01:00"}
    assert _pages(api, **dates) == [expected]


def test_from_limits_what_the_export_is_ordered_by(api: Caller, sources: list[str]) -> None:
    arrived = api("POST", URL, {"order_by": "created_at"}).json()["comments"][3]["comment"]["created_at"]
    assert _pages(api, order_by="created_at", **{"from": arrived}) == [["4", "5"]]
    assert _pages(api, **{"from": arrived}) == [[]]


def test_only_the_sources_and_uids_named(api: Caller, sources: list[str]) -> None:
    one, two = sources
    assert _pages(api, source_ids=[two]) == [["4", "2"]]
    assert _pages(api, comment_uids=[f"{one}.3", f"{two}.2", f"{two}.99"]) == [["2", "3"]]
    answer = api("POST", URL, {"source_ids": ["0" * 16]})
    assert (answer.status_code, answer.json()["message"]) == (422, "Source '0000000000000000' is not in the dataset")


@pytest.mark.parametrize("limit", [0, 257, -1])
def test_limits_beyond_1_to_256_are_refused(api: Caller, sources: list[str], limit: int) -> None:
    assert api("POST", URL, {"limit": limit}).status_code == 400


def test_a_continuation_of_something_else_is_refused(api: Caller, sources: list[str]) -> None:
    of_time = api("POST", URL, {"limit": 1}).json()["continuation"]
    for wrong in ({"continuation": "x"}, {"continuation": "é"}, {"continuation": of_time, "order_by": "created_at"}):
        assert api("POST", URL, wrong).status_code == 422


def test_a_message_that_is_deleted_while_paging_shifts_nothing(
    api: Caller, comms_mining_emulator: EmulatorServer, sources: list[str]
) -> None:
    first = api("POST", URL, {"limit": 2}).json()
    comms_mining_emulator.tenant("/").delete_messages("acme-dev", "two", ["2", "4"])
    rest = api("POST", URL, {"limit": 9, "continuation": first["continuation"]}).json()
    assert [each["comment"]["id"] for each in rest["comments"]] == ["5", "3", "1"]


def _predicted(api: Caller, **body: object) -> dict[str, Any]:
    comments = api("POST", URL, body).json()["comments"]
    return {each["comment"]["id"]: each["predictions"] for each in comments}


def test_predictions_depend_on_text_and_model_and_can_be_set(
    api: Caller, comms_mining_emulator: EmulatorServer, sources: list[str]
) -> None:
    tenant = comms_mining_emulator.tenant("/")
    before = _predicted(api)
    assert before == _predicted(api)
    labels = [label for each in before.values() for label in each["labels"]]
    assert labels
    assert all(isinstance(each["name"], list) and 0.5 <= each["probability"] <= 1 for each in labels)
    assert all(-1 <= each["sentiment"] <= 1 for each in labels)
    assert tenant.retrain("acme-dev", "support") == 2
    assert before != _predicted(api)
    tenant.set_predictions("acme-dev", "support", f"{sources[0]}.1", {"Late": 0.4, "Lost > Parcel": 0.9})
    comms_mining_emulator.configure(predicted_label_names="text")
    expected = [{"name": "Lost > Parcel", "probability": 0.9}, {"name": "Late", "probability": 0.4}]
    assert _predicted(api)["1"]["labels"] == expected


def test_annotations_are_exported_with_who_made_them(api: Caller, sources: list[str]) -> None:
    path = f"/api/_private/datasets/acme-dev/support/labellings/{sources[0]}.1"
    assert api("POST", path, {"labelling": [{"assigned": [{"name": "A", "sentiment": "negative"}]}]}).ok
    annotations = api("POST", URL, {"comment_uids": [f"{sources[0]}.1"]}).json()["comments"][0]["annotations"]
    label = annotations["labels"]["assigned"][0]
    user = api("GET", "/auth/user").json()["user"]["id"]
    assert (label["name"], label["sentiment"], label["metadata"]["user_id"]) == ("A", "negative", user)


def test_what_lags_behind() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    with EmulatorServer(clock=lambda: now[0]) as server:
        api, tenant = Caller(server.url), server.tenant("/")
        tenant.add_source("acme-dev", "one")
        tenant.add_dataset("acme-dev", "support", sources=["one"])
        tenant.add_messages("acme-dev", "one", [_message(1, 1)])
        server.configure(dataset_lag_s=60, prediction_lag_s=120)
        now[0] += timedelta(seconds=30)
        assert _predicted(api) == {}
        now[0] += timedelta(seconds=60)
        tenant.set_predictions("acme-dev", "support", "0000000000000000.1", {"A": 1})
        assert _predicted(api) == {"1": {"labels": []}}
        assert api("GET", STATUS).json()["dataset_status"]["inference_complete"] == 0
        now[0] += timedelta(seconds=60)
        assert api("GET", STATUS).json()["dataset_status"]["inference_complete"] == 1
