"""``make test-faults``: at least 20,000 random calls with faults, and docs/reliability.md written from what happened.

Usage: ``test_faults.py [--seed N] [--operations N] [--report FILE]``. Two processes work side by side, each with a seed
of its own that follows from the one printed, so that a failure replays with ``--seed``.
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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 2
STEPS = 50
SECONDS = 600
MUTANTS = "<!-- mutation score: written by make mutants -->"
INTRODUCTION = """# Reliability

Written by `make test-faults`; no figure here is typed by hand.

Random sequences of create, update, delete, get and list by two clients (a developer token and an external application)
run against the emulator, through a proxy that loses, cuts, holds back and delays what passes. The emulator answers
wrongly, a rival changes the same source at any point of a call, and the settings for what nobody outside the vendor
knows are drawn too. Every result is checked against the server's own record of what it did and when:

- what is reported as the state of a source was its state at some moment of the call;
- a reported conflict, missing source or failure is true in the same sense, and after a failure nothing of it is there;
- a source that was there before is never reported as created, and never changed by a create unless the server treats
  PUT as an upsert;
- after a write whose outcome is in doubt, the source is read before the write is repeated;
- an outcome is called unknown only when the attempts are spent, or when reading back is refused;
- no call takes more than its time, or more requests than its policy allows.

Two limits. A source that somebody else created less than two seconds before a create whose response was lost, and with
the same values, cannot be told from that create's own work, since the server's clock is known to the second only.
Between the calls here the clock moves on by more. And a write whose response was lost, and whose work somebody else
undid before it was read back, looks as if it had never been carried out.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--report", type=Path, default=ROOT / "docs/reliability.md")
    args = parser.parse_args()
    print(f"seed {args.seed}: {args.operations} operations at least (replay with --seed {args.seed})", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-faults-") as folder:
        reports = [Path(folder) / f"{number}.json" for number in range(PROCESSES)]
        # A few more examples than needed: hypothesis ends some of them early.
        examples = args.operations // PROCESSES // STEPS * 12 // 10 + 1
        runs = [start(args.seed + number, examples, report) for number, report in enumerate(reports)]
        failed = [run.wait(timeout=SECONDS) != 0 for run in runs]
        if any(failed):
            print(f"\nFAILED with seed {args.seed}")
            return 1
        tally = merge([json.loads(report.read_text()) for report in reports])
    total = sum(tally["operations"].values())
    unknown = sum(ended.get("OutcomeUnknownError", 0) for ended in tally["outcomes"].values())
    print(f"{total} operations, {tally['requests']} requests, {sum(tally['faults'].values())} faults: 0 broken oracles")
    print(f"OutcomeUnknownError: {unknown} ({unknown / total:.1%}); {time.monotonic() - started:.0f} s")
    if total < args.operations:
        print(f"FAILED: fewer than {args.operations} operations")
        return 1
    args.report.parent.mkdir(exist_ok=True)
    # make mutants writes the page's end.
    mutants = args.report.read_text().partition(MUTANTS)[2] if args.report.exists() else ""
    text = write_report(args.seed, tally, time.monotonic() - started)
    args.report.write_text(f"{text}\n{MUTANTS}{mutants}" if mutants else text)
    return 0


def start(seed: int, examples: int, report: Path) -> subprocess.Popen[bytes]:
    env = os.environ | {"FAULT_EXAMPLES": str(examples), "FAULT_STEPS": str(STEPS), "FAULT_REPORT": str(report)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
    return subprocess.Popen([*command, "tests/faults/test_model.py"], cwd=ROOT, env=env)


def merge(tallies: list[dict[str, Any]]) -> dict[str, Any]:
    operations: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {}
    for tally in tallies:
        operations.update(tally["operations"])
        faults.update(tally["faults"])
        for kind, ended in tally["outcomes"].items():
            outcomes.setdefault(kind, Counter()).update(ended)
    requests = sum(tally["requests"] for tally in tallies)
    return {"operations": operations, "faults": faults, "outcomes": outcomes, "requests": requests}


def write_report(seed: int, tally: dict[str, Any], seconds: float) -> str:
    kinds = sorted(tally["operations"])
    ends = sorted(
        {end for ended in tally["outcomes"].values() for end in ended}, key=lambda end: (end != "success", end)
    )
    total = sum(tally["operations"].values())
    unknown = sum(ended["OutcomeUnknownError"] for ended in tally["outcomes"].values())
    lines = [
        INTRODUCTION,
        f"| | {datetime.now(UTC):%Y-%m-%d} |",
        "|---|---|",
        f"| operations | {total} |",
        f"| requests that reached the proxy | {tally['requests']} |",
        f"| faults | {sum(tally['faults'].values())} |",
        "| broken oracles | 0 |",
        f"| `OutcomeUnknownError` | {unknown} ({unknown / total:.1%} of the operations) |",
        f"| seed | {seed} (`python scripts/test_faults.py --seed {seed}`) |",
        f"| time | {seconds:.0f} s, Python {platform.python_version()}, requests {version('requests')} |",
        "",
        "## How the operations ended",
        "",
        f"| | {' | '.join(kinds)} |",
        f"|---|{'---|' * len(kinds)}",
        *(f"| {end} | {' | '.join(str(tally['outcomes'][kind][end]) for kind in kinds)} |" for end in ends),
        "",
        "## What went wrong on purpose",
        "",
        "`answer:` is the emulator's fault layer, the rest is the proxy between client and emulator.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {fault} | {count} |" for fault, count in tally["faults"].most_common()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
