"""
The OpenAPI document against the running server, by schemathesis: what the document promises is what happens.

Repeatable by default; ``EMULATOR_EXAMPLES=500`` tries more for each operation, and ``EMULATOR_SEED=random`` others.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from airflow_provider_cm.emulator import (
    EmulatorServer,
    EmulatorSettings,
    app,  # noqa: F401  registers the operations
)
from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.operations import registered_operations
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = "/acme/dev/reinfer_"
HEADERS = {"Authorization": "Bearer emulator-admin"}
WELL_FORMED = {
    "owner": "[A-Za-z0-9]{1,256}",
    "source_name": "[A-Za-z0-9]{1,256}",
    "source_id": "[0-9a-f]{16}",
}
EXAMPLES = int(os.environ.get("EMULATOR_EXAMPLES", "3"))
REPEATABLE = os.environ.get("EMULATOR_SEED") != "random"
# Uploads: the contract does not say that the file is required.
DEEP = ("upload", "Audio", "Comments", "RawEmails", "Statistics", "Dataset", "Stream", "Labelling")
LENIENT = EmulatorSettings(
    shapes="docs",
    duplicate_put="upsert",
    null_field="ignore",
    unknown_field="ignore",
    unknown_bucket="accept",
    language_on_update="accept",
    kind_on_update="refuse",
    missing_project_list="empty",
    delete_missing=200,
    invalid_name=404,
    max_title=3,
)


def _shallow_operations() -> list[str]:
    """
    Leave out the operations whose bodies hold messages or filters.

    Schemathesis lists every combination of their nested objects, and comes to no end. They have
    generated bodies in test_emulator_contract.py.
    """
    return [each for each in registered_operations() if not any(part in each for part in DEEP)]


def _schema(behaviour: EmulatorSettings) -> Any:
    config = {
        "generation": {"mode": "all", "max-examples": EXAMPLES, "deterministic": REPEATABLE, "database": "none"},
        # A well-formed value can still be none, such as the id of a bucket that is not there.
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "403", "404", "409", "422"]}},
    }
    described = contract_for(behaviour).document(TENANT, _shallow_operations())
    return schemathesis.openapi.from_dict(described, config=SchemathesisConfig.from_dict(config))


# Made before the tests are collected, since there is to be one for each operation. That it is also what the server
# shows is tested below.
strict, lenient = _schema(EmulatorSettings()), _schema(LENIENT)
tries = settings(
    max_examples=EXAMPLES, derandomize=REPEATABLE, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def _call(case: schemathesis.Case[Any], server: EmulatorServer, session: requests.Session) -> None:
    tenant = server.tenant(TENANT)
    if "sources" in case.path:
        # A made-up name is hardly ever one that is there: have a source, and aim at it.
        source = tenant.source("acme-dev", "inbox") or tenant.add_source("acme-dev", "inbox")
        there = {"owner": "acme-dev", "source_name": "inbox", "source_id": source["id"]}
        for name, value in case.path_parameters.items():
            if name in there and re.fullmatch(WELL_FORMED[name], str(value)):
                case.path_parameters[name] = there[name]
    case.call_and_validate(base_url=server.tenant(TENANT).endpoint, session=session, headers=HEADERS)


@strict.parametrize()  # type: ignore[untyped-decorator]
@tries
def test_any_request(case: schemathesis.Case[Any], server: EmulatorServer, session: requests.Session) -> None:
    if server.settings != EmulatorSettings():
        server.configure(**EmulatorSettings().model_dump())
    _call(case, server, session)


@lenient.include(path_regex="sources").parametrize()  # type: ignore[untyped-decorator]
@tries
def test_any_request_of_sources_under_other_settings(
    case: schemathesis.Case[Any], server: EmulatorServer, session: requests.Session
) -> None:
    if server.settings != LENIENT:
        server.configure(**LENIENT.model_dump())
    _call(case, server, session)


@pytest.mark.parametrize("behaviour", [EmulatorSettings(), LENIENT])
def test_the_server_shows_the_document_that_was_tested(server: EmulatorServer, behaviour: EmulatorSettings) -> None:
    server.configure(**behaviour.model_dump())
    document = Caller(server.tenant(TENANT).endpoint, None)("GET", "/openapi.json").json()
    assert document == contract_for(behaviour).document(TENANT, registered_operations())


def test_a_wrong_method_names_all_right_ones(server: EmulatorServer) -> None:
    answer = Caller(server.url)("PATCH", "/api/v1/sources/acme-dev/inbox")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST, PUT")
