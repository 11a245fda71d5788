"""A PostgreSQL of the tests' own: the machine's programs, a temporary folder, a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "postgresql"]
MISSING = f"no PostgreSQL: initdb is neither on PATH nor in /usr/lib/postgresql; install it ({' '.join(INSTALL)})"
START_SECONDS = 60.0


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a server until the block ends.

    :return: URL of an empty database, for SQLAlchemy.
    """
    programs = find_programs()
    (port,) = free_ports(1)
    password = secrets.token_urlsafe(16)
    # Not pytest's folder, which nobody but its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="airflow-provider-cm-postgres-"))
    data, password_file = folder / "data", folder / "password"
    process: subprocess.Popen[bytes] | None = None
    try:
        password_file.write_text(password)
        for path in (folder, password_file):
            if _is_root():
                shutil.chown(path, "postgres", "postgres")
        login = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        _run([programs / "initdb", f"--pgdata={data}", "--encoding=UTF8", "--locale=C", "--no-sync", *login], folder)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, **_as_owner(folder)
            )
        url = f"airflow:{password}@127.0.0.1:{port}/postgres"
        _wait_for(f"postgresql://{url}", process, folder / "log")
        yield f"postgresql+psycopg2://{url}"
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder)


def find_programs() -> Path:
    """Give the folder of initdb and postgres; root gets Debian's package where there is none."""
    found = _programs()
    if found is None and _is_root() and shutil.which("apt-get"):
        # In run level 1 the package makes its own server, but does not start it.
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["apt-get", "update"], INSTALL):
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"{MISSING}; {' '.join(command)} failed: {done.stderr[-1000:]}")
        found = _programs()
    if found is None:
        pytest.fail(MISSING)
    return found


def _programs() -> Path | None:
    on_path = shutil.which("initdb")
    # Debian keeps them off PATH, in a folder for each version.
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    newest = max(folders, key=lambda folder: float(folder.parent.name), default=None)
    return Path(on_path).resolve().parent if on_path else newest


def _is_root() -> bool:
    return os.geteuid() == 0


def _as_owner(folder: Path) -> dict[str, Any]:
    """Give what starts a program in a session of its own; the server refuses to run as root."""
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if _is_root() else {}
    return {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, "start_new_session": True, **owner}


def _run(command: list[Any], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_owner(folder))
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr}"


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg2  # not in every cell of make matrix

    until = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg2.connect(url).close()
        except psycopg2.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"PostgreSQL did not start: {log.read_text()}") from error
            time.sleep(0.1)
        else:
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # it then ends its sessions, and does not wait for them
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        # Its children end by themselves once it is gone.
        process.kill()
        process.wait(timeout=10)
