"""A source as the API shows it: whatever is missing or new does no harm, and is not taken for something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_cm.api import ProtocolError, Source
from airflow_provider_cm.api.models import describe_differences, parse_timestamp
from airflow_provider_cm.api.source_fields import SETTABLE
from tests.unit.api.support import fails, source


def test_every_field_of_the_vendors_example_is_read() -> None:
    raw = source(bucket_id="1f2e", _kind="call", email_transform_tag="g.0.X", sensitive_properties=["a", "b"])
    read = Source.parse(raw)
    moment = datetime(2016, 2, 10, 23, 13, 28, 340295, tzinfo=UTC)
    assert (read.id, read.owner, read.project, read.name) == ("18ba5ce699f8da1f", "acme", "acme", "example")
    assert (read.title, read.description) == ("An Example Source", "An optional long form description.")
    assert (read.language, read.should_translate, read.sensitive_properties) == ("en", False, ("a", "b"))
    assert (read.bucket_id, read.kind, read.email_transform_tag) == ("1f2e", "call", "g.0.X")
    assert (read.created_at, read.updated_at) == (moment, moment)
    assert read.to_dict() == raw


def test_only_what_identifies_a_source_is_required() -> None:
    read = Source.parse({"id": "1", "owner": "o", "name": "n"})
    rest = (
        read.title,
        read.language,
        read.should_translate,
        read.created_at,
        read.bucket_id,
        read.sensitive_properties,
    )
    assert rest == (None,) * 6
    assert [name for name in SETTABLE if read.knows(name)] == []


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"id": "1", "owner": "o"}, {"id": 1, "owner": "o", "name": "n"}])
def test_what_is_no_source_is_a_protocol_error(raw: object) -> None:
    with fails(ProtocolError):
        Source.parse(raw)


@pytest.mark.parametrize("wrong", [7, ["x"], {"a": 1}, None, True])
def test_values_of_another_type_do_no_harm(wrong: object) -> None:
    raw = {"id": "1", "owner": "o", "name": "n", **dict.fromkeys(SETTABLE.values(), wrong), "created_at": wrong}
    read = Source.parse(raw)
    assert (read.title, read.created_at) == (None, None)
    assert read.to_dict() == raw
    differences, unknown = read.compare({"title": "t", "sensitive_properties": ["a"]})
    assert ("title" in differences, unknown) == (True, [])


def test_a_list_that_holds_objects_does_no_harm() -> None:
    read = Source.parse(source(sensitive_properties=[{"name": "a"}]))
    assert hash(read)
    assert read.compare({"sensitive_properties": ["a"]})[0] == {"sensitive_properties": ([{"name": "a"}], ["a"])}


def test_what_is_new_in_the_api_is_kept() -> None:
    assert Source.parse(source(future={"x": [1]})).to_dict()["future"] == {"x": [1]}


def test_a_source_cannot_be_changed_by_accident() -> None:
    read = Source.parse(source())
    with pytest.raises(AttributeError):
        read.title = "x"  # type: ignore[misc]
    read.to_dict()["title"] = "x"
    assert read.to_dict()["title"] == "An Example Source"


def test_two_readings_of_the_same_state_are_equal() -> None:
    assert Source.parse(source(), confirmed=True) == Source.parse(source(future=1))
    assert Source.parse(source()) != Source.parse(source(title="other"))


@pytest.mark.parametrize("digits", range(10))
@pytest.mark.parametrize(("zone", "offset"), [("+00:00", 0), ("Z", 0), ("+02:00", 2), ("", 0)])
def test_timestamps_have_any_number_of_fractional_digits(digits: int, zone: str, offset: int) -> None:
    fraction = "123456789"[:digits]
    read = parse_timestamp(f"2016-02-10T23:13:28{'.' if digits else ''}{fraction}{zone}")
    micro = int(fraction[:6].ljust(6, "0"))
    assert read == datetime(2016, 2, 10, 23, 13, 28, micro, tzinfo=timezone(timedelta(hours=offset)))


@pytest.mark.parametrize("value", [None, "", "yesterday", 1455146008, "2016-13-40T00:00:00Z", "9" * 5000, ["x"]])
def test_what_is_no_timestamp_is_none(value: object) -> None:
    assert parse_timestamp(value) is None


COMPARED: list[tuple[dict[str, Any], dict[str, Any], list[str], list[str]]] = [
    ({}, {}, [], []),
    ({}, {"title": "An Example Source"}, [], []),
    ({}, {"title": "x", "description": "y"}, ["title", "description"], []),
    ({"sensitive_properties": ["b", "a"]}, {"sensitive_properties": ["a", "b"]}, [], []),
    ({"sensitive_properties": ["b", "a"]}, {"sensitive_properties": ("a",)}, ["sensitive_properties"], []),
    ({"sensitive_properties": []}, {"sensitive_properties": []}, [], []),
    ({}, {"kind": "call"}, [], ["kind"]),
    ({}, {"email_transform_tag": "x", "title": "y"}, ["title"], ["email_transform_tag"]),
    ({}, {"bucket_id": "1f"}, [], ["bucket_id"]),
    ({}, {"bucket_id": None}, [], ["bucket_id"]),
    ({"_kind": "call"}, {"bucket_id": "1f"}, ["bucket_id"], []),
    ({"_kind": "call"}, {"bucket_id": None}, [], []),
    ({"_kind": "call"}, {"email_transform_tag": "x"}, ["email_transform_tag"], []),
    ({"bucket_id": None}, {"bucket_id": None}, [], []),
    ({"bucket_id": "1f"}, {"bucket_id": None}, ["bucket_id"], []),
    ({"title": None}, {"title": "x"}, ["title"], []),
    ({"should_translate": False}, {"should_translate": True}, ["should_translate"], []),
    ({"_kind": "call"}, {"kind": "call"}, [], []),
]


@pytest.mark.parametrize(("there", "wanted", "differing", "unknown"), COMPARED)
def test_what_was_asked_for_is_laid_beside_what_is_there(
    there: dict[str, Any], wanted: dict[str, Any], differing: list[str], unknown: list[str]
) -> None:
    found, not_known = Source.parse(source(**there)).compare(wanted)
    assert (list(found), not_known) == (differing, unknown)


def test_differences_are_described_safely() -> None:
    text = describe_differences({"title": ("old\x1b[31m\n", "new"), "description": ("d" * 9999, None)})
    assert text.startswith("title is 'old")
    assert ", not 'new'" in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("key", ["id", "owner", "name"])
@pytest.mark.parametrize("value", ["a\nERROR forged", "a\x1b[2J", "a\u202eb", "x" * 1025, "", " ", None, 7])
def test_what_identifies_a_source_can_forge_no_log(key: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        Source.parse({**source(), key: value})
