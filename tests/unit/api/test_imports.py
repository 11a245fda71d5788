"""What importing the client costs: no Airflow, and nothing before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_cm import api


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = (
    "print(sorted({m.split('.')[0] for m in sys.modules} & {'airflow', 'requests', 'tenacity', 'pydantic', 'yaml'}))"
)


def test_the_whole_client_imports_no_airflow() -> None:
    code = f"import sys, airflow_provider_cm.api as api; [getattr(api, n) for n in api.__all__]; {LOADED}"
    assert _run(code) == "['requests']"


@pytest.mark.parametrize("module", ["", ".errors", ".names", ".models", ".guards", ".endpoint", ".retry"])
def test_what_judges_names_and_errors_imports_no_requests(module: str) -> None:
    assert _run(f"import sys, airflow_provider_cm.api{module}; {LOADED}") == "[]"


def test_every_export_is_there_and_nothing_else_answers() -> None:
    assert set(api.__all__) == set(api._HOME)
    for name in api.__all__:
        assert getattr(api, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = api.nothing_of_this_name
