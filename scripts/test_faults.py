"""``make test-faults``: random calls, rollouts, waits and loads under faults; docs/reliability.md is written from them.

Usage: ``test_faults.py [--seed N] [--operations N] [--applies N] [--waits N] [--loads N] [--report FILE]``.
Two processes work side by side, each with a seed of its own that follows from the one printed, so that a failure
replays with ``--seed``.
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

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 2
STEPS = 50
SECONDS = 1800
INTRODUCTION = """# Reliability

Written by `make test-faults`; no figure here is typed by hand.

Four machines draw calls, rollouts, waits and loads against the emulator, through a proxy that loses, cuts, holds back
and delays what passes, and sends interim responses (100, 102, 103). The emulator answers wrongly, or with JSON that few
parsers and databases take; somebody else changes the same sources at any point. Every setting of the emulator is
drawn, so also replicas that lag behind, a gateway with another clock, names that mind no case, a token that may only
read. What the client reports is checked against the server's own record of what it did and when. An oracle is a rule
that such a report must keep.
"""
CALLS = """## Calls

Create, update, delete, get and list, by a developer token and an external application.

- What is reported as the state of a source was its state at some moment of the call.
- A reported conflict, missing source or failure is true in the same sense, and after a failure nothing of it is there.
- A source that was there before is never reported as created, and never changed by a create unless the server treats
  PUT as an upsert.
- After a write whose outcome is in doubt, the source is read before the write is repeated.
- An outcome is called unknown only when the attempts are spent, when reading back is refused, or when a source is
  there of which the server's clocks do not say who made it.
- No call takes more than its time, or more requests than its policy allows.
"""
ROLLOUTS = """## Rollouts

A plan is applied, by one or by two at once, after and among edits by somebody else; then once more in peace.

- No action is reported done, confirmed or unchanged that was not so at some moment after the apply began.
- Nothing is changed that the plan does not name, and nothing is written but what it says.
- A delete meets only what was as planned within a second before it was sent, and never what is protected.
- Where nothing was in the way, everything is done; and a plan after a clean apply has nothing to do.
"""
WAITS = """## Waits

Triggers wait for `exists`, `absent`, `updated`, `has_messages` and `match`, among changes and failures.

- A wait that ends well was true between the beginning of its last poll and its end, and shows a source that was there.
- A wait ends with an error only where something went wrong.
- A wait does not time out where three polls in a row could have ended it.
"""
LOADS = """## Loads

Rows, good and bad, some of them in the source already, are loaded; when a load fails or is killed it is tried again,
with or without the checkpoint that it left, sometimes with other rows in front or in the middle; and at last in peace.

- A load that reports success has stored every good row as it is, and lists exactly the bad ones.
- Its report adds up, and never claims more billable messages than the server has billed.
- At the end the source holds the rows, and the bill is the number of distinct pairs of id and text that were not there
  before, whatever was lost, repeated and killed on the way.
- With nothing in the way a load fails only for what is wrong with the rows.
"""
LIMITS = """## What no client could know

- While a replica lags by more than the second look waits for (two seconds for calls and rollouts; a shorter time in
  these waits), what it still shows counts as shown, and a refusal may hide an earlier attempt that was carried out.
- A source that somebody else created less than ten seconds before a create whose response was lost, with the same
  values, cannot be told from that create's own work, and an older one neither if the gateway's clock is behind.
- An upsert that moves no timestamp looks like a create.
- Where the server shows no bucket, one's own source with a bucket is taken for another after a lost response.
- A write whose response was lost, and whose work somebody else undid before it was read back, looks as if it had never
  been carried out.
"""


@dataclass
class Machine:
    """One of the four.

    :param name: file of its test, and name of its seed in the report.
    :param least: how many it must have made, in all processes.
    :param env: what tells a process how many to make.
    :param words: of its part of the report.
    :param counted: what one operation is called.
    """

    name: str
    least: int
    env: dict[str, str]
    words: str
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
            CALLS,
            "calls",
        ),
        Machine("test_rollouts.py", args.applies, {"FAULT_APPLIES": share(args.applies)}, ROLLOUTS, "applies"),
        Machine("test_waits.py", args.waits, {"FAULT_WAITS": share(args.waits)}, WAITS, "waits"),
        Machine("test_loads.py", args.loads, {"FAULT_LOADS": share(args.loads)}, LOADS, "loads"),
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
    args.report.parent.mkdir(exist_ok=True)
    args.report.write_text(write_report(args.seed, machines))
    return 0


def share(number: int) -> str:
    """Give what each process has to make."""
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


def write_report(seed: int, machines: list[Machine]) -> str:
    unknown = sum(ended["OutcomeUnknownError"] for ended in machines[0].tally["outcomes"].values())
    rows = {
        "made": [machine.made for machine in machines],
        "requests that reached the proxy": [machine.tally["requests"] for machine in machines],
        "faults": [sum(machine.tally["faults"].values()) for machine in machines],
        "values of settings that are not the default": [len(machine.tally["settings"]) for machine in machines],
        "broken oracles": [0 for _ in machines],
        "seconds": [f"{machine.seconds:.0f}" for machine in machines],
    }
    made_with = (
        f"Python {platform.python_version()}, requests {version('requests')}, seed {seed}: "
        f"`python scripts/test_faults.py --seed {seed}`.\n`OutcomeUnknownError`: {unknown} "
        f"({unknown / machines[0].made:.1%} of the calls)."
    )
    faults: Counter[str] = Counter()
    for machine in machines:
        faults.update(machine.tally["faults"])
    lines = [
        INTRODUCTION,
        f"| {datetime.now(UTC):%Y-%m-%d} | {' | '.join(machine.counted for machine in machines)} |",
        f"|---|{'---|' * len(machines)}",
        *(f"| {name} | {' | '.join(str(cell) for cell in cells)} |" for name, cells in rows.items()),
        "",
        made_with,
        "",
        LIMITS,
        *(line for machine in machines for line in part(machine)),
        "## What went wrong on purpose",
        "",
        "`answer:` is the emulator's fault layer, the rest is the proxy between client and emulator.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {fault} | {count} |" for fault, count in faults.most_common()),
        "",
    ]
    return "\n".join(lines)


def part(machine: Machine) -> list[str]:
    """Give one machine's part: its oracles, and how its operations ended."""
    outcomes = machine.tally["outcomes"]
    kinds = sorted(outcomes)
    ends = sorted({end for ended in outcomes.values() for end in ended}, key=lambda end: (end != "success", end))
    return [
        machine.words,
        f"| | {' | '.join(kinds)} |",
        f"|---|{'---|' * len(kinds)}",
        *(f"| {end} | {' | '.join(str(outcomes[kind][end]) for kind in kinds)} |" for end in ends),
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
