"""The check of the English finds what it is there for, on the right line, and leaves code alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts import prose
from tests.docs.blocks import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path


def findings(tmp_path: Path, text: str, suffix: str = ".md") -> list[tuple[int, str]]:
    path = tmp_path / f"page{suffix}"
    path.write_text(text)
    return [(each.line, each.text) for each in prose.check(path)]


@pytest.mark.parametrize(
    "text",
    [
        "What would come again fails at once.",
        "What may pass is retried.",
        "It says what becomes of a source.",
        "It accepts what is as asked for.",
        "A task that shall outlast a wait.",
        "What cannot be mended fails.",
        "Of these neither ours nor Python's.",
        "How thin is a call?",
        "A source that exists not in time.",
        "This is the server's word on it.",
        "What Airflow is told of this package.",
        "Work that makes many objects.",
        "It says nothing to it.",
        "The behaviour of an organisation.",
        "The licence is normalised.",
        "It costs an arm and a leg, and goes on for ever.",
    ],
)
def test_a_phrase_that_reads_as_translated_or_british_is_found(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, f"# Title\n\nGood words.\n{text}\n")
    assert findings(tmp_path, f'"""Good words.\n\n{text}\n"""\n', ".py")


def test_a_finding_has_its_line_even_where_the_phrase_is_broken(tmp_path: Path) -> None:
    code = "```python\nx = 'behaviour'\n```"
    page = f"Good.\n\n{code}\n\nIt accepts what is as\nasked for. `behaviour` [x](behaviour.md)\n"
    assert {line for line, _ in findings(tmp_path, page)} == {7}


def test_proselint_runs_too(tmp_path: Path) -> None:
    assert findings(tmp_path, "Good.\n\nIt is very unique.\n")[0][0] == 3


def test_code_is_no_prose(tmp_path: Path) -> None:
    module = '''from __future__ import annotations


def f(organisation: str) -> str:
    """Return ``behaviour``, see :func:`normalise`.

    .. code-block:: python

        f("mend the behaviour, shall we")
    """
    return organisation  # noqa: E501
'''
    assert findings(tmp_path, module, ".py") == []


def test_comments_messages_and_names_are_checked(tmp_path: Path) -> None:
    module = '''from __future__ import annotations


def f(told: str) -> str:
    """Give the text."""
    said = told  # mend this
    raise ValueError("the text shall be here")
'''
    assert findings(tmp_path, module, ".py") == [
        (4, "told"),
        (5, "Give"),
        (6, "mend"),
        (6, "said"),
        (7, "shall"),
    ]


def test_generated_tables_are_left_to_the_code_that_they_come_from(tmp_path: Path) -> None:
    page = "<!-- messages -->\n\n| it shall |\n\n<!-- /messages -->\n\nIt shall.\n"
    assert findings(tmp_path, page) == [(7, "shall")]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_the_pages_are_clean(page: Path) -> None:
    assert list(map(str, prose.check(page))) == []
