"""Runs all benchmarks, one after the other, and writes docs/performance.md from what they find.

Usage: ``python -m benchmarks.run [--quick] [--document FILE] [NAME ...]``; without a file, the document is printed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import comparing

if TYPE_CHECKING:
    from benchmarks.comparing import Answer

NAMES = (
    "parse_cost",
    "discovery",
    "thin_call",
    "create_task",
    "apply_creates",
    "no_op",
    "growth",
    "waiting_growth",
    "task_cost",
    "emulator_messages",
    "loading",
)
PACKAGES = (
    "airflow-provider-cm",
    "apache-airflow",
    "apache-airflow-task-sdk",
    "requests",
    "urllib3",
    "tenacity",
    "pydantic",
    *(f"apache-airflow-providers-{name}" for name in ("common-compat", "http", "dbt-cloud", "databricks", "airbyte")),
)
INTRODUCTION = """# Performance

Written by `make bench`. The ten figures that matter come first; each section below says how it was measured. A
figure is a median, with the smallest and the largest value in brackets. Contenders take turns on one machine, and a
ratio is the median of the turns' ratios: trust it more than the times. [Waiting](waiting.md#measured) compares
1,000 waiting tasks with the http provider's sensor."""

# The ten figures that matter: which benchmark has each one, what it is called there, and what it is called on top.
HIGHLIGHTS = (
    ("parse_cost", "time, compared with http, operator and sensor", "import of all operators, at each DAG parse"),
    ("discovery", "time", "provider discovery, in each Airflow process"),
    ("thin_call", "time of a call, no line in the log", "one call"),
    ("create_task", "time of a create", "one create"),
    ("task_cost", "all but Airflow", "one task in a new process, without Airflow's own imports"),
    ("apply_creates", "time, compared with the limit", "apply of 1,000 creates, 8 workers, 50 ms a response"),
    ("no_op", "time of the task's work, JSON", "reconcile of 10,000 sources without changes, one request"),
    ("no_op", "memory, with a manifest in JSON", "memory of that reconcile"),
    ("waiting_growth", "requests per interval, 1,000 waiting", "requests per interval of 1,000 waits"),
    (
        "waiting_growth",
        "lag, 99th percentile, 1,000 waiting",
        "event loop delay by these, 99th percentile",
    ),
)


def machine() -> str:
    """Return a table of the machine, the versions and the date."""
    model = ""
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        model = next((line.partition(": ")[2] for line in cpus.read_text().splitlines() if "model name" in line), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    facts = {
        "command": "`make bench`",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores{f' ({model})' if model.strip() else ''}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "load before the run (1, 5, 15 minutes)": busy,
        "Python": platform.python_version(),
        **{name: installed for name in PACKAGES if (installed := _version(name))},
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def highlights(answers: dict[str, Answer]) -> str:
    """Write the table of the ten figures that matter.

    :param answers: the results, by benchmark; figures of others are left out.
    """
    lines = ["| | ours | compared with | ratio | goal |", "|---|---|---|---|---|"]
    for name, what, label in HIGHLIGHTS:
        for each in answers[name].figures if name in answers else ():
            if each.what == what:
                verdict = {None: "", True: ": met", False: ": **missed**"}[each.met]
                other = f"{answers[name].other}: {each.other}" if str(each.other) else ""
                lines.append(f"| {label} | {each.ours} | {other} | {each.ratio} | {each.goal}{verdict} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs")
    parser.add_argument("--document", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    arguments = parser.parse_args()
    where, began = machine(), time.monotonic()
    answers, sections = {}, []
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        doc = module.__doc__ or ""
        question = comparing.question(doc)
        print(f"{question} ...", flush=True)
        answer = answers[name] = module.measure(quick=arguments.quick)
        print(f"\n{answer.markdown()}\n", flush=True)
        how = "\n".join(doc.splitlines()[2:]).strip()
        file = f"[benchmarks/{name}.py](../benchmarks/{name}.py)"
        sections.append(f"## {question}\n\n{how} ({file})\n\n{answer.markdown()}")
    where += f"\n| time of the run | {time.monotonic() - began:.0f} s |"
    text = "\n\n".join([INTRODUCTION, highlights(answers), *sections, f"## Where and when\n\n{where}"]) + "\n"
    if arguments.document:
        arguments.document.write_text(text)
    else:
        print(text)
    missed = sum(figure.met is False for answer in answers.values() for figure in answer.figures)
    print(f"{missed} goals were missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
