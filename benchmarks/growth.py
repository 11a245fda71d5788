"""How does planning scale?

CPU time of `plan` per source, for manifests of 100 to 50,000 sources: a third missing, a third different, a third
unchanged. Also reading the manifest, and making `Source` objects of the listing's JSON. Each is done once in a
fresh process. Other work on the machine can only lengthen a step, so the ratio is that of the shortest times.
"""

from __future__ import annotations

import gc
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_cm.api.models import Source
from airflow_provider_cm.rollout import Manifest, plan
from benchmarks import comparing, loopback
from benchmarks.comparing import Answer, Figure, Samples

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL = 1.3
MANY, FEW = 50_000, 1_000
SIZES = (100, FEW, 10_000, MANY)
STEPS = {
    "plan": "plan",
    "manifest": "reading the manifest",
    "sources": "making `Source` objects",
}
T = TypeVar("T")
TARGET = "https://cloud.uipath.com/acme/dev/reinfer_"


def document(size: int) -> dict[str, Any]:
    """Make a manifest."""
    entries = [{"name": f"source-{n}", "title": f"Source {n}", "sensitive_properties": []} for n in range(size)]
    return {"project": "acme-dev", "defaults": {"should_translate": False}, "sources": entries}


def listing(size: int) -> list[dict[str, Any]]:
    """Make what is there: a third is not, and another third has another title."""
    there = [loopback.source(n, f"source-{n}") for n in range(size) if n % 3]
    for n, source in enumerate(there):
        source["title"] += " of old" if n % 2 else ""
    return there


def timed(work: Callable[[], T], size: int) -> tuple[float, T]:
    """Return microseconds of CPU time a source, and what was made."""
    gc.collect()
    began = time.process_time()
    made = work()
    return (time.process_time() - began) * 1e6 / size, made


def grown(size: int) -> dict[str, float]:
    """Do once what a task does once."""
    there = listing(size)
    # Its text is gone when the plan is made, as in a task.
    read, manifest = timed(partial(Manifest.parse, document(size)), size)
    made, actual = timed(lambda: [Source.parse(each) for each in there], size)
    planned, result = timed(lambda: plan(manifest, actual, target=TARGET), size)
    if result.no_ops not in range(size // 3, size // 3 + 2) or set(result.counts) < {"create", "update"}:
        raise SystemExit(f"this plan is not what was to be measured: {result.summary()}")
    return {"plan": planned, "manifest": read, "sources": made}


def measure(*, quick: bool = False) -> Answer:
    sizes = (30, 60) if quick else SIZES
    contenders = {str(size): partial(comparing.fresh, grown, size) for size in sizes}
    samples = comparing.interleaved(1 if quick else 9, contenders)
    base = sizes[0 if quick else 1]
    figures = []
    for name, what in STEPS.items():
        for size in sizes:
            each, first = (Samples([turn[name] for turn in samples[str(one)]], "µs") for one in (size, base))
            ratio = Samples([min(each.values) / min(first.values)])
            judged = name == "plan" and size == MANY
            goal, met = (f"at most {GOAL}", ratio.median <= GOAL) if judged else ("", None)
            figures.append(Figure(f"{what}, a source of {size:,}", each, first, ratio, goal, met))
    shortfall = (
        "the work is the same for each source; with tens of thousands of them the objects no longer fit into the "
        "processor's caches."
    )
    return Answer(figures, f"of {base:,} sources", shortfall)


if __name__ == "__main__":
    sys.exit(comparing.main(__doc__, measure))
