"""Mappings: what is refused when they are checked, what rows become, and what is said of a row that does not fit."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_cm.loading import Mapping, MappingError
from airflow_provider_cm.loading.shapes import BadRowError
from airflow_provider_cm.loading.validation import escaped_id

LEAST = {"id": "t-{id}", "timestamp": "{at}", "body": "{text}"}
NAIVE = datetime(2026, 1, 5, 10, 12)  # noqa: DTZ001  # as databases give them
ROW = {"id": 1, "at": "2026-01-05T09:12:00Z", "text": "Hello"}


def made(mapping: dict[str, Any], **row: Any) -> dict[str, Any]:
    return Mapping.parse({**LEAST, **mapping}).message({**ROW, **row})


def refused(mapping: dict[str, Any], **row: Any) -> str:
    with pytest.raises(BadRowError) as caught:
        made(mapping, **row)
    return str(caught.value)


# Checking


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "ticket"}, "mapping.id: it names no column, so all messages would have one id"),
        ({"id": None}, "mapping: it has no `id`"),
        ({"body": None}, "mapping: it has no `body`"),
        ({"timestamp": "2026-01-05"}, "mapping.timestamp: it names no column"),
        ({"id": 7}, "mapping.id: a int is not text"),
        ({"id": "t-{id"}, "mapping.id: a '{' has no partner"),
        ({"id": "t-id}"}, "mapping.id: a '}' has no partner"),
        ({"id": "{}"}, "mapping.id: there is no column between two braces"),
        ({"id": "{id.__class__}"}, "mapping.id: '{id.__class__}' is more than a column's name"),
        ({"id": "{id[0]}"}, "mapping.id: '{id[0]}' is more than"),
        ({"id": "{id!r}"}, "mapping.id: '{id!r}' is more than"),
        ({"id": "{id:>10}"}, "mapping.id: '{id:>10}' is more than"),
        ({"id": "{now()}"}, "mapping.id: '{now()}' is more than"),
        ({"from": "{a}"}, "mapping: there is no field `from`; did you mean `sender`?"),
        ({"subjct": "{a}"}, "mapping: there is no field `subjct`; did you mean `subject`?"),
        ({"timezone": "Mars/Olympus"}, "mapping.timezone: 'Mars/Olympus' is no time zone"),
        ({"timezone": "../../etc/passwd"}, "mapping.timezone: '../../etc/passwd' is no time zone"),
        ({"id_escape": "base64"}, "mapping.id_escape: 'base64' is no escape"),
        ({"properties": ["a"]}, "mapping.properties: it is no object"),
        ({"properties": {"a>b": "{a}"}}, "mapping.properties: 'a>b' is no property's name"),
        ({"properties": {"": "{a}"}}, "mapping.properties: '' is no property's name"),
        ({"properties": {"a": "{a}", "string:a": "{b}"}}, "mapping.properties: 'a' and 'string:a' are one name"),
        ({"properties": {"a": 1}}, "mapping.properties['a']: a int is not text"),
        ({"to": ["{a}", 3]}, "mapping.to: a int is not text"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(MappingError) as caught:
        Mapping.parse({**LEAST, **change})
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("data", [None, "{id}", ["id"], 7])
def test_a_mapping_is_an_object(data: object) -> None:
    with pytest.raises(MappingError, match="is not an object; use one such as"):
        Mapping.parse(data)


def test_a_mapping_knows_its_columns() -> None:
    mapping = Mapping.parse({**LEAST, "to": ["{a}", "{b c}"], "properties": {"P": "{d}-{id}"}, "subject": "{{x}}"})
    assert mapping.columns == ("id", "at", "text", "a", "b c", "d")
    assert Mapping.parse(mapping) is mapping


def test_checking_imports_neither_requests_nor_msgspec() -> None:
    code = (
        "import sys; from airflow_provider_cm.loading import Mapping, LoadOptions; "
        f"Mapping.parse({LEAST!r}); LoadOptions(); "
        "print(sorted({'requests', 'msgspec', 'tenacity', 'airflow', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# Making


def test_the_design_s_example() -> None:
    mapping = {
        "id": "zendesk-{ticket_id}-{n}", "timestamp": "{created_at}", "body": "{text}", "subject": "{subject}",
        "sender": "{from_address}", "to": "{to_addresses}", "thread_id": "zendesk-{ticket_id}",
        "properties": {"Region": "{region}", "Priority": "{priority}"}, "timezone": "Europe/Berlin",
    }  # fmt: skip
    row = {
        "ticket_id": 4711, "n": 1, "created_at": NAIVE, "text": "Where is my refund?",
        "subject": "Refund", "from_address": "a@example.org", "to_addresses": "b@example.org; c@example.org",
        "region": "EU", "priority": 2,
    }  # fmt: skip
    assert Mapping.parse(mapping).message(row) == {
        "id": "zendesk-4711-1",
        "timestamp": "2026-01-05T09:12:00+00:00",
        "thread_id": "zendesk-4711",
        "user_properties": {"string:Region": "EU", "number:Priority": 2},
        "messages": [
            {
                "body": {"text": "Where is my refund?"},
                "subject": {"text": "Refund"},
                "from": "a@example.org",
                "to": ["b@example.org", "c@example.org"],
            }
        ],
    }


@pytest.mark.parametrize("nothing", [None, math.nan, Decimal("NaN")])
def test_no_value_leaves_a_field_out(nothing: object) -> None:
    mapping = {"subject": "{s}", "sender": "{s}", "to": "{s}", "thread_id": "x-{s}", "properties": {"P": "{s}"}}
    comment = made(mapping, s=nothing)
    assert set(comment) == {"id", "timestamp", "messages", "user_properties"}
    assert comment["user_properties"] == {}
    assert comment["messages"] == [{"body": {"text": "Hello"}}]


@pytest.mark.parametrize("key", ["id", "at", "text"])
def test_what_every_message_needs_must_have_a_value(key: str) -> None:
    assert f"column '{key}': it has no value" in refused({}, **{key: None})


class NAType:
    """As pandas' missing value, which is neither true nor false, nor equal to anything."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


class Scalar:
    """As a scalar of NumPy."""

    def __init__(self, value: object) -> None:
        self.item = lambda: value


Scalar.__module__ = "numpy"


def test_missing_values_of_pandas_and_scalars_of_numpy_are_understood() -> None:
    mapping = {"subject": "{s}", "properties": {"A": "{a}", "B": "{b}", "C": "{c}"}}
    comment = made(mapping, id=Scalar(7), s=NAType(), a=NAType(), b=Scalar(math.nan), c=Scalar(1.5))
    assert comment["id"] == "t-7"
    assert comment["user_properties"] == {"number:C": 1.5}
    assert "subject" not in comment["messages"][0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("EU", {"string:P": "EU"}),
        (2, {"number:P": 2}),
        (2.5, {"number:P": 2.5}),
        (Decimal("2.50"), {"number:P": 2.5}),
        (Decimal("3.00"), {"number:P": 3}),
        (True, {"string:P": "true"}),
        (False, {"string:P": "false"}),
        (date(2026, 1, 5), {"string:P": "2026-01-05"}),
        (datetime(2026, 1, 5, 9, 12, tzinfo=UTC), {"string:P": "2026-01-05T09:12:00+00:00"}),
        (UUID(int=1), {"string:P": "00000000-0000-0000-0000-000000000001"}),
        ("", {"string:P": ""}),
    ],
)
def test_the_type_of_a_value_is_the_type_of_its_property(value: object, expected: dict[str, Any]) -> None:
    assert made({"properties": {"P": "{p}"}}, p=value)["user_properties"] == expected


def test_the_type_of_a_property_can_be_fixed() -> None:
    properties = {"string:A": "{a}", "number:B": "{b}"}
    assert made({"properties": properties}, a=7, b="12.5")["user_properties"] == {"string:A": "7", "number:B": 12.5}
    assert "column 'b': this str is no number" in refused({"properties": properties}, a=7, b="many")


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.inf, "it is too large, or infinite"), (b"x", "a bytes is not text"), ([1], "a list is not text")],
)
def test_values_that_no_property_can_have(value: object, told: str) -> None:
    assert told in refused({"properties": {"P": "{p}"}}, p=value)


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-01-05T09:12:00Z", None, "2026-01-05T09:12:00+00:00"),
        ("2026-01-05 10:12:00+01:00", None, "2026-01-05T09:12:00+00:00"),
        ("2026-07-05 09:12", "Europe/Berlin", "2026-07-05T07:12:00+00:00"),
        (date(2026, 1, 5), "UTC", "2026-01-05T00:00:00+00:00"),
        (datetime(2026, 1, 5, 9, 12, 0, 5, tzinfo=UTC), None, "2026-01-05T09:12:00.000005+00:00"),
        (datetime(2026, 1, 5, tzinfo=timezone(timedelta(seconds=3208))), None, "2026-01-04T23:06:32+00:00"),
    ],
)
def test_times_are_sent_in_utc(value: object, zone: str | None, expected: str) -> None:
    assert made({"timezone": zone} if zone else {}, at=value)["timestamp"] == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (NAIVE, 'the time has no offset from UTC; say "timezone" in the mapping'),
        ("2026-01-05", "the time has no offset from UTC"),
        ("yesterday", "this text is no time of ISO 8601"),
        (1767604320, "a int is no time"),
        (datetime(1399, 1, 1, tzinfo=UTC), "the API takes no time before the year 1400"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "the API takes no time before the year 1400"),
    ],
)
def test_times_that_cannot_be_sent(value: object, told: str) -> None:
    assert refused({}, at=value).startswith(f"column 'at': {told}")


def test_an_id_comes_from_stable_values_only() -> None:
    assert "a float makes no stable id" in refused({}, id=4711.0)
    assert "column 'id': it has no value" in refused({}, id=math.nan)
    assert made({}, id=UUID(int=1))["id"].endswith("0001")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a b", "it holds ' ', which no id may"),
        ("a/b", "it holds '/', which no id may"),
        ("a\n/", "it holds '\\n', '/', which no id may"),
        ("x" * 1023, "it has 1025 characters, and the API takes 1024"),
    ],
)
def test_an_id_that_the_api_does_not_take(value: str, told: str) -> None:
    assert refused({}, id=value).startswith(f"column 'id' (id): {told}")


def test_ids_can_be_escaped_without_becoming_the_same() -> None:
    escaped = {made({"id_escape": "percent"}, id=value)["id"] for value in ("a/b", "a%2Fb", "a%252Fb", "a b", "ä b")}
    assert escaped == {"t-a%2Fb", "t-a%252Fb", "t-a%25252Fb", "t-a%20b", "t-ä%20b"}
    assert escaped_id("\U0001f600") == "%F0%9F%98%80"


@pytest.mark.parametrize(
    ("mapping", "row", "told"),
    [
        (
            {},
            {"text": "x" * 65_537},
            "column 'text' (body): it has 65,537 characters, and the API takes 65,536; cut it",
        ),
        ({"subject": "{s}"}, {"s": "x" * 65_537}, "column 's' (subject): it has 65,537 characters"),
        ({"signature": "{s}"}, {"s": "x" * 65_537}, "column 's' (signature): it has 65,537 characters"),
        ({"sender": "{s}"}, {"s": "x" * 513}, "column 's' (sender): it has 513 characters, and the API takes 512"),
        ({"to": "{s}"}, {"s": ["x" * 513]}, "column 's' (to): it has 513 characters"),
        ({"cc": "{s}"}, {"s": ["a@b"] * 2049}, "column 's' (cc): it has 2049 elements, and the API takes 2048"),
        ({"language": "{s}"}, {"s": "x" * 9}, "column 's' (language): it has 9 characters, and the API takes 8"),
        ({"body": "{text}{s}"}, {"s": "x" * 65_536}, "column 'text' and column 's' (body): it has 65,541 characters"),
    ],
)
def test_limits_are_told_by_column(mapping: dict[str, Any], row: dict[str, Any], told: str) -> None:
    assert refused(mapping, **row).startswith(told)


def test_a_column_that_is_not_there_lists_those_that_are() -> None:
    told = refused({"subject": "{titel}"})
    assert told == "column 'titel': it is not there; the columns are id, at, text; correct the name in the mapping"


def test_lists_of_addresses() -> None:
    to = ["{a}", "{b}"]
    assert made({"to": to}, a="x@a, y@a;z@a", b=("p@b", None))["messages"][0]["to"] == ["x@a", "y@a", "z@a", "p@b"]
    assert made({"to": "{a}"}, a="Doe, John <j@d>")["messages"][0]["to"] == ["Doe, John <j@d>"]


def test_doubled_braces_are_braces() -> None:
    assert made({"subject": "{{{id}}}"})["messages"][0]["subject"] == {"text": "{1}"}
