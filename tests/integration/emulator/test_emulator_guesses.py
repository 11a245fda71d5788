"""docs/guesses.md: a line for each setting, which says what is a fact and what is a guess, and on what evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_cm.emulator import EmulatorSettings
from airflow_provider_cm.emulator.settings import describe

PAGE = (Path(__file__).parents[3] / "docs" / "guesses.md").read_text(encoding="utf-8")
LINES = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))


def test_the_page_has_a_line_for_each_setting_and_no_other() -> None:
    assert list(LINES) == [name for name, *_ in describe()]
    assert set(LINES) == set(EmulatorSettings.model_fields)


@pytest.mark.parametrize("name", EmulatorSettings.model_fields)
def test_each_line_says_what_is_a_fact_and_what_a_guess(name: str) -> None:
    text = LINES[name]
    assert re.search(r"\b(fact|guess)\b", text), text
    # A fact has a source, and its source is not the schema of 2021 alone.
    for sentence in re.findall(r"[^.;]*\bfact\b[^.;]*", text):
        assert re.search(r"contract of 2025|page|tests|number is from", sentence), sentence
    # A guess has evidence, or says that there is none.
    assert re.search(r"guess[:;,] |without evidence|contract of 2025|page|tests", text), text
