"""Reports of a rollout's tries: each try is listed once, and what the store can hold is limited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_cm.operators.rollout_reports import KEY, RolloutReports
from airflow_provider_cm.rollout import Outcome, Report


class Task:
    """A task instance's XComs."""

    def __init__(self, try_number: int) -> None:
        self.try_number = try_number
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class Store(dict[str, Any]):
    """A task's state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def reports(store: Store | None, try_number: int) -> tuple[RolloutReports, Task]:
    task = Task(try_number)
    return RolloutReports({"ti": task, "task_state_store": store}), task


def report(*names: str, result: Any = "done") -> Report:
    outcomes = tuple(Outcome("create", "acme-dev", name, result) for name in names)
    return Report("https://t.example.com", "acme-dev", "sha256:" + "0" * 64, outcomes)


def test_a_try_that_records_twice_is_listed_once() -> None:
    store = Store()
    first, _ = reports(store, 1)
    first.record(report("a"))
    first.record(report("a", "b"))
    assert [(each["try"], each["written"]) for each in store[KEY]] == [(1, {"done": ["a", "b"]})]


def test_a_try_does_not_count_its_own_entry_as_an_earlier_one() -> None:
    # The process of a try can be replaced by another one, with the same number.
    store = Store()
    reports(store, 1)[0].record(report("a"))
    again, task = reports(store, 1)
    result = again.record(report("a", "b"))
    assert "earlier_tries" not in result
    assert "earlier_tries" not in task.xcoms["return_value"]
    assert [each["try"] for each in store[KEY]] == [1]


def test_the_last_ten_tries_and_this_one_are_kept() -> None:
    store = Store()
    for number in range(1, 15):
        reports(store, number)[0].record(report("a"))
    assert [each["try"] for each in store[KEY]] == list(range(4, 15))


@pytest.mark.parametrize(("characters", "listed"), [(40_000, True), (60_000, False)])
def test_a_long_list_of_names_is_left_out_but_not_its_summary(characters: int, listed: bool) -> None:
    store = Store()
    reports(store, 1)[0].record(report("a" * characters))
    (entry,) = store[KEY]
    assert ("written" in entry) is listed
    assert entry["counts"] == {"done": 1}
    assert entry["summary"] == report("a").summary()


def test_the_space_is_shared_by_the_tries() -> None:
    store = Store()
    for number in (1, 2):
        reports(store, number)[0].record(report("a" * 30_000))
    assert ["written" in each for each in store[KEY]] == [True, False]


@pytest.mark.parametrize("result", ["unchanged", "stale", "failed", "skipped"])
def test_a_try_that_has_written_nothing_is_not_listed(result: Any) -> None:
    store = Store()
    reports(store, 1)[0].record(report("a", result=result))
    assert store == {}


@pytest.mark.parametrize("result", ["done", "confirmed", "unknown"])
def test_a_write_is_listed_by_its_result(result: Any) -> None:
    store = Store()
    reports(store, 1)[0].record(report("a", result=result))
    assert store[KEY][0]["written"] == {result: ["a"]}


def test_a_failure_without_a_report_leaves_the_earlier_tries_and_one_with_a_report_keeps_it() -> None:
    store = Store()
    reports(store, 1)[0].record(report("a"))
    second, task = reports(store, 2)
    with pytest.raises(ConnectionError), second.preserved():
        raise ConnectionError
    assert list(task.xcoms["return_value"]) == ["earlier_tries"]
    third, task = reports(store, 3)

    def record_and_fail() -> None:
        third.record(report("b"))
        raise ConnectionError

    with pytest.raises(ConnectionError), third.preserved():
        record_and_fail()
    assert task.xcoms["return_value"]["counts"] == {"done": 1}


def test_a_failure_without_earlier_tries_leaves_nothing() -> None:
    first, task = reports(Store(), 1)
    with pytest.raises(ConnectionError), first.preserved():
        raise ConnectionError
    assert task.xcoms == {}


def test_without_a_store_the_report_is_in_the_xcoms() -> None:
    first, task = reports(None, 1)
    assert first.record(report("a")) == task.xcoms["return_value"]
    assert "a" in task.xcoms["markdown"]
