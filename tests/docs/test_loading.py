"""docs/loading.md, walked through in a shell as a reader does: each command is run, and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import DOCS, read
from tests.docs.test_quickstart import script
from tests.features import needs

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer

pytestmark = [pytest.mark.integration, needs("command line")]

PAGE = DOCS / "loading.md"
WALK = PAGE.read_text().partition("\n## What to load from")[0]


def steps() -> str:
    """Give what a reader types: the files of the page, each under the name before it, and its commands."""
    lines = ["set -e"]
    for block in read(PAGE):
        if block.text not in WALK:
            continue
        if block.language == "bash":
            lines += block.text.splitlines()
        elif block.language in {"csv", "yaml", "python"}:
            path = re.findall(r"`([\w./-]+\.(?:csv|yaml|py))`", WALK[: WALK.index(block.text)])[-1]
            lines += [f"cat > {path} <<'END OF FILE'", block.text.rstrip("\n"), "END OF FILE"]
    return "\n".join(lines)


def test_the_walk(comms_mining_emulator: EmulatorServer, tmp_path: Path) -> None:
    tenant = comms_mining_emulator.tenant("/")
    quickstart = script(DOCS / "quickstart.md", 8089)
    setting_up = quickstart.partition("python -m airflow_provider_cm.emulator")[0]
    port = comms_mining_emulator.url.rsplit(":", 1)[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", f"{setting_up}\n{steps()}".replace("8089", port)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    shown = [block.text for block in read(PAGE) if block.language == "text"]
    assert len(shown) == 4
    at = 0
    for text in shown:
        assert text in ended.stdout[at:], f"{text}\n--- is not in\n{ended.stdout[at:]}"
        at = ended.stdout.index(text, at) + len(text)
    stored = tenant.messages("acme-dev", "tickets")
    assert sorted(each["id"] for each in stored) == [f"ticket-{number}" for number in (1001, 1002, 1003, 1005)]
    assert tenant.bill.ai_units == 4
