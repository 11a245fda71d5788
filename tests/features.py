"""What Airflow lacks below some version: the one table that tests are skipped by and docs/compatibility.md shows.

tests/unit/test_compatibility.py looks for each feature in the Airflow that is installed, so the table is wrong on no
version that ``make matrix`` runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import pytest
from packaging.version import Version

AIRFLOW = Version(version("apache-airflow-core"))


@dataclass(frozen=True, slots=True)
class Feature:
    """Something of this package that needs a newer Airflow than the oldest supported one.

    :param title: what it is, as the document calls it.
    :param since: the first Airflow that has it.
    :param before: what a user has below that version.
    """

    title: str
    since: str
    before: str


FEATURES = {
    "approvals": Feature(
        "Approval of a plan in the UI (`ApproveSourcesOperator`, `example_dev_to_prod.py`)",
        "3.1",
        "Importing `airflow_provider_cm.operators.approval` fails and says why; other operators are not affected. Use "
        "two runs instead: a person reads the plan, and gives its digest to the apply (`approved_digest`).",
    ),
    "resumed sensors": Feature(
        "`soft_fail` and `never_fail` of a deferred `SourceSensor` when Airflow's own timeout ends its wait",
        "3.1",
        "Airflow ignores them then: the task fails. They do cover the sensor's own timeout, which comes first while a "
        "triggerer runs, and the trigger's errors.",
    ),
    "alias events": Feature(
        "Lists and objects in the `extra` of an `AssetAlias` event",
        "3.1",
        "They are JSON text: Airflow accepts no other type there, and would fail the finished task.",
    ),
    "connection form": Feature(
        "Fields of our own in the connection form",
        "3.2",
        "The form shows Airflow's own fields; type the others as JSON into *Extra*.",
    ),
    "malformed extra": Feature(
        "An error that names a connection in an environment variable whose `extra` is not JSON",
        "3.2",
        "Airflow refuses it itself, and says that the connection is not defined.",
    ),
    "command line": Feature(
        "`airflow comms-mining ...`",
        "3.2",
        "Airflow knows no such command. Use `airflow connections test`, the operators, or "
        "`airflow_provider_cm.rollout` in a script.",
    ),
    "partition keys": Feature(
        "`partition_key` of loads, for DAGs that are scheduled by partitions of an asset",
        "3.2",
        "It has no effect: asset events have no key.",
    ),
    "resumed loads": Feature(
        "A retry of a load goes on where the try before ended",
        "3.3",
        "A task has no store that survives its try: a retry sends all messages again, which changes nothing and is not "
        "billed again.",
    ),
    "shared polling": Feature(
        "One poll for all tasks that wait for sources of one project (`SourceTrigger`)",
        "3.3",
        "Each waiting task polls for itself.",
    ),
    "asset cursor": Feature(
        "A restarted triggerer does not repeat the last event of a watched asset",
        "3.3",
        "Triggers have no store: after a restart, the first state that the triggerer sees is no event.",
    ),
    "one timeout for all tries": Feature(
        "A retry of a deferred `SourceSensor` continues its `timeout`",
        "3.3",
        "A task has no store across tries: each try has the whole `timeout`.",
    ),
    "retry policies": Feature(
        "`CommsMiningRetryPolicy` (waits as long as the server's `Retry-After` says)",
        "3.3",
        "Importing it fails and says why; the task's own `retries` and `retry_delay` apply.",
    ),
    "test on a worker": Feature(
        "A connection test on a worker, through Airflow's API; the button *Test connection* always runs in the API "
        "server",
        "3.3",
        "Only the API server tests connections, so it must reach the endpoint.",
    ),
}


def has(name: str) -> bool:
    """Return whether the installed Airflow should have a feature, by its version."""
    return Version(AIRFLOW.base_version) >= Version(FEATURES[name].since)


def needs(name: str) -> pytest.MarkDecorator:
    """Mark a test, or a whole module, that only makes sense with a feature."""
    return pytest.mark.skipif(not has(name), reason=f"needs Airflow {FEATURES[name].since} ({name}), this is {AIRFLOW}")


def table() -> str:
    """Return the table of docs/compatibility.md."""
    rows = [f"| {each.title} | {each.since} | {each.before} |" for each in FEATURES.values()]
    return "\n".join(["| what | from Airflow | before that |", "|---|---|---|", *rows])
