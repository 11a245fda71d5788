"""Names and ids that the API cannot take are refused, with the field and the rule."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_cm.api import ConfigurationError
from airflow_provider_cm.api.names import check_project, check_source_id, check_source_name
from tests.unit.api.support import fails

BAD_ANYWHERE: list[Any] = [
    "", "a/b", "a b", "/", " a", "a ", "a\n", "\na", "a\x00", "é", "日本", "a\u200b", "a%2Fb", "..", ".", "a?b", "a#b",
    "a:b", "a\\b", "\u0661", None, 7, b"a", ["a"],
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_ANYWHERE)
@pytest.mark.parametrize("check", [check_project, check_source_name, check_source_id])
def test_a_bad_name_is_refused_with_field_and_remedy(check: Any, value: Any) -> None:
    with fails(ConfigurationError) as caught:
        check(value, "the_field")
    assert caught.text.startswith("the_field: ")
    assert "use " in caught.text or "give " in caught.text
    assert caught.text.isprintable()


@pytest.mark.parametrize("name", ["a", "A-b_9", "support-inbox", "0", "x" * 256, "-", "_"])
def test_good_source_names(name: str) -> None:
    assert check_source_name(name) == name


@pytest.mark.parametrize("name", ["a", "acme-dev", "acme.dev_1", "x" * 1024, "..."])
def test_good_project_names(name: str) -> None:
    assert check_project(name) == name


@pytest.mark.parametrize("value", ["18ba5ce699f8da1f", "ABCDEF0123456789", "0"])
def test_good_ids(value: str) -> None:
    assert check_source_id(value) == value


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (check_source_name, "x" * 257),
        (check_source_name, "x" * 300),
        (check_project, "x" * 1025),
        (check_source_id, "f" * 65),
    ],
)
def test_too_long_a_name_is_cut_in_the_message_and_its_length_told(check: Any, value: str) -> None:
    with fails(ConfigurationError) as caught:
        check(value)
    assert f"({len(value)} characters)" in caught.text
    assert len(caught.text) < 300


@pytest.mark.parametrize("value", ["a.b", "a..b"])
def test_a_source_name_has_no_dots(value: str) -> None:
    with fails(ConfigurationError):
        check_source_name(value)


@pytest.mark.parametrize("value", ["id:18ba5ce699f8da1f", "18ba-5ce6", "xyz", "0x18"])
def test_an_id_is_hexadecimal_and_comes_without_its_prefix(value: str) -> None:
    with fails(ConfigurationError) as caught:
        check_source_id(value)
    assert "without 'id:'" in caught.text
