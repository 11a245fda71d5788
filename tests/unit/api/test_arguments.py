"""Arguments as tasks give them: each is parsed strictly, and an error names the argument and the value."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, SourceAddress, source_address
from airflow_provider_cm.api.errors import ConfigurationError
from tests.unit.api.support import fails

if TYPE_CHECKING:
    from collections.abc import Callable


class ArgNotSet:
    """As Airflow's, which stands for an XCom that is not there."""


def _at_least_3(value: object, field: str) -> int:
    return arguments.integer(value, field, minimum=3)


def _a_or_b(value: object, field: str) -> str:
    return arguments.choice(value, field, ["a", "b"])


PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "boolean": arguments.boolean,
    "integer": _at_least_3,
    "seconds": arguments.seconds,
    "text": arguments.text,
    "filled_text": arguments.filled_text,
    "project": arguments.project,
    "source_name": arguments.source_name,
    "identifier": arguments.identifier,
    "text_list": arguments.text_list,
    "property_list": arguments.property_list,
    "choice": _a_or_b,
    "one_of": arguments.one_of(["a", "b"]),
}

GOOD: list[tuple[str, Any, Any]] = [
    ("boolean", True, True),
    ("boolean", False, False),
    ("boolean", "True", True),
    ("boolean", " false ", False),
    ("boolean", "FALSE", False),
    ("integer", 3, 3),
    ("integer", "3", 3),
    ("integer", " 12 ", 12),
    ("integer", "9" * 18, 10**18 - 1),
    ("integer", "9" * 19, 10**18 - 1),
    ("seconds", 1, 1.0),
    ("seconds", 0.5, 0.5),
    ("seconds", "2.5", 2.5),
    ("text", "", ""),
    ("text", "None of it", "None of it"),
    ("text", " x ", " x "),
    ("filled_text", " x ", " x "),
    ("project", "acme.dev", "acme.dev"),
    ("source_name", "in_box", "in_box"),
    ("identifier", " 1f ", "1f"),
    ("identifier", 12, "12"),
    ("identifier", 0, "0"),
    ("text_list", ["a", "b"], ["a", "b"]),
    ("text_list", ("a",), ["a"]),
    ("text_list", {"a"}, ["a"]),
    ("text_list", frozenset({"a"}), ["a"]),
    ("text_list", [], []),
    ("property_list", ("string:Sender",), ["string:Sender"]),
    ("choice", "a", "a"),
    ("one_of", "b", "b"),
]


@pytest.mark.parametrize(("parser", "value", "expected"), GOOD)
def test_a_good_value_is_parsed(parser: str, value: Any, expected: Any) -> None:
    parsed = PARSERS[parser](value, "f")
    assert parsed == expected
    assert type(parsed) is type(expected)


BAD: list[tuple[str, Any, str]] = [
    ("boolean", "yes", "f: 'yes' is neither true nor false; use True or False"),
    ("boolean", 1, "f: 1 is neither true nor false; use True or False"),
    ("integer", 2, "f: 2 is not a whole number of 3 or more"),
    ("integer", "2", "f: '2' is not a whole number of 3 or more"),
    ("integer", True, "f: True is not a whole number of 3 or more"),
    ("integer", 3.0, "f: 3.0 is not a whole number of 3 or more"),
    ("integer", "\u0663", "f: '\u0663' is not a whole number of 3 or more"),
    ("integer", "-4", "f: '-4' is not a whole number of 3 or more"),
    ("seconds", 0, "f: 0 is not a number of seconds above 0"),
    ("seconds", True, "f: True is not a number of seconds above 0"),
    ("seconds", "soon", "f: 'soon' is not a number of seconds above 0"),
    ("seconds", "nan", "f: 'nan' is not a number of seconds above 0"),
    ("seconds", float("inf"), "f: inf is not a number of seconds above 0"),
    ("seconds", [1], "f: [1] is not a number of seconds above 0"),
    ("text", 7, "f: 7 is not text but a number; put it in quotes."),
    ("text", 7.5, "f: 7.5 is not text but a number; put it in quotes."),
    ("text", True, "f: True is not text; put it in quotes, or leave it out"),
    ("text", ["a"], "f: ['a'] is not text; put it in quotes, or leave it out"),
    ("text", "None", "f: 'None' is what a template renders where there is no value"),
    ("text", "NOTSET", "f: 'NOTSET' is what a template renders where there is no value"),
    ("filled_text", "", "f: it is empty; check the template that it comes from, or leave it out"),
    ("filled_text", " \n", "f: it is empty; check the template that it comes from, or leave it out"),
    ("project", "a b", "f: 'a b' is not allowed; use letters, digits, '-', '_' and '.', 1 to 1024 characters"),
    ("project", "", "f: it is empty"),
    ("source_name", "a.b", "f: 'a.b' is not allowed; use letters, digits, '-' and '_', 1 to 256 characters"),
    ("source_name", "", "f: it is empty"),
    ("identifier", 1.2e16, "f: 1.2e+16 is a number and no longer the id"),
    ("identifier", -1, "f: -1 is not an id; check the template or the task"),
    ("identifier", True, "f: True is not an id; check the template or the task"),
    ("identifier", " ", "f: ' ' is not an id; check the template or the task"),
    ("identifier", " None ", "f: ' None ' is not an id; check the template or the task"),
    ("identifier", "NOTSET", "f: 'NOTSET' is not an id; check the template or the task"),
    ("text_list", "a", "f: 'a' is not a list of texts; give a list"),
    ("text_list", [1], "f: [1] is not a list of texts; give a list"),
    ("text_list", ["a", None], "f: ['a', None] is not a list of texts; give a list"),
    ("property_list", ["Sender"], "f: 'Sender' is not allowed; use string:<name> or number:<name>"),
    ("choice", "c", "f: 'c' is not one of a, b"),
    ("choice", ["a"], "f: ['a'] is not one of a, b"),
    ("one_of", "c", "f: 'c' is not one of a, b"),
]


@pytest.mark.parametrize(("parser", "value", "message"), BAD)
def test_a_bad_value_is_refused_with_the_field_and_the_value(parser: str, value: Any, message: str) -> None:
    with fails(ConfigurationError) as caught:
        PARSERS[parser](value, "f")
    assert caught.text.startswith(message)


@pytest.mark.parametrize("nothing", [None, ArgNotSet()])
@pytest.mark.parametrize("parser", PARSERS)
def test_an_argument_that_rendered_to_nothing_is_refused(parser: str, nothing: Any) -> None:
    with fails(ConfigurationError) as caught:
        PARSERS[parser](nothing, "f")
    assert caught.text.startswith(f"f: it was given, but there is no value ({nothing}); check the template or the task")


def test_a_long_value_is_cut_in_a_message() -> None:
    with fails(ConfigurationError) as caught:
        arguments.boolean("x" * 1000, "f")
    assert f"f: '{'x' * 79}... (1002 characters) is neither" in caught.text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("title", "", ""),
        ("description", "", ""),
        ("should_translate", "true", True),
        ("sensitive_properties", ("number:NPS",), ["number:NPS"]),
        ("bucket_id", 12, "12"),
        ("language", "en", "en"),
    ],
)
def test_the_value_of_a_field_is_parsed_by_its_type(name: str, value: Any, expected: Any) -> None:
    assert arguments.setting(value, name) == expected


@pytest.mark.parametrize("name", ["language", "kind", "email_transform_tag"])
def test_a_field_without_a_parser_of_its_own_must_not_be_empty(name: str) -> None:
    with fails(ConfigurationError) as caught:
        arguments.setting(" ", name)
    assert caught.text.startswith(f"{name}: it is empty")
    with fails(ConfigurationError) as caught:
        arguments.setting(" ", name, "match.x")
    assert caught.text.startswith("match.x: it is empty")


def test_not_given_is_one_false_object() -> None:
    assert not NOT_GIVEN
    assert copy.deepcopy(NOT_GIVEN) is NOT_GIVEN
    assert str(NOT_GIVEN) == repr(NOT_GIVEN) == "(not given)"


def test_an_address_is_an_id_or_a_project_and_a_name() -> None:
    by_id = source_address(NOT_GIVEN, NOT_GIVEN, "1f")
    assert by_id == SourceAddress("1f", "", "")
    assert str(by_id) == "source id:1f"
    by_name = source_address("acme", "inbox", NOT_GIVEN)
    assert by_name == SourceAddress(None, "acme", "inbox")
    assert str(by_name) == "source acme/inbox"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("acme", NOT_GIVEN, "1f"), "source_id: it was given together with project or source_name"),
        ((NOT_GIVEN, "inbox", "1f"), "source_id: it was given together with project or source_name"),
        (("acme", "inbox", "1f"), "source_id: it was given together with project or source_name"),
        (("acme", NOT_GIVEN, NOT_GIVEN), "source_id, or project and source_name: give one of the two"),
        ((NOT_GIVEN, "inbox", NOT_GIVEN), "source_id, or project and source_name: give one of the two"),
        ((NOT_GIVEN, NOT_GIVEN, NOT_GIVEN), "source_id, or project and source_name: give one of the two"),
        (("a b", "inbox", NOT_GIVEN), "project: 'a b' is not allowed"),
        (("acme", "a b", NOT_GIVEN), "source_name: 'a b' is not allowed"),
        ((None, "inbox", NOT_GIVEN), "project: it was given, but there is no value"),
    ],
)
def test_a_contradictory_or_partial_address_is_refused(given: tuple[Any, Any, Any], message: str) -> None:
    with fails(ConfigurationError) as caught:
        source_address(*given)
    assert caught.text.startswith(message)


@pytest.mark.parametrize("source_id", ["None", " ", 1.2e16, "not an id"])
def test_an_id_that_is_none_names_the_argument(source_id: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^source_id: "):
        source_address(NOT_GIVEN, NOT_GIVEN, source_id)
