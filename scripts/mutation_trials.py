"""The trials of mutants: which tests run which line, and whether those of a changed line notice the change.

A mutant is a changed file in a copy of the repository. Its tests run in a process of their own, forked when pytest and
Airflow are already imported.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from coverage import CoverageData

PACKAGE = "airflow_provider_cm"
MAY_FAIL = 5
TESTS = (
    "tests/unit/api",
    "tests/unit/rollout",
    "tests/rollout",
    "tests/unit/triggers",
    "tests/unit/sensors",
    "tests/integration/test_sharing.py",
    "tests/integration/test_watching.py",
    "tests/secrets/test_notations.py",
    "tests/secrets/test_hostile_texts.py",
)
# What takes long to import and is not mutated.
IMPORTED_ONCE = ("airflow.sdk", "fastapi", "hypothesis", "pydantic", "requests", "tenacity", "uvicorn", "yaml")
# Notes which test runs which line, and how long each takes.
RECORDER = """
import json, os, coverage, pytest
seconds, failed = {}, []
@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    coverage.Coverage.current().switch_context(item.nodeid)
    return (yield)
def pytest_runtest_logreport(report):
    seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        failed.append(report.nodeid)
def pytest_sessionfinish():
    with open(os.environ["TEST_SECONDS"], "w") as file:
        json.dump({test: took for test, took in seconds.items() if test not in failed}, file)
"""


@dataclass(frozen=True)
class Mutant:
    """One changed file.

    :param file: path in the repository.
    :param line: where it is changed.
    :param source: the whole file.
    :param code: the same, changed.
    :param tests: ids of the tests that run the changed statement.
    """

    file: str
    line: int
    source: str
    code: str
    tests: tuple[str, ...]

    @property
    def package(self) -> str:
        """The package that it is in."""
        return self.file.split("/")[1]

    def diff(self) -> str:
        """Show the change."""
        before, after = self.source.splitlines(), self.code.splitlines()
        changed = [
            line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:2] not in {"--", "++"}
        ]
        return "\n".join([f"{self.file}:{self.line}", *(f"    {line}" for line in changed if line[0] in "+-")])


class Coverage:
    """Which tests run which line, measured once without a mutant.

    Tests that fail without a mutant are left out, since they would seem to notice anything.

    :param copy: of the repository.
    :raises SystemExit: when more than a few tests fail.
    """

    def __init__(self, copy: Path) -> None:
        (copy / "mutation_recorder.py").write_text(RECORDER)
        settings = copy / "coverage.ini"
        settings.write_text(f"[run]\nsource = {PACKAGE}\ndata_file = {copy}/.coverage\n")
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": str(copy), "MUTANT_COPY": str(copy), "TEST_SECONDS": str(copy / "seconds.json")}
        words = [
            "-q",
            f"--maxfail={MAY_FAIL + 1}",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-p",
            "mutant_guard",
            "-p",
            "mutation_recorder",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", *words, *TESTS],
            cwd=copy,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        if len(failed) > MAY_FAIL or done.returncode not in {0, 1}:
            sys.exit(f"the tests fail without a mutant:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        print("\n".join(f"left out, since it fails without a mutant: {line}" for line in failed), flush=True)
        self.seconds: dict[str, float] = json.loads((copy / "seconds.json").read_text())
        data = CoverageData(str(copy / ".coverage"))
        data.read()
        self._by_file = {
            str(Path(file).relative_to(copy)): data.contexts_by_lineno(file) for file in data.measured_files()
        }

    def tests(self, file: str, lines: range) -> tuple[str, ...]:
        """Return the tests that run any of these lines, the quickest first."""
        by_line = self._by_file.get(file, {})
        tests = {test for line in lines for test in by_line.get(line, ()) if test in self.seconds}
        return tuple(sorted(tests, key=lambda test: self.seconds[test]))


def run_all(mutants: list[Mutant], copies: list[Path], seconds: dict[str, float]) -> list[Mutant]:
    """Run each mutant's tests; print and give those that survive."""
    import_once()
    waiting, free = list(mutants), list(copies)
    running: dict[int, Trial] = {}
    survivors: list[Mutant] = []

    def survived(mutant: Mutant, why: str) -> None:
        survivors.append(mutant)
        print(f"survived ({why}): {mutant.diff()}", flush=True)

    while waiting or running:
        while waiting and free:
            mutant = waiting.pop()
            if len(waiting) % 50 == 0:
                print(f"{len(waiting)} to go", flush=True)
            if mutant.tests:
                trial = Trial.start(mutant, free.pop(), seconds)
                running[trial.pid] = trial
            else:
                survived(mutant, "no test runs it")
        time.sleep(0.02)
        for trial in list(running.values()):
            ended = trial.ended()
            if ended is None:
                continue
            del running[trial.pid]
            free.append(trial.copy)
            if ended == 0:
                survived(trial.mutant, f"{len(trial.mutant.tests)} tests, {time.monotonic() - trial.began:.0f} s")
    return survivors


def import_once() -> None:
    """Import what no mutant changes, so that each one's process has it from its beginning."""
    home = tempfile.mkdtemp(prefix="airflow-provider-cm-mutants-home-")
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    shutil.rmtree(home, ignore_errors=True)
    # Airflow asks each provider what it brings.
    for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class Selection:
    """A pytest plugin that runs these tests only, in this order."""

    def __init__(self, tests: tuple[str, ...]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep these tests, in their order."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid]
        )


@dataclass
class Trial:
    """The tests of one mutant, running.

    :param pid: of their process, which leads a group.
    :param limit: when they have taken too long, as a mutant that never ends does.
    """

    mutant: Mutant
    copy: Path
    times: tuple[int, int]
    pid: int
    began: float
    limit: float

    @classmethod
    def start(cls, mutant: Mutant, copy: Path, seconds: dict[str, float]) -> Trial:
        """Change the file, and start the tests."""
        path = copy / mutant.file
        stat = path.stat()
        path.write_text(mutant.code)
        # Python tells compiled files apart by size and second of change; the original's stays right for the original.
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 3600 * 10**9))
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            cls._run(copy, mutant.tests)
        limit = began + 60 + 4 * sum(seconds[test] for test in mutant.tests)
        return cls(mutant, copy, (stat.st_atime_ns, stat.st_mtime_ns), pid, began, limit)

    @staticmethod
    def _run(copy: Path, tests: tuple[str, ...]) -> None:
        """Run the tests in this process, and end it."""
        code: int = 1
        try:
            os.setsid()
            os.chdir(copy)
            output = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.dont_write_bytecode = True
            os.environ |= {"PYTHONPATH": str(copy), "MUTANT_COPY": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.path[0] = str(copy)
            modules = sorted({test.partition("::")[0] for test in tests})
            words = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "mutant_guard", *modules]
            code = int(pytest.main(words, plugins=[Selection(tests)]))
        finally:
            os._exit(code)

    def ended(self) -> int | None:
        """Return the exit code of the tests that have ended, and put the file right; ``None`` while they run."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0 and time.monotonic() < self.limit:
            return None
        if pid == 0:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            status = 1 << 8
        path = self.copy / self.mutant.file
        path.write_text(self.mutant.source)
        os.utime(path, ns=self.times)
        code = os.waitstatus_to_exitcode(status)
        # What pytest ends with when a test fails, or nothing can be collected; all else says nothing of the tests.
        if code in {3, 4, 5, 99}:
            raise RuntimeError(f"pytest ended with {code}: {(self.copy / 'output.txt').read_text()[-2000:]}")
        return code
