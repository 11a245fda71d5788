"""Rows that no message can be made of: they are rejected, and cost no other row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.loading import Mapping, load
from tests.unit.loading.support import MAPPING, PLACE, Store, api_of, row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.api.conftest import Serve


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("column", ["n", "at", "text", "x"])
def test_a_huge_integer_makes_its_row_bad_and_no_other(serve: Serve, tmp_path: Path, digits: int, column: str) -> None:
    bad = row(2, x=1) | {column: 10**digits}
    path = tmp_path / "rejected.jsonl"
    report = load(
        [row(1, x=1), bad, row(3, x=1)], api_of(serve(handler=Store())), **PLACE,
        mapping={**MAPPING, "properties": {"X": "{x}"}}, max_rejected=1, rejects_path=str(path), reject_rows=True,
    )  # fmt: skip
    # An id and a text may be of 400 digits; no number may, and Python writes none of 5,000.
    assert report.rejected == (digits == 5000 or column in {"at", "x"})
    assert report.sent == 3 - report.rejected
    assert [json.loads(line)["row_number"] for line in path.read_text().splitlines()] == [2] * report.rejected


def test_a_huge_integer_and_a_deep_object_in_a_comment_make_its_row_bad(serve: Serve) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    message = {"body": {"text": "Hello", "text_markup": [{"kind": "style", "children": [deep]}]}}
    comments: list[dict[str, Any]] = [
        {"id": "1", "timestamp": "2026-01-05T09:12:00Z", "messages": [message]},
        {"id": "2", "timestamp": "2026-01-05T09:12:00Z", "messages": [{"body": {"text": "Hello"}}]}
        | {"user_properties": {"number:X": 10**400}},
    ]
    assert load(comments, api_of(serve(handler=Store())), max_rejected=2, **PLACE).rejected == 2


def test_the_addresses_of_a_set_have_one_order() -> None:
    mapping = Mapping.parse({**MAPPING, "to": "{to}"})
    names = {f"name{number}@customer.example" for number in range(50)}
    assert mapping.message(row(1, to=names))["messages"][0]["to"] == sorted(names)
