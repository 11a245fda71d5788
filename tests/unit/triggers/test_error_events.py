"""Errors on their way through Airflow's database: whatever they hold, it can be stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_cm.api import CommsMiningError, ServerError, TokenError
from airflow_provider_cm.triggers.deferred_wait import failed
from airflow_provider_cm.triggers.error_events import error_from_json, error_to_json


@pytest.mark.parametrize(
    "facts",
    [
        {"platform_ms": float("inf"), "retry_after": float("nan")},
        {"status": 10**30, "attempts": -(2**63) - 1},
        {"api_message": "cut \ud83d, and a\0b", "path": "sources/\udfff"},
    ],
)
@pytest.mark.parametrize("kind", [ServerError, TokenError])
def test_an_error_can_be_stored_whatever_it_holds(kind: type[CommsMiningError], facts: dict[str, Any]) -> None:
    payload = failed(kind("half of \ud83d", method="GET", **facts)).payload
    text = json.dumps(payload, allow_nan=False, ensure_ascii=False)
    text.encode()  # a lone surrogate would raise
    assert "\0" not in json.loads(text)["error"]["message"] + str(payload)
    assert payload["error"]["message"] == "half of \ufffd"
    numbers = [value for value in payload["error"].values() if isinstance(value, int | float)]
    assert all(-(2**63) <= value < 2**63 for value in numbers)
    assert type(error_from_json(json.loads(text)["error"])) is kind


def test_what_can_be_stored_stays_as_it_is() -> None:
    error = ServerError("no \U0001f600", status=503, platform_ms=1.5, attempts=2**62, api_message="h\u00f6")
    described = error_to_json(error)
    assert (described["message"], described["platform_ms"], described["attempts"]) == ("no \U0001f600", 1.5, 2**62)
    assert described["api_message"] == "h\u00f6"
