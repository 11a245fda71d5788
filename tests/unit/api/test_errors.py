"""The errors: which class a status has, what its message holds, and whether a retry may help."""

from __future__ import annotations

import pytest

from airflow_provider_cm.api import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    CommsMiningError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TokenError,
)
from airflow_provider_cm.api.errors import api_error, is_transient_status, printable, status_text

BY_STATUS = {
    400: (BadRequestError, False),
    401: (AuthenticationError, False),
    402: (ApiError, False),
    403: (PermissionDeniedError, False),
    404: (NotFoundError, False),
    408: (ApiError, True),
    409: (ConflictError, False),
    422: (BadRequestError, False),
    425: (ApiError, True),
    429: (RateLimitedError, True),
    499: (ApiError, False),
    500: (ServerError, True),
    599: (ServerError, True),
}


@pytest.mark.parametrize("status", BY_STATUS)
def test_each_status_has_its_class_and_facts(status: int) -> None:
    error = api_error(status, "no.", method="GET", path="sources", attempts=2, retry_after=3.0, platform_ms=4.5)
    kind, transient = BY_STATUS[status]
    assert type(error) is kind
    assert error.transient is transient is is_transient_status(status)
    assert (error.method, error.path, error.status, error.api_message) == ("GET", "sources", status, "no.")
    hint = f". {kind.hint}." if kind.hint else ""
    assert str(error) == (
        f"GET sources: {status_text(status)}: no{hint} (2 attempts, platform 4.5 ms, the server asks to wait 3 s)"
    )


def test_a_permission_is_named_where_it_may_be_the_reason() -> None:
    texts = {
        status: str(api_error(status, "no", method="GET", path="x", permission="View sources"))
        for status in (401, 403, 404)
    }
    assert "answer so when the permission ('View sources') is missing." in texts[401]
    assert ". This needs the permission 'View sources' on the project. A full quota" in texts[403]
    assert "View sources" not in texts[404]
    bare = [str(api_error(status, "no", method="GET", path="x")) for status in (401, 403)]
    assert not [text for text in bare if "the permission" in text]


def test_an_empty_message_is_replaced_and_an_odd_one_escaped() -> None:
    error = api_error(418, "", method="GET", path="x")
    assert (error.api_message, str(error)) == ("no message", "GET x: 418 I'm a Teapot: no message")
    assert api_error(418, "a\nb", method="GET", path="x").api_message == "a\\nb"


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (299, "HTTP 299"), (599, "HTTP 599")])
def test_a_status_is_named(status: int, text: str) -> None:
    assert status_text(status) == text


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc... (4 characters)"),
        ("ab\n", 3, "ab\\n"),
        ("ab\nd", 3, "ab\\... (4 characters)"),
        ("\u202e", 500, "\\u202e"),
        ("x" * 500, 500, "x" * 500),
    ],
)
def test_a_text_is_escaped_and_cut(text: str, limit: int, shown: str) -> None:
    assert printable(text, limit) == shown


def test_the_default_limit_is_500_characters() -> None:
    assert printable("x" * 500) == "x" * 500
    assert printable("x" * 501) == f"{'x' * 500}... (501 characters)"


def test_an_error_without_a_call_shows_its_message_only() -> None:
    error = CommsMiningError("no")
    assert (str(error), error.transient, error.attempts) == ("no", False, 0)
    assert str(CommsMiningError("no", method="GET", attempts=1)) == "no"
    assert str(CommsMiningError("no", path="x", platform_ms=0.0)) == "no (platform 0 ms)"
    assert CommsMiningError("no", transient=True).transient is True
    assert ServerError("no", transient=False).transient is False


def test_facts_of_a_kind_are_kept() -> None:
    token = TokenError("no", error="invalid_client", status=400)
    assert (token.error, token.status) == ("invalid_client", 400)
    assert TokenError("no").error is None
    conflict = ConflictError("no", differences={"title": ("a", "b")}, status=409)
    assert (conflict.differences, conflict.status) == ({"title": ("a", "b")}, 409)
    assert ConflictError("no").differences == {}
