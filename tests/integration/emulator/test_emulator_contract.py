"""
The contract, held against the emulator.

Generated bodies for every operation: none that is valid is refused, none that is not is accepted, nothing is a 500.
``EMULATOR_BODIES=5000`` sends 5,000 of each kind; by default 150 of each.
"""

from __future__ import annotations

import copy
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings, response_check, serializers
from airflow_provider_cm.emulator.contract import contract_for, operation_ids
from airflow_provider_cm.emulator.operations import registered_operations
from airflow_provider_cm.emulator.routes import sources as source_routes
from tests.integration.emulator.bodies import Bodies
from tests.integration.emulator.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

BODIES = int(os.environ.get("EMULATOR_BODIES", "150"))
SEED = random.randrange(2**32) if os.environ.get("EMULATOR_SEED") == "random" else 1
# What a valid request may meet all the same: it is taken, it is not there, it means nothing.
POSSIBLE = {200, 404, 409, 422}


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        yield server


def _with_bodies() -> list[str]:
    contract = contract_for(EmulatorSettings())
    return [each for each in registered_operations() if contract.operation(each).request is not None]


def test_every_operation_of_the_contract_is_answered() -> None:
    assert sorted(registered_operations()) == sorted(operation_ids())


@pytest.mark.parametrize("operation_id", _with_bodies())
def test_valid_bodies_pass_and_invalid_ones_do_not(server: EmulatorServer, operation_id: str) -> None:
    server.reset()
    bucket = server.tenant("/").add_bucket("acme-dev", "mail")
    source = server.tenant("/").add_source("acme-dev", "inbox")
    server.tenant("/").add_messages("acme-dev", "inbox", [{"id": "1", "messages": [{"body": {"text": "Hello"}}]}])
    dataset = server.tenant("/").add_dataset("acme-dev", "all", sources=["inbox"])
    with_streams = "/api/v1/datasets/acme-dev/all/streams"
    assert Caller(server.url)("PUT", with_streams, {"stream": {"name": "new"}}).status_code == 200
    contract = contract_for(EmulatorSettings())
    described = contract.operation(operation_id)
    assert described.request is not None
    user = Caller(server.url)("GET", "/auth/user").json()["user"]["id"]
    there = {
        "owner": "acme-dev",
        "name": "acme-dev",
        "source_name": "inbox",
        "bucket_name": "mail",
        "bucket_id": bucket["id"],
        "source_id": source["id"],
        "user_id": user,
        "dataset_name": "all",
        "dataset_id": dataset["id"],
        "model_version": "1",
        "stream_name": "new",
        "comment_uid": f"{source['id']}.1",
    }
    path = described.path.format(**there)
    judge = Draft202012Validator({**described.request.schema, "components": contract.components})
    bodies = Bodies(random.Random(f"{SEED} {operation_id}"), contract.components)
    count = -(-BODIES // len(_with_bodies()))
    api = Caller(server.url)
    counts = {"valid": 0, "invalid": 0}
    with api.session:
        while min(counts.values()) < count:
            valid = counts["valid"] < count
            body = bodies.make(described.request.schema)
            if not valid:
                body = bodies.spoil(copy.deepcopy(body))
            kind = "valid" if judge.is_valid(body) else "invalid"
            if counts[kind] >= count:
                continue
            counts[kind] += 1
            answer = api(described.method, path, json_text=bodies.text(body))
            allowed = POSSIBLE if kind == "valid" else {400}
            assert answer.status_code in allowed, (kind, body, answer.text)


def test_a_wrong_field_in_a_response_is_found(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = serializers.source_json

    def planted(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {**real(*arguments, **options), "color": "red"}

    server.reset()
    monkeypatch.setattr(source_routes, "source_json", planted)
    answer = Caller(server.url)("PUT", "/api/v1/sources/acme-dev/inbox", {"source": {}})
    reason = "breaks the contract: Additional properties are not allowed ('color' was unexpected) (in source)"
    assert (answer.status_code, reason in answer.json()["message"]) == (500, True)
    # What fails each test in which a response breaks the contract; here that is the point.
    assert len(response_check.VIOLATIONS) == 1
    response_check.VIOLATIONS.clear()


def test_a_missing_field_in_a_response_is_found_unless_the_shapes_leave_it_out(
    server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = serializers.source_json

    def planted(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {key: value for key, value in real(*arguments, **options).items() if key != "_kind"}

    server.reset()
    monkeypatch.setattr(source_routes, "source_json", planted)
    api = Caller(server.url)
    assert "'_kind' is a required property" in api("PUT", "/api/v1/sources/acme-dev/a", {"source": {}}).text
    response_check.VIOLATIONS.clear()
    server.configure(shapes="docs")
    assert api("PUT", "/api/v1/sources/acme-dev/b", {"source": {}}).status_code == 200
