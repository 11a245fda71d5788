"""What the README's quick start says, from a clone with nothing installed to sources that are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.test_quickstart import README, follow

pytestmark = pytest.mark.e2e

MINUTES = 10


@pytest.mark.skipif(find_spec("ensurepip") is None, reason="this Python cannot make environments (python3-venv)")
def test_a_newcomer_has_a_plan_within_minutes(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    # The interpreter that made the environment of the tests, not that environment.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "VIRTUAL_ENV"))}
    folders = [Path(sys.base_prefix) / "bin", *kept["PATH"].split(os.pathsep)]
    kept["PATH"] = os.pathsep.join(str(folder) for folder in folders if str(folder) != str(Path(sys.prefix) / "bin"))
    began = time.monotonic()
    follow(README, clone, kept, install=True)
    took = time.monotonic() - began
    print(f"from a clone to the sources: {took:.0f} s")
    assert took < MINUTES * 60
