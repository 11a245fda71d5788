"""``make ui``: a real Airflow to click through, with the example DAGs, against the emulator.

It starts the emulator with two tenants and their sources in this process, ``airflow standalone`` in a session of its
own, on free ports and with its home in a temporary folder, stores the connections that the example DAGs need in
Airflow, and says where everything is and what to click first. Then it shows the requests that the emulator gets, until
Ctrl-C, SIGTERM, or the end of its terminal. It leaves no process behind, and no file.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests

from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.emulator.request_log import RequestLog

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TENANT = "/acme/dev/reinfer_"
PROD = "/acme/prod/reinfer_"
# The emulator has no pages for people, and links are made to https only. Nothing answers at this address.
PAGES = "https://pages.example.com"
# example_dev_to_prod names the user who may approve.
USERS = ("admin", "colleague")
START_SECONDS = 300.0
GRACE_SECONDS = 5.0


class StoppedError(Exception):
    """Somebody wants this to end."""


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with contextlib.suppress(StoppedError), tempfile.TemporaryDirectory(prefix="airflow-provider-cm-ui-") as folder:
        home = Path(folder)
        say(f"Starting the emulator and Airflow {version('apache-airflow')}; this takes half a minute or more ...")
        with EmulatorServer() as emulator:
            fill(emulator)
            passwords = {user: secrets.token_urlsafe(9) for user in USERS}
            with airflow(home, passwords) as url:
                connect(home, emulator, url, passwords["admin"])
                say(greeting(home, emulator, url, passwords))
                emulator.state.on_request = RequestLog().start()
                while True:
                    time.sleep(3600)
    say("\nEverything is stopped.")
    return 0


def stop(number: int, _: object) -> None:
    # A second Ctrl-C must not interrupt the cleaning up.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise StoppedError(number)


def say(text: str) -> None:
    # A user who closed the terminal reads no more, and still wants everything stopped.
    with contextlib.suppress(OSError):
        print(text, flush=True)


def fill(emulator: EmulatorServer) -> None:
    """Put sources into both tenants, so that a rollout from one to the other has something to do."""
    dev, prod = emulator.tenant(TENANT), emulator.tenant(PROD)
    dev.add_source("acme-dev", "billing-inbox", title="Billing inbox", sensitive_properties=["string:Sender"])
    dev.add_source("acme-dev", "claims-inbox", title="Claims inbox", description="Mails to claims@acme.example")
    dev.add_source("acme-dev", "customer-survey", title="Customer survey", messages=1200)
    prod.add_source("acme-prod", "billing-inbox", title="Billing (old)", messages=50000)
    prod.add_source("acme-prod", "customer-survey", title="Customer survey", messages=8000)


@contextlib.contextmanager
def airflow(home: Path, passwords: dict[str, str]) -> Iterator[str]:
    """Run ``airflow standalone`` until it is healthy, and end it with all that it started."""
    (home / "passwords.json").write_text(json.dumps(passwords))
    port, trigger_port, worker_port = free_ports(3)
    url = f"http://127.0.0.1:{port}"
    # What the caller's shell says of Airflow must not reach this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:admin" for user in USERS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_port),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_port),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (home / "airflow.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await_health(process, url, home / "airflow.log")
        yield url
    finally:
        end_session(process)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not healthy(url):
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{log.read_text(errors='replace')[-5000:]}\nAirflow did not start; its log ends above.")
        time.sleep(0.5)


def healthy(url: str) -> bool:
    with contextlib.suppress(requests.RequestException, ValueError, KeyError):
        parts = requests.get(f"{url}/api/v2/monitor/health", timeout=5).json()
        names = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(parts[part]["status"] == "healthy" for part in names)
    return False


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End all processes of a session: standalone forgets its children on SIGTERM, and tasks are in other groups."""
    until = time.monotonic() + GRACE_SECONDS
    for each in session(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    while session(process.pid) and time.monotonic() < until:
        process.poll()
        time.sleep(0.1)
    while left := session(process.pid):
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.poll()
        time.sleep(0.1)


def session(leader: int) -> list[psutil.Process]:
    processes = []
    for each in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(each.pid) == leader and each.status() != psutil.STATUS_ZOMBIE:
                processes.append(each)
    return processes


def connect(home: Path, emulator: EmulatorServer, url: str, password: str) -> None:
    """Store the connections in Airflow, where the web interface shows them."""
    answer = requests.post(f"{url}/auth/token", json={"username": "admin", "password": password}, timeout=30)
    answer.raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    for connection in connections(home, emulator):
        text = json.dumps(connection.get("extra", {}))
        stored = requests.post(
            f"{url}/api/v2/connections", json=connection | {"extra": text}, headers=headers, timeout=30
        )
        stored.raise_for_status()


def connections(home: Path, emulator: EmulatorServer) -> list[dict[str, Any]]:
    """Return the connections of the example DAGs."""
    table = home / "mailboxes.db"
    with contextlib.closing(sqlite3.connect(table)) as database:
        database.execute("CREATE TABLE mailbox (name TEXT PRIMARY KEY, title TEXT)")
        database.execute(
            "INSERT INTO mailbox VALUES ('support-de', 'Support Germany'), ('support-fr', 'Support France')"
        )
        database.commit()
    return [
        tenant(emulator, "comms_mining_default", TENANT, "Development: the project acme-dev"),
        tenant(emulator, "comms_mining_prod", PROD, "Production", allowed_projects="acme-prod", allow_delete=False),
        tenant(emulator, "comms_mining_guarded", TENANT, "Development, acme-dev only", allowed_projects="acme-dev"),
        {"connection_id": "mailboxes", "conn_type": "sqlite", "host": str(table), "description": "A table of names"},
    ]


def tenant(emulator: EmulatorServer, conn_id: str, path: str, description: str, **extra: object) -> dict[str, Any]:
    made = emulator.tenant(path).connection("app") | {"connection_id": conn_id, "description": description}
    # Airflow 3.3.1 and 3.3.2 do not test a stored connection without a port (apache/airflow#73298). For us, 0 is none.
    return made | {"port": 0, "extra": {"ui_url": PAGES + path} | extra}


def greeting(home: Path, emulator: EmulatorServer, url: str, passwords: dict[str, str]) -> str:
    dev = emulator.tenant(TENANT).endpoint
    return f"""
Airflow        {url}
  log in as    admin      {passwords["admin"]}
  or as        colleague  {passwords["colleague"]}  (may do all but approve the rollout)
  its log      {home / "airflow.log"}
Emulator       {emulator.url}
  connection   comms_mining_default is its tenant {TENANT}
  connection   comms_mining_prod    is its tenant {PROD}

What to click first:
  1. A connection: Admin > Connections. In the row of comms_mining_default, the pencil opens the form, and the first
     icon tests the connection: green when the sources could be listed, else with a message.
  2. A rollout with an approval: Dags > example_dev_to_prod > Trigger. The log of the task plan shows what would change
     in production. After that, open the task approve > Required Actions, read, and approve.
  3. A wait: Dags > example_fan_in > Trigger, with 1 mailbox. The task wait is deferred. Create what it waits for:
     curl -X PUT {dev}/api/v1/sources/acme-dev/mailbox-000 \\
       -H 'Authorization: Bearer emulator-admin' -d '{{"source": {{"title": "Mailbox 0"}}}}'
  The button "Communications Mining project" in a task's Details leads to {PAGES}, where nobody
  answers: the emulator has no pages for people.

Requests to the emulator are shown below. Ctrl-C stops everything.
"""


if __name__ == "__main__":
    sys.exit(main())
