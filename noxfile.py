"""``make matrix``: the tests on each supported Airflow, and on the lowest versions of what the package asks for.

A cell is an Airflow and a Python, with an environment of its own in ``.nox``. The last session, ``table``, writes what
came out of all cells into the README.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import nox

# An Airflow's own dependencies are resolved as of a day soon after its release: what came later may not work with it.
AIRFLOWS = {
    "3.0.6": "2025-09-12",
    "3.1.8": "2026-03-25",
    "3.2.2": "2026-06-10",
    "3.3.2": "2026-10-01",
}
# Airflow 3.0 runs on Python 3.12 at most.
CELLS = ("3.0.6-3.12", "3.1.8-3.13", "3.2.2-3.12", "3.3.2-3.11", "3.3.2-3.13")
# With the lower bounds of pyproject.toml, which decide the Airflow too.
LOWEST = "lowest-3.11"

ROOT = Path(__file__).parent
RESULTS = ROOT / ".cache/matrix"
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- matrix: written by make matrix -->\n).*?(<!-- /matrix -->)", re.DOTALL)

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = [*CELLS, LOWEST, "table"]

if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
    # pyenv's python3.12 only starts where 3.12 was chosen: so all that it has are.
    listing = ["pyenv", "versions", "--bare"]
    versions = subprocess.run(listing, capture_output=True, text=True, check=True)  # noqa: S603
    os.environ["PYENV_VERSION"] = ":".join(line for line in versions.stdout.split() if re.fullmatch(r"3\.[\d.]+", line))


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the tests.

    :param name: such as ``3.3.2-3.13``: Airflow, or ``lowest``, and Python.
    """

    name: str

    @property
    def airflow(self) -> str:
        """Version of Airflow."""
        if self.name != LOWEST:
            return self.name.partition("-")[0]
        (lowest,) = (
            found[1] for each in project()["dependencies"] if (found := re.fullmatch("apache-airflow>=(.+)", each))
        )
        return lowest

    @property
    def python(self) -> str:
        """Version of Python."""
        return self.name.partition("-")[2]

    def run(self, session: nox.Session) -> None:
        """Make the environment, run the tests in it, and keep what came out."""
        folder = RESULTS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # A newer pytest warns of what the plugin of those days' anyio imports.
        session.install(
            "--compile-bytecode", "-e", ".[docs,test]", "pytest<9.1", "-c", self._constraints(session, folder)
        )
        session.env["PYTHONDONTWRITEBYTECODE"] = None
        started = time.monotonic()
        report = folder / "report.xml"
        tests = session.posargs or ["-m", "not e2e or every_airflow"]
        # A test that hangs ends the run, with the stack of each thread.
        bounded = ("-o", "faulthandler_timeout=900", "-o", "faulthandler_exit_on_timeout=true")
        quiet = ("-q", "-p", "no:cacheprovider", "--show-capture=no", "-n", "3", "--dist", "loadgroup")
        command = ("python", "-m", "pytest", *quiet, *bounded, f"--junitxml={report}", *tests)
        session.run(*command, success_codes=range(256))
        if not report.exists():
            session.error("the tests did not come to their end")
        result = {"airflow": self._installed(session), "python": self.python, **summary(report)}
        result["seconds"] = round(time.monotonic() - started)
        (folder / "result.json").write_text(json.dumps(result, indent=2))
        session.log(told(result))
        if result["failed"] or result["unexplained"]:
            session.error(f"{result['failed']} tests failed; skipped for no known reason: {result['unexplained']}")

    def _constraints(self, session: nox.Session, folder: Path) -> str:
        """Resolve Airflow as of its day, and, for the lowest versions, what the package asks for."""
        as_of = self._compile(session, folder / "airflow.txt", "--exclude-newer", AIRFLOWS[self.airflow])
        ours = {name_of(each) for each in (*project()["dependencies"], *project()["optional-dependencies"]["emulator"])}
        # pydantic wants its own version of pydantic-core.
        ours = (ours | {"pydantic-core"}) - {"apache-airflow"}
        kept = [line for line in as_of.read_text().splitlines() if self.name != LOWEST or name_of(line) not in ours]
        kept = [line for line in kept if name_of(line) != "apache-airflow-providers-common-compat"]
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join(kept) + "\n")
        if self.name != LOWEST:
            return str(constraints)
        options = ("--extra", "emulator", "--resolution", "lowest-direct", "-c", str(constraints))
        return str(self._compile(session, folder / "lowest.txt", *options, of="pyproject.toml"))

    def _compile(self, session: nox.Session, into: Path, *options: str, of: str | None = None) -> Path:
        if of is None:
            wanted = into.with_suffix(".in")
            wanted.write_text(f"apache-airflow=={self.airflow}\n")
            of = str(wanted)
        command = ("uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--python-version", self.python)
        session.run(*command, *options, of, "-o", str(into), external=True, silent=True)
        return into

    def _installed(self, session: nox.Session) -> str:
        code = "from importlib.metadata import version; print(version('apache-airflow-core'))"
        found = session.run("python", "-c", code, silent=True)
        installed = str(found).strip()
        if not installed.startswith(self.airflow):
            session.error(f"Airflow {installed} was installed instead of {self.airflow}")
        return installed


def project() -> dict[str, dict[str, list[str]]]:
    """Give what pyproject.toml says of the project."""
    told: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return told


def name_of(requirement: str) -> str:
    """Give the distribution that a requirement names."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower()


def summary(report: Path) -> dict[str, object]:
    """Count what a JUnit report tells; a skipped test is to say which newer Airflow it needs."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  # it was written by our own pytest
    skips = [str(skip.get("message")) for case in cases if (skip := case.find("skipped")) is not None]
    reasons = [re.fullmatch(r"needs Airflow ([\d.]+) \((.+)\), this is .*", each) for each in skips]
    needed = sorted(f"{found[1]}: {found[2]}" for found in reasons if found)
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    return {
        "total": len(cases),
        "passed": len(cases) - failed - len(skips),
        "failed": failed,
        "skipped": {each: needed.count(each) for each in dict.fromkeys(needed)},
        "unexplained": [each for each, found in zip(skips, reasons, strict=True) if not found],
    }


def told(result: dict[str, object]) -> str:
    """Give a cell's row of the table."""
    skipped = sum(result["skipped"].values()) if isinstance(result["skipped"], dict) else 0
    rest = [f"{skipped} need a newer Airflow"] * bool(skipped) + [f"**{result['failed']} failed**"] * bool(
        result["failed"]
    )
    tests = f"{result['passed']} of {result['total']} passed" + "".join(f"; {each}" for each in rest)
    lowest = " (lowest versions of all dependencies)" if result.get("lowest") else ""
    return f"| {result['airflow']}{lowest} | {result['python']} | {tests} | {result['seconds']} |"


for name in (*CELLS, LOWEST):
    nox.session(name=name, python=Cell(name).python)(Cell(name).run)


@nox.session(venv_backend="none")
def table(session: nox.Session) -> None:
    """Write the README's table, if each cell has run and passed."""
    rows = ["| Airflow | Python | tests | seconds |", "|---|---|---|---|"]
    for name in (*CELLS, LOWEST):
        file = RESULTS / name / "result.json"
        if not file.exists():
            session.error(f"{name} has no result: run make matrix")
        result = json.loads(file.read_text())
        if result["failed"] or result["unexplained"]:
            session.error(f"{name} failed: the table stays as it is")
        rows.append(told(result | {"lowest": name == LOWEST}))
    text, written = BLOCK.subn(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], README.read_text())
    if written != 1:
        session.error("README.md has no place for the table")
    README.write_text(text)
    session.log("README.md: the table is written")
