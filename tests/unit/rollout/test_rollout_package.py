"""What importing the package costs, and that its names are the functions."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

from airflow_provider_cm import rollout

LOADED = (
    "print(sorted({m.split('.')[0] for m in sys.modules} & {'airflow', 'requests', 'tenacity', 'pydantic', 'yaml'}))"
)


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_imports_no_airflow() -> None:
    code = (
        f"import sys, airflow_provider_cm.rollout as rollout; [getattr(rollout, n) for n in rollout.__all__]; {LOADED}"
    )
    assert _run(code) == "['pydantic', 'yaml']"


@pytest.mark.parametrize("name", ["", ".manifest_errors", ".plan_model", ".planning", ".report", ".rendering"])
def test_what_reads_plans_and_reports_imports_nothing_costly(name: str) -> None:
    assert _run(f"import sys, airflow_provider_cm.rollout{name}; {LOADED}") == "[]"


def test_every_export_is_there_and_no_module_takes_its_place() -> None:
    for module in pkgutil.iter_modules(rollout.__path__):
        importlib.import_module(f"airflow_provider_cm.rollout.{module.name}")
        assert module.name not in rollout.__all__
    assert set(rollout.__all__) == set(rollout._HOME)
    for name in rollout.__all__:
        found = getattr(rollout, name)
        assert callable(found)
        assert found.__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = rollout.nothing_of_this_name
