"""Errors are pickled on their way out of a process: every class of ours arrives as it was."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from typing import Any

import pytest

import airflow_provider_cm
from airflow_provider_cm.loading.shapes import BadRowError
from airflow_provider_cm.rollout import Manifest, ManifestError
from tests.features import has

# What needs a newer Airflow refuses to be imported, and a __main__ starts a program.
PASSED_OVER = {"__main__"} | {
    name for name, feature in {"policies": "retry policies", "approval": "approvals"}.items() if not has(feature)
}


def error_classes() -> list[type[Exception]]:
    found = set()
    for each in pkgutil.walk_packages(airflow_provider_cm.__path__, "airflow_provider_cm."):
        if each.name.rpartition(".")[2] not in PASSED_OVER:
            for item in vars(importlib.import_module(each.name)).values():
                if isinstance(item, type) and issubclass(item, Exception) and item.__module__ == each.name:
                    found.add(item)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def made(kind: type[Exception]) -> Exception:
    """Make an error with all that it can carry."""
    if kind is ManifestError:
        with pytest.raises(ManifestError) as raised:
            Manifest.parse("project: p\nsources:\n  - {name: a, titel: x}\n  - {name: b c}\n", filename="x.yaml")
        return raised.value
    if kind is BadRowError:
        return kind("id", "there is none", "every message needs one", "mapping")
    facts: dict[str, Any] = {
        "transient": True,
        "method": "PUT",
        "path": "sources/a/b",
        "status": 409,
        "api_message": "no",
        "attempts": 3,
        "platform_ms": 1.5,
        "retry_after": 7.0,
        "differences": {"title": ("a", "b")},
        "error": "invalid_client",
    }
    for names in (
        facts,
        facts.keys() - {"differences", "error"},
        facts.keys() - {"differences"},
        facts.keys() - {"error"},
        {"retry_after"},
        set[str](),
    ):
        try:
            return kind("it went wrong", **{name: facts[name] for name in names})
        except TypeError:
            continue
    return kind(409, "it went wrong")


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[Exception]) -> None:
    error = made(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.args == error.args


def test_they_are_all_found() -> None:
    names = {kind.__name__ for kind in error_classes()}
    assert {"CommsMiningError", "ManifestError", "PlanError", "CommsMiningFailure", "ConflictError"} <= names
