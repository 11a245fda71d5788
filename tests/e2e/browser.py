"""What the browser tests are made of: ``make ui`` as a process, and a Chromium that can reach this machine only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import psutil
import pytest
import requests

from tests.e2e.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM = f"no browser: none of {', '.join(CHROMIUMS)} is on PATH (Debian: apt-get install chromium)"
# Names are resolved for this machine only: what a page loads from elsewhere, and a browser reports home, fails.
LOCAL_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
PATIENCE_MS = 90_000
START_SECONDS = 330.0
STOP_SECONDS = 60.0


@dataclass
class Ui:
    """``make ui``, running.

    :param process: of ``scripts/ui.py``, which leads a session of its own.
    :param printed: its lines so far, grows.
    """

    process: subprocess.Popen[str]
    printed: list[str] = field(default_factory=list)

    @classmethod
    def start(cls) -> Ui:
        """Start it as a terminal does, and wait until it has said all."""
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/ui.py")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        ui = cls(process)
        threading.Thread(target=ui._read, daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in ui.text:
            if process.poll() is not None or time.monotonic() > until:
                ui.end()
                raise AssertionError(f"make ui did not start:\n{ui.text}")
            time.sleep(0.2)
        return ui

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.printed.extend(self.process.stdout)

    @property
    def text(self) -> str:
        return "".join(self.printed)

    def said(self, pattern: str) -> str:
        found = re.search(pattern, self.text)
        assert found is not None, f"{pattern} is not in:\n{self.text}"
        return found[1]

    @property
    def airflow(self) -> str:
        return self.said(r"Airflow +(http://127\.0\.0\.1:\d+)\n")

    @property
    def emulator(self) -> str:
        return self.said(r"Emulator +(http://127\.0\.0\.1:\d+)\n")

    def password(self, user: str) -> str:
        return self.said(rf" as +{user} +(\S+)")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        """Press Ctrl-C.

        :return: the exit code.
        """
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def end(self) -> None:
        """End it whatever has happened, as a test must."""
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
                self.interrupt()
        if self.process.poll() is None:
            for each in [*self.children(), psutil.Process(self.process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Airflow's REST API as admin."""
        credentials = {"username": "admin", "password": self.password("admin")}
        token = requests.post(f"{self.airflow}/auth/token", json=credentials, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(method, f"{self.airflow}{path}", headers=headers, timeout=60, **kwargs)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json()

    def states(self, dag_id: str, run: str) -> dict[str, str | None]:
        tasks = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}

    def sources(self, tenant: str, project: str) -> dict[str, dict[str, Any]]:
        """Ask the emulator what it holds."""
        url = f"{self.emulator}{tenant}/api/v1/sources/{project}"
        answer = requests.get(url, headers={"Authorization": "Bearer emulator-admin"}, timeout=30)
        return {source["name"]: source for source in answer.json()["sources"]}

    def create_source(self, tenant: str, project: str, name: str) -> None:
        url = f"{self.emulator}{tenant}/api/v1/sources/{project}/{name}"
        headers = {"Authorization": "Bearer emulator-admin"}
        requests.put(url, json={"source": {}}, headers=headers, timeout=30).raise_for_status()


def wait_for(condition: Callable[[], bool], what: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s; the last was {what()}"
        time.sleep(1)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's own Chromium; Playwright's would have to be downloaded."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip(NO_CHROMIUM)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", LOCAL_ONLY])
        yield browser
        browser.close()


class Pages:
    """The windows of one user.

    :param browser: where.
    :param ui: what is looked at.
    :param user: who logs in, through the form.
    :param images: folder for screenshots.
    """

    def __init__(self, browser: Browser, ui: Ui, user: str, images: Path) -> None:
        self.context: BrowserContext = browser.new_context(
            base_url=ui.airflow, viewport={"width": 1280, "height": 900}, locale="en-US", timezone_id="UTC"
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self._images = images
        self.page: Page = self.context.new_page()
        # Views that refresh themselves hold requests open, so a page is there when what it shows is there.
        self.go("/")
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(ui.password(user))
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Dags").or_(self.page.get_by_role("link", name="Dags")).first.wait_for()

    def go(self, path: str) -> Page:
        self.page.goto(path, wait_until="commit")
        return self.page

    def screenshot(self, name: str) -> None:
        """Keep what the window shows, once movements have come to rest."""
        self.page.wait_for_timeout(700)
        path = self._images / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < 200_000, f"{path.name} is too large for the documents"

    def trigger(self, dag_id: str) -> str:
        """Start a run with the button, and unpause the DAG.

        :return: the run's id.
        """
        page = self.go(f"/dags/{dag_id}")
        page.get_by_role("button", name="Trigger").first.click()
        dialog = page.get_by_role("dialog")
        # One mailbox, where the form asks for a number of them.
        dialog.get_by_text("Run Parameters").wait_for()
        if dialog.get_by_role("spinbutton").count():
            dialog.get_by_role("spinbutton").fill("1")
        dialog.get_by_role("button", name="Trigger").click()
        page.wait_for_url(re.compile(rf"/dags/{dag_id}/runs/"), wait_until="commit")
        return unquote(page.url.partition("/runs/")[2].partition("?")[0])

    def shows(self, secret: str) -> bool:
        """Whether a text is anywhere in the page: its HTML, or what its inputs hold."""
        held = self.page.locator("input, textarea").evaluate_all("all => all.map(each => each.value)")
        return secret in self.page.content() or any(secret in value for value in held)


def images_folder(otherwise: Path) -> Path:
    """Give where screenshots go: for ``make screenshots`` the documents, else a folder that nobody keeps."""
    wanted = os.environ.get("SCREENSHOTS")
    folder = ROOT / wanted if wanted else otherwise
    folder.mkdir(parents=True, exist_ok=True)
    return folder
