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

Written by `make bench`; no figure here is typed by hand. A figure is the median, with the smallest and the largest
value in brackets where there are several. Contenders take turns on the same machine in the same run, and a ratio is
the median of the ratios of the turns: it says more than the times, which are this machine's. What the waiting of 1,000
tasks costs beside the http provider's sensor is in [Waiting](waiting.md)."""


def machine() -> str:
    """Say what it ran on, and when."""
    model = ""
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        model = next((line.partition(": ")[2] for line in cpus.read_text().splitlines() if "model name" in line), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    found = {
        "command": "`make bench`",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores{f' ({model})' if model.strip() else ''}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "load before the run (1, 5, 15 minutes)": busy,
        "Python": platform.python_version(),
        **{name: installed for name in PACKAGES if (installed := _version(name))},
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in found.items())])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def summary(found: dict[str, Answer], questions: dict[str, str]) -> str:
    """Give one line for each figure with a goal."""
    lines = ["| question | figure | ours | ratio | goal | |", "|---|---|---|---|---|---|"]
    for name, answer in found.items():
        for each in answer.figures:
            if each.goal:
                verdict = {None: "", True: "met", False: "**missed**"}[each.met]
                cells = (questions[name], each.what, each.ours, each.ratio, each.goal, verdict)
                lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs")
    parser.add_argument("--document", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    arguments = parser.parse_args()
    told, began = machine(), time.monotonic()
    found, questions, sections = {}, {}, []
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        doc = module.__doc__ or ""
        questions[name] = comparing.question(doc)
        print(f"{questions[name]} ...", flush=True)
        answer = found[name] = module.measure(quick=arguments.quick)
        print(f"\n{answer.markdown()}\n", flush=True)
        how = "\n".join(doc.splitlines()[2:]).strip()
        file = f"[benchmarks/{name}.py](../benchmarks/{name}.py)"
        sections.append(f"## {questions[name]}\n\n{how} ({file})\n\n{answer.markdown()}")
    told += f"\n| time of the run | {time.monotonic() - began:.0f} s |"
    text = "\n\n".join([INTRODUCTION, summary(found, questions), *sections, f"## Where and when\n\n{told}"]) + "\n"
    if arguments.document:
        arguments.document.write_text(text)
    else:
        print(text)
    missed = sum(figure.met is False for answer in found.values() for figure in answer.figures)
    print(f"{missed} goals were missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
