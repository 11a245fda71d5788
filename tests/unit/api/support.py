"""What the tests of the client share: secrets to look for, sessions, sources, and a clock that is not waited for."""

from __future__ import annotations

import base64
import contextlib
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_cm.api import ApiSession, CommsMiningError, DeveloperToken, RetryPolicy, SourcesApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.api.server import Server

TOKEN = "dev+token/Zq8XvR3mLw0TbYc7Kp2Hs9Nd=="
NEW_TOKEN = "rotated+token/4JfGh6QaEe1UxWi5Oy8B=="
CLIENT_SECRET = "app(secret)&%=Vn3$Rt7!kMz0qLp9"
ACCESS_TOKEN = "eyJhbGciOi.minted-one_Wq4.Xc8Vb2Nm6"
SECOND_ACCESS_TOKEN = "eyJhbGciOi.minted-two_Lk7.Hg3Fd9Sa1"
PROXY_PASSWORD = "pr0xy-pa55word-Tz6"
SECRETS = (TOKEN, NEW_TOKEN, CLIENT_SECRET, ACCESS_TOKEN, SECOND_ACCESS_TOKEN, PROXY_PASSWORD)

E = TypeVar("E", bound=BaseException)


class Clock:
    """Monotonic time that passes only by sleeping, and the wall clock of a server that agrees with it."""

    start = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.now - 1000.0)

    def date(self) -> dict[str, str]:
        """Give the ``Date`` header of now."""
        return {"Date": format_datetime(self.wall(), usegmt=True)}

    def policy(self, **settings: Any) -> RetryPolicy:
        return RetryPolicy(sleep=self.sleep, clock=self, **settings)


def session_to(server: Server | str, **settings: Any) -> ApiSession:
    """Make a session whose waits take no time, unless ``retry`` is given."""
    settings.setdefault("retry", Clock().policy())
    auth = settings.pop("auth", None) or DeveloperToken(TOKEN)
    return ApiSession(server if isinstance(server, str) else server.url, auth, **settings)


def sources_of(server: Server | str, **settings: Any) -> SourcesApi:
    return SourcesApi(session_to(server, **settings))


def source(**fields: Any) -> dict[str, Any]:
    """Give a source as the vendor's page shows it in the answer to a create."""
    return {
        "created_at": "2016-02-10T23:13:28.340295+00:00",
        "description": "An optional long form description.",
        "id": "18ba5ce699f8da1f",
        "language": "en",
        "last_modified": "2016-02-10T23:13:28.340295+00:00",
        "name": "example",
        "owner": "acme",
        "sensitive_properties": [],
        "should_translate": False,
        "title": "An Example Source",
        "updated_at": "2016-02-10T23:13:28.340295+00:00",
        **fields,
    }


@dataclass
class Caught:
    """Filled when the block of :func:`fails` ends."""

    errors: list[Any] = field(default_factory=list)

    @property
    def error(self) -> Any:
        return self.errors[0]

    @property
    def text(self) -> str:
        return str(self.errors[0])


@contextlib.contextmanager
def fails(kind: type[E]) -> Iterator[Caught]:
    """Expect exactly this error, and that nothing anywhere in it shows a secret."""
    caught = Caught()
    with pytest.raises(kind) as info:
        yield caught
    caught.errors.append(info.value)
    assert type(info.value) is kind
    assert_no_secret(info.value)


def assert_no_secret(*things: object) -> None:
    """Look for secrets in texts, reprs, and whole tracebacks with the variables of every frame."""
    for thing in things:
        for text in _faces(thing):
            for secret in SECRETS:
                for form in _forms(secret):
                    assert form not in text, f"a secret shows in {text[:3000]}"


def _forms(secret: str) -> set[str]:
    whole = {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    # A text that was cut in the middle of a secret is found by any 12 characters of it.
    parts = {secret[at : at + 12] for at in range(len(secret) - 11)}
    return whole | parts | {base64.b64encode(secret.encode()).decode()}


def _faces(thing: object) -> Iterator[str]:
    yield str(thing)
    yield repr(thing)
    if isinstance(thing, BaseException):
        for error in _family(thing):
            yield str(error)
            yield repr(error)
            yield repr(vars(error))
            yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    if isinstance(thing, CommsMiningError):
        yield str(thing.api_message)


def _family(error: BaseException) -> list[BaseException]:
    """Collect causes and contexts, the suppressed ones too: error trackers show them."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and each not in found:
            found.append(each)
            todo += [each.__cause__, each.__context__]
    return found
