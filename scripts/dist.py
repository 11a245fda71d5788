"""Build what is released, check it, and run a DAG with nothing but the wheel and what it depends on.

- Wheel and source distribution are built twice from the tree, and the wheel once more from the source distribution: all
  have to be the same byte for byte. Times in them are those of the last commit.
- ``twine check``, contents, metadata and license.
- One new environment gets the wheel, and so Airflow, and nothing else of ours; a second one gets the wheel with its
  extra ``emulator``. In the first, Airflow runs an example DAG of the wheel; in the second, the emulator runs.

Usage: ``dist.py``. What passed is in ``dist/``; its SHA-256 sums are printed.
"""

from __future__ import annotations

import contextlib
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
ENVIRONMENTS = ROOT / ".cache" / "dist"
EXAMPLE = "example_source_lifecycle"


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command, and give what it printed; all of it is shown when it fails."""
    ended = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{ended.stdout[-8000:]}{ended.stderr[-8000:]}")
    return ended.stdout


def epoch() -> str:
    """Return the time of the last commit, or what the caller says."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return os.environ["SOURCE_DATE_EPOCH"]
    if run("git", "status", "--porcelain"):
        say("NOTE: there are changes that are not committed, and they are in what is built")
    return run("git", "log", "-1", "--format=%ct").strip()


def build(source: Path, into: Path, *targets: str) -> dict[str, bytes]:
    """Build, and give the files by name.

    :param source: the tree, or an unpacked source distribution.
    :param into: a new folder.
    :param targets: ``wheel``, ``sdist``.
    """
    env = {**os.environ, "SOURCE_DATE_EPOCH": os.environ["SOURCE_DATE_EPOCH"]}
    for target in targets:
        # Without a frontend, which would make an environment and ask the index for what is installed here.
        run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source, env=env)
    return {path.name: path.read_bytes() for path in into.iterdir() if path.suffix in {".whl", ".gz"}}


def build_all() -> tuple[Path, Path]:
    """Build everything twice, and the wheel from the source distribution too; give wheel and source distribution."""
    os.environ["SOURCE_DATE_EPOCH"] = epoch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = build(ROOT, folder / "first", "sdist", "wheel")
        second = build(ROOT, folder / "second", "sdist", "wheel")
        (sdist,) = (folder / "first").glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        third = build(unpacked, folder / "third", "wheel")
    for other in (second, third):
        for file, content in other.items():
            if first.get(file) != content:
                raise SystemExit(f"{file} is not the same when it is built again")
    say("ok  built twice, and the wheel from the source distribution as well: the same byte for byte")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for file, content in first.items():
        (DIST / file).write_bytes(content)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def check(wheel: Path, sdist: Path) -> None:
    """Look into both.

    :param wheel: the wheel.
    :param sdist: the source distribution.
    """
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(metadata_name))
        info = metadata_name.removesuffix("METADATA")
        license_text = archive.read(f"{info}licenses/LICENSE")
    if license_text != (ROOT / "LICENSE").read_bytes():
        raise SystemExit("the license in the wheel is not LICENSE")
    tracked = run("git", "ls-files", "airflow_provider_cm", "example_dags").split()
    expected = {name if name.startswith("airflow") else f"airflow_provider_cm/{name}" for name in tracked}
    missing = expected - names
    stray = {name for name in names if not name.startswith(info)} - expected
    if missing or stray:
        raise SystemExit(f"the wheel lacks {sorted(missing)}, and has {sorted(stray)}, which git does not know")
    version = re.findall(r'__version__ = "(.*)"', (ROOT / "airflow_provider_cm" / "__init__.py").read_text())
    for field, value in (
        ("Name", "airflow-provider-cm"),
        ("Version", version[0]),
        ("License-Expression", "Apache-2.0"),
        ("Requires-Python", ">=3.11"),
        ("Description-Content-Type", "text/markdown"),
    ):
        if metadata[field] != value:
            raise SystemExit(f"METADATA: {field} is {metadata[field]!r}, and should be {value!r}")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    lost = {
        name
        for name in ("LICENSE", "README.md", "pyproject.toml", "PKG-INFO", "tests/conftest.py")
        if name not in inside
    }
    if lost:
        raise SystemExit(f"the source distribution lacks {sorted(lost)}")
    say(
        f"ok  twine check; {len(names)} files in the wheel, {len(inside)} in the source distribution; metadata; license"
    )


def environment(name: str, requirement: str) -> Path:
    """Recreate an environment, and return its folder of commands.

    :param name: of its folder.
    :param requirement: the only requirement; the other packages are its dependencies.
    """
    uv = shutil.which("uv") or str(ROOT / ".cache" / "bootstrap" / "bin" / "uv")
    home = ENVIRONMENTS / name
    run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
    python = home / "bin" / "python"
    # The constraints pin what is installed anyway, and bring in nothing.
    run(
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "-c",
        ROOT / "constraints.txt",
        "--compile-bytecode",
        requirement,
    )
    run(uv, "pip", "check", "--python", python)
    return home / "bin"


@contextlib.contextmanager
def emulator(bin_folder: Path) -> Iterator[str]:
    """Run the emulator of an environment, and yield its address.

    :param bin_folder: its commands.
    """
    command = [str(bin_folder / "python"), "-m", "airflow_provider_cm.emulator", "--port", "0", "--quiet"]
    with subprocess.Popen(command, cwd=bin_folder, stdout=subprocess.PIPE, text=True, env=clean()) as server:
        try:
            first = server.stdout.readline() if server.stdout else ""
            match = re.search(r"http://127\.0\.0\.1:\d+", first)
            if match is None:
                raise SystemExit(f"the emulator did not start: {first}")
            yield match[0]
        finally:
            server.terminate()


def clean(**more: str) -> dict[str, str]:
    """Return an environment without anything of this tree or of another Airflow."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "PYTHON", "VIRTUAL_ENV")) and name != "MAKEFLAGS"
    }
    return variables | more


def smoke(runner: Path, server: Path) -> None:
    """Run the example of the wheel with Airflow.

    :param runner: commands of the environment with the wheel alone.
    :param server: commands of the environment with the emulator.
    """
    packages = Path(
        run(runner / "python", "-c", "import airflow_provider_cm as p; print(p.__path__[0])", cwd=runner).strip()
    )
    if packages.is_relative_to(ROOT / "airflow_provider_cm"):
        raise SystemExit("the environment imports this tree, and not the wheel")
    with tempfile.TemporaryDirectory() as name, emulator(server) as url:
        connection = {"conn_type": "comms_mining", "host": f"{url}/acme/dev/reinfer_", "password": "emulator-admin"}
        env = clean(
            AIRFLOW_HOME=name,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__DAGS_FOLDER=str(packages / "example_dags"),
            AIRFLOW_CONN_COMMS_MINING_DEFAULT=json.dumps(connection),
        )
        folder = Path(name)
        run(runner / "airflow", "db", "migrate", cwd=folder, env=env)
        providers = run(runner / "airflow", "providers", "list", cwd=folder, env=env)
        if "airflow-provider-cm" not in providers:
            raise SystemExit("Airflow does not list the provider")
        log = run(runner / "airflow", "dags", "test", EXAMPLE, cwd=folder, env=env)
        if "state=success" not in log:
            raise SystemExit(f"{EXAMPLE} did not succeed:\n{log[-8000:]}")
        code = f"import json, urllib.request as u; print(u.urlopen('{url}/_emulator/changes').read().decode())"
        changes = json.loads(run(server / "python", "-c", code, cwd=folder, env=env))
    listed = changes["changes"] if isinstance(changes, dict) else changes
    actions = [change["action"] for change in listed]
    if actions != ["create", "update", "delete"]:
        raise SystemExit(f"{EXAMPLE} should create, update and delete, and did: {actions}")
    say(f"ok  {EXAMPLE}, as installed with the wheel, ran: {', '.join(actions)}")


def main() -> None:
    wheel, sdist = build_all()
    check(wheel, sdist)
    runner = environment("wheel-alone", str(wheel))
    server = environment("emulator", f"{wheel}[emulator]")
    say("ok  the wheel installs by itself, and with its extra `emulator`, into new environments")
    smoke(runner, server)
    for path in (sdist, wheel):
        say(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
