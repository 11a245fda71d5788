"""What does provider discovery cost every Airflow process?

Time to import and call `get_provider_info()` in a fresh interpreter, and the number of modules that this imports.
Compared with the http provider, in a process that has imported `airflow` already, as its function does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks import comparing
from benchmarks.comparing import ROOT, Answer, Figure, Samples

CODE = """
import __future__, json, sys, time
before = set(sys.modules)
began = time.perf_counter()
from {module} import get_provider_info
get_provider_info()
seconds = time.perf_counter() - began
new = sorted(set(sys.modules) - before)
print(json.dumps([seconds * 1000, new]))
"""
# Importing Airflow may have discovered it, and so have it imported already.
AIRFLOW = "import airflow, sys; sys.modules.pop('airflow.providers.http.get_provider_info', None)"
GOAL = 1.0  # ms
OURS, HTTP = "airflow_provider_cm.get_provider_info", "airflow.providers.http.get_provider_info"


def discovered(module: str, first: str = "") -> tuple[float, list[str]]:
    """Return milliseconds and new modules."""
    code = first + CODE.format(module=module)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    milliseconds, new = json.loads(ended.stdout.splitlines()[-1])
    return milliseconds, new


def measure(*, quick: bool = False) -> Answer:
    contenders: dict[str, Any] = {"ours": partial(discovered, OURS), "http": partial(discovered, HTTP, AIRFLOW)}
    samples = comparing.interleaved(1 if quick else 9, contenders)
    ours, http = (Samples([each[0] for each in samples[name]], "ms") for name in ("ours", "http"))
    new = [name for name in samples["ours"][-1][1] if not name.startswith("airflow_provider_cm")]
    figures = [
        Figure("time", ours, http, ours.over(http), f"under {GOAL:g} ms", ours.median < GOAL),
        Figure("modules imported from outside the package", len(new), "", "", "none", not new),
    ]
    shortfall = "reading two compiled files from this machine's disk takes that long."
    return Answer(figures, "the http provider", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
