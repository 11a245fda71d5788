"""What all benchmarks share: interleaved rounds, medians with their spread, fresh processes, and how they are shown."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Samples:
    """Measured values of one thing.

    :param values: one of each round.
    :param unit: of the values; empty for a ratio.
    """

    values: Sequence[float]
    unit: str = ""

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if len(self.values) == 1:
            return f"{number(self.median)}{unit}"
        return f"{number(self.median)}{unit} ({number(min(self.values))} to {number(max(self.values))})"

    def over(self, other: Samples) -> Samples:
        """Return the ratio of each round; load on the machine moves the median of ratios least."""
        return Samples([one / two for one, two in zip(self.values, other.values, strict=True)])


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    :param what: what was measured.
    :param ours: the figure.
    :param other: the same figure of the program that we compare with, or the limit.
    :param ratio: ours to that.
    :param goal: what it should be; empty where it is only stated.
    :param met: whether it is.
    """

    what: str
    ours: object
    other: object = ""
    ratio: object = ""
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Answer:
    """What a benchmark found.

    :param figures: the lines of its table.
    :param other: the name of the program that we compare with.
    :param shortfall: why a goal is missed; shown only if one is.
    :param notes: further results.
    """

    figures: list[Figure]
    other: str = ""
    shortfall: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether no goal is missed."""
        return all(figure.met is not False for figure in self.figures)

    def markdown(self) -> str:
        """Return the table, the notes, and why a goal is missed."""
        lines = [f"| | ours | {self.other} | ratio | goal |", "|---|---|---|---|---|"]
        for each in self.figures:
            verdict = {None: "", True: ": met", False: ": **missed**"}[each.met]
            lines.append(f"| {each.what} | {each.ours} | {each.other} | {each.ratio} | {each.goal}{verdict} |")
        remarks = [*self.notes, *([f"Why a goal is missed: {self.shortfall}"] if not self.met else [])]
        return "\n\n".join(["\n".join(lines), *remarks])


def number(value: float) -> str:
    """Return a number with three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def interleaved(rounds: int, contenders: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Let each contender go once a round, in turn, so that a busy moment of the machine hits all alike."""
    results: dict[str, list[Any]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            results[name].append(contenders[name]())
    return results


def fresh(function: Callable[..., Any], *arguments: Any, level: str = "ERROR") -> Any:
    """Call a benchmark's function, with arguments and result of JSON, in a process of its own with its own Airflow.

    :param level: Airflow's log level.
    """
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-bench-") as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": level,
        }
        name = Path(sys.modules[function.__module__].__file__ or "").stem
        code = f"from benchmarks import comparing, {name}; comparing.serve({name}.{function.__name__})"
        command = [sys.executable, "-c", code, json.dumps(arguments), str(Path(home) / "result.json")]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if ended.returncode:
            raise SystemExit(f"{name}: a process failed:\n{ended.stdout[-1500:]}\n{ended.stderr[-3000:]}")
        return json.loads((Path(home) / "result.json").read_text())


def serve(function: Callable[..., Any]) -> None:
    """Run a function in the process that :func:`fresh` started."""
    Path(sys.argv[2]).write_text(json.dumps(function(*json.loads(sys.argv[1]))))


@contextmanager
def connections(**settings: Mapping[str, Any]) -> Iterator[None]:
    """Put Airflow connections into the environment, by their ids."""
    names = {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(values) for conn_id, values in settings.items()}
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


def question(doc: str | None) -> str:
    """Return a benchmark's question: the first line of its docstring."""
    return (doc or "").splitlines()[0]


def main(doc: str | None, measure: Callable[..., Answer]) -> int:
    """Run one benchmark by itself; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=question(doc))
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs")
    answer = measure(quick=parser.parse_args().quick)
    print(f"{question(doc)}\n\n{answer.markdown()}")
    return 0 if answer.met else 1
