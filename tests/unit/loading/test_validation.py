"""The rules for messages, beside the contract that the emulator judges by."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.settings import EmulatorSettings
from airflow_provider_cm.loading.duplicates import MetIds
from airflow_provider_cm.loading.emails import check_document
from airflow_provider_cm.loading.shapes import BadRowError
from airflow_provider_cm.loading.validation import check_comment

GOOD: dict[str, Any] = {
    "id": "a-1",
    "timestamp": "2026-01-05T09:12:00.5+01:00",
    "thread_id": "t",
    "text_format": "plain",
    "user_properties": {"string:Region": "EU", "number:Priority": 2.5},
    "attachments": [{"name": "a.pdf", "size": 0, "content_type": "application/pdf", "inline": True}],
    "messages": [
        {
            "body": {"text": "Hello", "translated_from": "Hallo"},
            "subject": {"text": ""},
            "signature": {"text": "A."},
            "from": "a@b",
            "to": ["c@d"],
            "cc": [],
            "bcc": ["e@f"],
            "language": "en",
            "sent_at": "2026-01-05T09:12:00Z",
        }
    ],
}
CONTRACT = contract_for(EmulatorSettings()).component("CommentNew")


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    comment = copy.deepcopy(GOOD)
    place: Any = comment
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return comment


M = ("messages", 0)
BAD: list[tuple[tuple[Any, ...], object, str]] = [
    (("id",), ..., "id: there is none"),
    (("id",), "", "id: there is none"),
    (("id",), 7, "id: a int is not text"),
    (("id",), "a/b", "id: it holds '/'"),
    (("id",), "x" * 1025, "id: it has 1025 characters"),
    (("timestamp",), ..., "timestamp: there is none"),
    (("timestamp",), "2026-01-05T09:12:00", "timestamp: it has no offset from UTC"),
    (("timestamp",), "soon", "timestamp: it is not a time in ISO 8601"),
    (("timestamp",), "1399-01-05T09:12:00Z", "timestamp: it is not a time"),
    (("timestamp",), "2026-02-30T09:12:00Z", "timestamp: there is no such day"),
    (("thread_id",), None, "thread_id: there is none"),
    (("colour",), "red", "colour: the API knows no such field"),
    (("text_format",), "html", "text_format: it is neither"),
    (("messages",), ..., "messages: it is not a list of exactly one"),
    (("messages",), [], "messages: it is not a list of exactly one"),
    (("messages",), GOOD["messages"] * 2, "messages: it is not a list of exactly one"),
    ((*M, "body"), ..., "messages[0].body: there is none"),
    ((*M, "body"), "Hello", "messages[0].body: a str is not an object"),
    ((*M, "body"), {}, "messages[0].body.text: there is none"),
    ((*M, "body", "text"), None, "messages[0].body.text: there is none"),
    ((*M, "body", "text"), "x" * 65_537, "messages[0].body.text: it has 65,537 characters"),
    ((*M, "body", "translated_from"), "x" * 65_537, "messages[0].body.translated_from: it has 65,537"),
    ((*M, "body", "text_markup"), [{}] * 4097, "messages[0].body.text_markup: it has 4097 elements"),
    ((*M, "body", "text_markup"), ["red"], "messages[0].body.text_markup: an element is no markup node"),
    ((*M, "body", "text_markup"), [{"kind": "red"}], "messages[0].body.text_markup: an element is no markup node"),
    ((*M, "body", "colour"), "x", "messages[0].body.colour: the API knows no such field"),
    ((*M, "subject", "text"), "x" * 65_537, "messages[0].subject.text: it has 65,537 characters"),
    ((*M, "signature", "text"), 1, "messages[0].signature.text: a int is not text"),
    ((*M, "from"), "", "messages[0].from: it is empty"),
    ((*M, "from"), "x" * 513, "messages[0].from: it has 513 characters"),
    ((*M, "to"), "a@b", "messages[0].to: a str is not a list"),
    ((*M, "to"), [""], "messages[0].to: it is empty"),
    ((*M, "cc"), ["a@b"] * 2049, "messages[0].cc: it has 2049 elements"),
    ((*M, "language"), "", "messages[0].language: it is empty"),
    ((*M, "sent_at"), 7, "messages[0].sent_at: a int is not text"),
    ((*M, "colour"), 7, "messages[0].colour: the API knows no such field"),
    (("user_properties", "Region"), "EU", "user_properties['Region']: this is not a property's name"),
    (("user_properties", "string:A"), 7, "user_properties['string:A']: a int is not text"),
    (("user_properties", "number:A"), "7", "user_properties['number:A']: a str is not a number"),
    (("user_properties", "number:A"), True, "user_properties['number:A']: a bool is not a number"),
    (("user_properties", "number:A"), float("nan"), "user_properties['number:A']: it is too large, infinite or NaN"),
    (("user_properties",), [], "user_properties: a list is not an object"),
    (("attachments",), GOOD["attachments"] * 129, "attachments: it has 129 elements"),
    (("attachments", 0, "name"), ..., "attachments[0].name: there is none"),
    (("attachments", 0, "name"), "x" * 257, "attachments[0].name: it has 257 characters"),
    (("attachments", 0, "size"), -1, "attachments[0].size: it is not a number of bytes"),
    (("attachments", 0, "inline"), 1, "attachments[0].inline: it is neither true nor false"),
    (("attachments", 0, "content_hash"), "abc", "attachments[0].content_hash: it has another form"),
    (("attachments", 0, "colour"), 1, "attachments[0].colour: the API knows no such field"),
]


def test_a_good_comment_is_good() -> None:
    check_comment(GOOD)
    assert CONTRACT.error(GOOD) is None


@pytest.mark.parametrize(("path", "value", "told"), BAD, ids=[told for _, _, told in BAD])
def test_a_bad_comment_is_told_without_its_value(path: tuple[Any, ...], value: object, told: str) -> None:
    with pytest.raises(BadRowError) as caught:
        check_comment(changed(path, value))
    assert str(caught.value).startswith(told)
    assert "red" not in str(caught.value)


VALUES = st.sampled_from(
    [None, "", "x", "en", 0, -1, 2.5, True, [], ["a@b"], {}, {"text": "x"}, "2026-01-05T09:12:00Z", "a b", "a/b", "é"]
)
PATHS = st.sampled_from(sorted({path for path, _, _ in BAD}, key=str))


@given(path=PATHS, value=VALUES)
def test_what_is_let_through_fits_the_contract(path: tuple[Any, ...], value: object) -> None:
    comment = changed(path, value)
    try:
        check_comment(comment)
    except BadRowError:
        return
    assert CONTRACT.error(comment) is None


@given(st.text(max_size=20))
def test_an_id_is_judged_as_by_the_contract(text: str) -> None:
    comment = {**GOOD, "id": text}
    try:
        check_comment(comment)
        good = True
    except BadRowError:
        good = False
    assert good == (CONTRACT.error(comment) is None)


EMAIL = {"headers": {"raw": "Message-ID: <a@b>"}, "body": {"plain": "Hello"}}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"raw_email": EMAIL, "colour": 1}, "colour: the API knows no such field"),
        ({"raw_email": EMAIL, "comment_id": "a b"}, "comment_id: it holds ' '"),
        ({"raw_email": EMAIL, "user_properties": {"a": 1}}, "user_properties['a']: a int is not text"),
        ({}, "raw_email: a NoneType is not an object"),
        ({"raw_email": {**EMAIL, "headers": {}}}, "raw_email.headers: it holds neither"),
        ({"raw_email": {**EMAIL, "headers": {"raw": "x" * 65_537}}}, "raw_email.headers.raw: it has 65,537"),
        ({"raw_email": {**EMAIL, "body": {"plain": "x" * 65_537}}}, "raw_email.body.plain: it has 65,537"),
        ({"raw_email": {**EMAIL, "body": {"text": "x"}}}, "raw_email.body.text: the API knows no such field"),
    ],
)
def test_a_bad_email_is_told(document: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRowError) as caught:
        check_document(document)
    assert str(caught.value).startswith(told)
    check_document({"raw_email": EMAIL, "comment_id": "a", "user_properties": {"a": "b"}})


@given(st.lists(st.integers(0, 40)))
def test_met_ids_are_as_a_dict(numbers: list[int]) -> None:
    met, first = MetIds(), dict[str, int]()
    for row, number in enumerate(numbers, 1):
        assert met.meet(str(number), row) == first.get(str(number), 0)
        first.setdefault(str(number), row)
    assert len(met) == len(first)


def test_many_ids_are_met() -> None:
    met = MetIds()
    assert not any(met.meet(f"id-{number}", number) for number in range(1, 50_001))
    assert all(met.meet(f"id-{number}", 99_999) == number for number in range(1, 50_001))
