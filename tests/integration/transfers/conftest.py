"""An emulator with an empty source, real databases and an S3 server, all reached through Airflow connections."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import duckdb
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from tests.e2e.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_cm.emulator import TenantHandle
    from tests.conftest import Connect

PROJECT, SOURCE = "acme-dev", "inbox"
WHERE: dict[str, Any] = {"project": PROJECT, "source_name": SOURCE}
MAPPING = {"id": "m-{id}", "timestamp": "{sent}", "body": "{text}", "timezone": "UTC"}
AT = "2026-01-05T09:12:00+00:00"


def message_ids(tenant: TenantHandle) -> list[str]:
    return [each["id"] for each in tenant.messages(PROJECT, SOURCE)]


def texts(tenant: TenantHandle) -> dict[str, str]:
    return {each["id"]: each["messages"][0]["body"]["text"] for each in tenant.messages(PROJECT, SOURCE)}


class Task:
    """What a load uses of a task instance."""

    map_index = -1

    def xcom_push(self, key: str, value: Any) -> None:
        pass


@pytest.fixture
def tenant(connect: Connect) -> TenantHandle:
    handle = connect()
    handle.add_source(PROJECT, SOURCE)
    return handle


@dataclass(frozen=True)
class Database:
    """A database that tests fill, and the id of its Airflow connection."""

    kind: str
    conn_id: str
    connect: Callable[[], Any]

    def run(self, *statements: str) -> None:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            for each in statements:
                cursor.execute(each)
            if self.kind != "duckdb":
                connection.commit()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url.replace("postgresql+psycopg2", "postgresql")


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    kind, path = request.param, str(tmp_path / "messages.db")
    if kind == "sqlite":
        monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "sqlite", "host": path}))
        return Database(kind, "crm", lambda: sqlite3.connect(path))
    if kind == "duckdb":
        monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "duckdb", "host": path}))
        return Database(kind, "crm", lambda: duckdb.connect(path))
    url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("AIRFLOW_CONN_CRM", url)
    made = Database(kind, "crm", lambda: psycopg2.connect(url))
    made.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return made


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give a bucket of the test's own, whose URL for Airflow is ``s3://store@<name>``."""
    keys = {"login": "key", "password": "secret", "extra": {"endpoint_url": s3_server, "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps({"conn_type": "aws", **keys}))
    s3 = boto3.resource(
        "s3", endpoint_url=s3_server, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    made = s3.create_bucket(Bucket=f"b{abs(hash(request.node.nodeid))}")
    yield made
    made.objects.all().delete()
    made.delete()
