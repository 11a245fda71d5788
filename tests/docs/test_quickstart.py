"""The way of a newcomer, as docs/quickstart.md and README.md show it: every command, in its order, in one shell."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, read
from tests.features import needs

pytestmark = pytest.mark.integration

STARTED = (
    "until python - <<< 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' 2>/dev/null; "
    "do sleep 0.2; done"
)


@needs("command line")
@pytest.mark.parametrize("page", [DOCS / "quickstart.md", ROOT / "README.md"], ids=lambda path: path.name)
def test_each_command_works_and_prints_what_is_shown(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    blocks = [block for block in read(page) if page.parent == DOCS or block.text in text.partition("## Quick start")[2]]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = ["set -e"]
    assert blocks
    for block in blocks:
        if block.language == "bash":
            # The environment of the tests stands for the one that the page makes.
            lines += [
                line for line in block.text.splitlines() if not re.match(r"(python3 -m venv|\. |pip install)", line)
            ]
            if "emulator --port" in block.text:
                lines.append(STARTED.format(port=port))
        elif block.language in {"yaml", "python"}:
            path = re.findall(r"`([\w./-]+\.(?:yaml|py))`", text[: text.index(block.text)])[-1]
            lines += [f"cat > {path} <<'END OF FILE'", block.text.rstrip("\n"), "END OF FILE"]
    lines.append("kill %1")
    script = "\n".join(lines).replace("8089", str(port))
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    ended = subprocess.run(
        ["bash", "-m", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    for block in blocks:
        if block.language == "text":
            assert block.text.replace("8089", str(port)) in ended.stdout
    listed = ended.stdout.rpartition("PROJECT")[2]
    assert re.search(r"acme-dev\s+support-inbox\s", listed), ended.stdout[-2000:]
    assert re.search(r"acme-dev\s+survey-2026\s", listed)


def test_the_readme_leads_to_it() -> None:
    assert "docs/quickstart.md" in (ROOT / "README.md").read_text()
