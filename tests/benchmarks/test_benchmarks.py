"""Benchmarks do not rot: each runs, in a quick mode, has a question, and stands in the document."""

from __future__ import annotations

import importlib
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import comparing, loading_memory, run
from benchmarks.comparing import Answer, Figure, Samples

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
# What the benchmarks share, and those that are commands of their own.
OTHERS = {"comparing", "figures", "loading_memory", "loopback", "run", "waiting"}


def test_every_benchmark_is_run_by_make_bench() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == OTHERS | set(run.NAMES)


@pytest.mark.parametrize("name", run.NAMES)
def test_the_first_line_is_a_question_which_the_document_answers(name: str) -> None:
    first = (ROOT / "benchmarks" / f"{name}.py").read_text().splitlines()[0]
    assert first.startswith('"""')
    assert first.endswith("?")
    _, _, section = DOCUMENT.read_text().partition(f"\n## {first.removeprefix(chr(34) * 3)}\n")
    assert "| ours |" in section.partition("\n## ")[0]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for what runs in one of its own: it would import Airflow once more, for seconds."""

    def call(function: Callable[..., Any], *arguments: Any, level: str = "") -> Any:
        return function(*arguments)

    monkeypatch.setattr(comparing, "fresh", call)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", run.NAMES)
def test_it_runs(name: str) -> None:
    threads = threading.active_count()
    answer = importlib.import_module(f"benchmarks.{name}").measure(quick=True)
    assert answer.figures
    assert all(str(figure.ours) for figure in answer.figures)
    assert len(answer.markdown().splitlines()) >= len(answer.figures) + 2
    assert not [variable for variable in os.environ if variable in {"AIRFLOW_CONN_OURS", "AIRFLOW_CONN_HTTP"}]
    assert threading.active_count() <= threads + 16  # the threads that poll stay


def test_what_runs_in_a_process_of_its_own_gives_its_result() -> None:
    assert comparing.fresh(comparing.number, 1234.5) == "1,234"


def test_a_process_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match="must be real number"):
        comparing.fresh(comparing.number, "no number")


def test_contenders_take_turns() -> None:
    order: list[str] = []
    comparing.interleaved(3, {name: partial(order.append, name) for name in ("one", "two")})
    assert order == ["one", "two", "two", "one", "one", "two"]


def test_a_ratio_is_that_of_the_turns() -> None:
    assert Samples([1.0, 30.0, 3.0], "s").over(Samples([2.0, 20.0, 6.0], "s")).values == [0.5, 1.5, 0.5]


@pytest.mark.parametrize(
    ("values", "text"), [([0.01234], "0.0123 s"), ([3.0, 1.0, 2.0], "2.00 s (1.00 to 3.00)"), ([0.0], "0 s")]
)
def test_samples_show_their_spread(values: list[float], text: str) -> None:
    assert str(Samples(values, "s")) == text


def test_a_missed_goal_is_told_with_its_reason() -> None:
    missed = Answer([Figure("time", "2 s", goal="1 s", met=False)], shortfall="it is hard.")
    assert "1 s: **missed**" in missed.markdown()
    assert "it is hard." in missed.markdown()
    assert (
        "it is hard." not in Answer([Figure("time", "1 s", goal="1 s", met=True)], shortfall="it is hard.").markdown()
    )


def test_the_document_opens_with_the_ten_figures_that_matter() -> None:
    opening = DOCUMENT.read_text().partition("\n## ")[0]
    rows = [line.split(" | ") for line in opening.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [label for _, _, label in run.HIGHLIGHTS]
    assert len(rows) == 10
    text = DOCUMENT.read_text()
    for name, what, _ in run.HIGHLIGHTS:
        section = text[text.index(f"(../benchmarks/{name}.py)") :].partition("\n## ")[0]
        assert f"\n| {what} | " in section, (name, what)


def test_a_highlight_has_the_figure_and_the_verdict_of_its_benchmark() -> None:
    answer = Answer([Figure("other", 1), Figure("time", "3 ms", "4 ms", 0.75, "less", met=False)], "theirs")
    row = run.highlights({"discovery": answer}).splitlines()[2:]
    label = "provider discovery, in each Airflow process"
    assert row == [f"| {label} | 3 ms | theirs: 4 ms | 0.75 | less: **missed** |"]


@pytest.mark.parametrize("case", ["generator", "jsonl.gz", "sqlite"])
def test_the_memory_of_a_load_is_measured_in_a_process_of_its_own(tmp_path: Path, case: str) -> None:
    loading_memory.write_data(tmp_path, 10, [case], None)
    with loading_memory.serving() as url:
        env = loading_memory.environment(url, tmp_path, (10,), None)
        figures = loading_memory.measured(case, 10, tmp_path, env)
    assert 30 < figures["mib"] < 500
    assert figures["seconds"] > 0
