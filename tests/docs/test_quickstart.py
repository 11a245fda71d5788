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

PAGE, README = DOCS / "quickstart.md", ROOT / "README.md"

STARTED = (
    "until python - <<< 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' 2>/dev/null; "
    "do sleep 0.2; done"
)


def script(page: Path, port: int, *, install: bool = False) -> str:
    """Give what somebody types who follows a page.

    :param page: the page.
    :param port: a free one, for the emulator.
    :param install: make the environment, too; otherwise that of the tests stands for it.
    """
    text = page.read_text()
    shown = text if page.parent == DOCS else text.partition("## Quick start")[2]
    lines = ["set -e"]
    for block in read(page):
        if block.text not in shown:
            continue
        if block.language == "bash":
            typed = block.text.splitlines()
            if not install:
                typed = [line for line in typed if not re.match(r"(python3 -m venv|\. |pip install)", line)]
            lines += typed
            if "emulator --port" in block.text:
                lines.append(STARTED.format(port=port))
        elif block.language in {"yaml", "python"}:
            path = re.findall(r"`([\w./-]+\.(?:yaml|py))`", text[: text.index(block.text)])[-1]
            lines += [f"cat > {path} <<'END OF FILE'", block.text.rstrip("\n"), "END OF FILE"]
    return "\n".join([*lines, "kill %1"]).replace("8089", str(port))


def follow(page: Path, folder: Path, env: dict[str, str], *, install: bool = False) -> None:
    """Do what a page says in a folder, and look whether what it shows is what happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = subprocess.run(
        ["bash", "-m", "-c", script(page, port, install=install)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    (plan,) = [block.text for block in read(page) if block.language == "text" and "to create" in block.text]
    assert plan.replace("8089", str(port)) in re.sub(r"sha256:\w{64}", "sha256:<digest>", ended.stdout)
    listed = ended.stdout.rpartition("PROJECT")[2]
    assert re.search(r"acme-dev\s+support-inbox\s", listed), ended.stdout[-2000:]
    assert re.search(r"acme-dev\s+survey-2026\s", listed)
    assert "PUT /api/v1/sources/acme-dev/survey-2026 -> 200" in (folder / "demo-airflow/requests.log").read_text()


@needs("command line")
def test_each_command_works_and_prints_what_is_shown(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    follow(PAGE, tmp_path, env)


def test_the_readme_shows_the_same_and_leads_to_it() -> None:
    assert script(README, 8089) == script(PAGE, 8089)
    (plan,) = [block.text for block in read(PAGE) if block.language == "text"]
    assert plan in README.read_text()
    assert "docs/quickstart.md" in README.read_text()
