"""The demo prints what the README says. Its other blocks are checked with those of the documents, in tests/docs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, read

pytestmark = pytest.mark.integration

README = ROOT / "README.md"


def test_the_demo_prints_what_it_says() -> None:
    (shown,) = [block.text for block in read(README) if "HTTP CALLS" in block.text]
    ended = subprocess.run([sys.executable, "scripts/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert mask_ids(shown) in mask_ids(ended.stdout)


def mask_ids(text: str) -> str:
    return re.sub(r"id:[0-9a-f]{16}", "id:<id>", text)
