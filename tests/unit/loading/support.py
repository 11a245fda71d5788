"""What the tests of loading share: an API of messages that keeps what it is sent, behind real HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import MessagesApi
from tests.unit.api.server import Answer
from tests.unit.api.support import session_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.server import Request, Server

PLACE: dict[str, Any] = {"project": "acme-dev", "source_name": "tickets"}
MAPPING = {"id": "t-{n}", "timestamp": "{at}", "body": "{text}"}


def row(number: int, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"n": number, "at": "2026-01-05T09:12:00Z", "text": text, **fields}


def rows(count: int) -> list[dict[str, Any]]:
    return [row(number) for number in range(1, count + 1)]


def ok(**fields: object) -> Answer:
    return Answer(body=json.dumps({"status": "ok", **fields}).encode())


def refusal(status: int, message: str) -> Answer:
    return Answer(status, json.dumps({"status": "error", "message": message}).encode())


class Store:
    """Answers as the API does; ``refuses`` says which messages are bad.

    :param refuses: whether a comment is bad.
    :param keeps_good: store the good ones of a batch that is refused.
    :param silent: leave the bad ones out without a word.
    :param status: of a refusal.
    """

    def __init__(
        self,
        refuses: Callable[[dict[str, Any]], bool] = lambda comment: False,
        *,
        keeps_good: bool = False,
        silent: bool = False,
        status: int = 400,
        message: str = "one of the comments is not valid",
    ) -> None:
        self.comments: dict[str, dict[str, Any]] = {}
        self.batches: list[list[str]] = []
        self.counts = 0
        self.billed = 0
        self._refuses = refuses
        self._keeps_good = keeps_good
        self._silent = silent
        self._refusal = refusal(status, message)

    def __call__(self, request: Request) -> Answer:
        if request.target.endswith("/statistics"):
            self.counts += 1
            return ok(statistics={"num_comments": len(self.comments)})
        sent = request.json()["comments"]
        self.batches.append([comment["id"] for comment in sent])
        good = [comment for comment in sent if not self._refuses(comment)]
        if len(good) < len(sent) and not self._silent:
            if self._keeps_good:
                self.put(good)
            return self._refusal
        return ok(**self.put(good))

    def put(self, comments: list[dict[str, Any]]) -> dict[str, int]:
        counts = {"new": 0, "updated": 0, "unchanged": 0, "updated_properties_only": 0, "updated_text_changed": 0}
        for comment in comments:
            old = self.comments.get(comment["id"])
            if old is None:
                counts["new"] += 1
            elif old == comment:
                counts["unchanged"] += 1
            else:
                changed = old["messages"] != comment["messages"]
                counts["updated"] += 1
                counts["updated_text_changed" if changed else "updated_properties_only"] += 1
            self.comments[comment["id"]] = comment
        self.billed += counts["new"] + counts["updated_text_changed"]
        return counts


def api_of(server: Server, **settings: Any) -> MessagesApi:
    return MessagesApi(session_to(server, **settings))


class Memory:
    """Keeps a checkpoint as JSON."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.text: str | None = None

    def load(self) -> dict[str, Any] | None:
        return None if self.text is None else json.loads(self.text)

    def save(self, state: dict[str, Any]) -> None:
        self.text = json.dumps(state)
        self.saved.append(self.text)

    def clear(self) -> None:
        self.text = None
