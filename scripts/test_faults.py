"""``make test-faults``: random calls, rollouts, waits and loads under faults; the figures are for docs/reliability.md.

Usage: ``python -m scripts.test_faults [--seed N] [--operations N] [--applies N] [--waits N] [--loads N]
[--report FILE]``. Two processes run in parallel, each with its own seed, derived from the printed one: ``--seed``
repeats a failure. The page itself is written by hand, except for the blocks ``figures: NAME``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import figures

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 2
STEPS = 50
SECONDS = 1800


@dataclass
class Machine:
    """One of the four.

    :param name: file of its test, and name of its seed in the report.
    :param least: how many it must have made, in all processes.
    :param env: what tells a process how many to make.
    :param counted: what one operation is called.
    """

    name: str
    least: int
    env: dict[str, str]
    counted: str
    tally: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def made(self) -> int:
        """How many it has made."""
        return sum(count for kind, count in self.tally["operations"].items() if kind != "in peace")

    def run(self, seed: int) -> bool:
        """Run it in some processes; whether all went well."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-faults-") as folder:
            reports = [Path(folder) / f"{number}.json" for number in range(PROCESSES)]
            # Far apart, since each rollout and each wait takes the next one.
            runs = [self._start((seed + number * 500_000) % 10**9, report) for number, report in enumerate(reports)]
            failed = [run.wait(timeout=SECONDS) != 0 for run in runs]
            if any(failed):
                return False
            self.tally = merge([json.loads(report.read_text()) for report in reports])
        self.seconds = time.monotonic() - started
        return True

    def _start(self, seed: int, report: Path) -> subprocess.Popen[bytes]:
        env = os.environ | {"FAULT_SEED": str(seed), "FAULT_REPORT": str(report)} | self.env
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
        return subprocess.Popen([*command, f"tests/faults/{self.name}"], cwd=ROOT, env=env)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--applies", type=int, default=5_000)
    parser.add_argument("--waits", type=int, default=1_000)
    parser.add_argument("--loads", type=int, default=20_000)
    parser.add_argument("--report", type=Path, default=ROOT / "docs/reliability.md")
    args = parser.parse_args()
    # A few more examples than needed: hypothesis ends some of them early.
    examples = args.operations // PROCESSES // STEPS * 12 // 10 + 1
    machines = [
        Machine(
            "test_model.py",
            args.operations,
            {"FAULT_EXAMPLES": str(examples), "FAULT_STEPS": str(STEPS)},
            "calls",
        ),
        Machine("test_rollouts.py", args.applies, {"FAULT_APPLIES": share(args.applies)}, "applies"),
        Machine("test_waits.py", args.waits, {"FAULT_WAITS": share(args.waits)}, "waits"),
        Machine("test_loads.py", args.loads, {"FAULT_LOADS": share(args.loads)}, "loads"),
    ]
    print(f"seed {args.seed} (replay with --seed {args.seed})", flush=True)
    for machine in machines:
        print(f"{machine.counted}: {machine.least} at least", flush=True)
        if not machine.run(args.seed):
            print(f"\nFAILED with seed {args.seed}")
            return 1
        faults = sum(machine.tally["faults"].values())
        print(
            f"{machine.made} {machine.counted}, {faults} faults: 0 broken oracles; {machine.seconds:.0f} s", flush=True
        )
        if machine.made < machine.least:
            print(f"FAILED: fewer than {machine.least} {machine.counted}")
            return 1
    for name, text in blocks(args.seed, machines).items():
        figures.write(args.report, name, text)
    return 0


def share(number: int) -> str:
    """Return the share of each process."""
    return str(-(-number // PROCESSES))


def merge(tallies: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: Counter() for key in ("operations", "faults", "settings")}
    outcomes: dict[str, Counter[str]] = {}
    for tally in tallies:
        for key, counter in merged.items():
            counter.update(tally[key])
        for kind, ended in tally["outcomes"].items():
            outcomes.setdefault(kind, Counter()).update(ended)
    return {**merged, "outcomes": outcomes, "requests": sum(tally["requests"] for tally in tallies)}


def blocks(seed: int, machines: list[Machine]) -> dict[str, str]:
    """Write the blocks of docs/reliability.md.

    :param seed: of the run.
    :param machines: all of them, after the run.
    :return: Markdown, by the block's name.
    """
    unknown = sum(ended["OutcomeUnknownError"] for ended in machines[0].tally["outcomes"].values())
    rows = {
        "made": [machine.made for machine in machines],
        "requests that reached the proxy": [machine.tally["requests"] for machine in machines],
        "faults": [sum(machine.tally["faults"].values()) for machine in machines],
        "values of settings that are not the default": [len(machine.tally["settings"]) for machine in machines],
        "broken oracles": [0 for _ in machines],
        "seconds": [f"{machine.seconds:.0f}" for machine in machines],
    }
    faults: Counter[str] = Counter()
    for machine in machines:
        faults.update(machine.tally["faults"])
    command = f"python -m scripts.test_faults --seed {seed}"
    summary = [
        f"| {datetime.now(UTC):%Y-%m-%d} | {' | '.join(machine.counted for machine in machines)} |",
        f"|---|{'---|' * len(machines)}",
        *(f"| {name} | {' | '.join(str(cell) for cell in cells)} |" for name, cells in rows.items()),
        "",
        f"Python {platform.python_version()}, requests {version('requests')}; again: `{command}`.",
        f"`OutcomeUnknownError`: {unknown} ({unknown / machines[0].made:.1%} of the calls).",
    ]
    table = ["| fault | times |", "|---|---|", *(f"| {fault} | {count} |" for fault, count in faults.most_common())]
    return {
        "fault machines": "\n".join(summary),
        **{machine.counted: outcomes(machine) for machine in machines},
        "faults": "\n".join(table),
    }


def outcomes(machine: Machine) -> str:
    """Write a table of how one machine's operations ended."""
    by_kind = machine.tally["outcomes"]
    kinds = sorted(by_kind)
    ends = sorted({end for ended in by_kind.values() for end in ended}, key=lambda end: (end != "success", end))
    return "\n".join(
        [
            f"| | {' | '.join(kinds)} |",
            f"|---|{'---|' * len(kinds)}",
            *(f"| {end} | {' | '.join(str(by_kind[kind][end]) for kind in kinds)} |" for end in ends),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
