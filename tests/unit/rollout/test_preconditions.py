"""How an action ends in the light of a list, as whole outcomes: the result, the words, the id and whether to retry."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_cm.api.models import Source
from airflow_provider_cm.rollout import Action, Change, Outcome, Report
from airflow_provider_cm.rollout.preconditions import Ending, cut_off, judge, not_begun, verify
from tests.unit.rollout.support import PROJECT

CREATE = Action("create", PROJECT, "a", (Change("title", None, "after"),))
UPDATE = Action("update", PROJECT, "a", (Change("title", "before", "after"),), source_id="1a")
DELETE = Action("delete", PROJECT, "a", (Change("title", "before", None),), source_id="1a")
BY_KIND = {"create": CREATE, "update": UPDATE, "delete": DELETE}


def live(title: str | None = "after", source_id: str = "1a") -> Source:
    """Make a source as a server that shows only some fields does."""
    shown: dict[str, Any] = {} if title is None else {"title": title}
    return Source.parse({"id": source_id, "owner": PROJECT, "name": "a", **shown})


def outcome(action: Action, result: Any, words: str, source_id: str | None = None, **more: Any) -> Outcome:
    return Outcome(action.kind, PROJECT, "a", result, words, source_id or action.source_id, **more)


@pytest.mark.parametrize(
    ("action", "there", "expected"),
    [
        (CREATE, live(), ("unchanged", "it is as wanted already", "1a")),
        (CREATE, live(None), ("unchanged", "it is as wanted already; the server does not show its title", "1a")),
        (
            CREATE,
            live("rival"),
            ("stale", "it has been created since the plan was made: title is 'rival', not 'after'", "1a"),
        ),
        (UPDATE, live(), ("unchanged", "it is as wanted already", "1a")),
        (UPDATE, live(None), ("stale", "it has moved since the plan was made: title is not shown any more", "1a")),
        (
            UPDATE,
            live("rival"),
            ("stale", "it has moved since the plan was made: title is 'rival', not 'before'", "1a"),
        ),
        (UPDATE, live(source_id="2b"), ("stale", "another source has this name now: its id is 2b, not 1a", "1a")),
        (
            DELETE,
            live("rival"),
            ("stale", "it has moved since the plan was made: title is 'rival', not 'before'", "1a"),
        ),
        (DELETE, live("before", "2b"), ("stale", "another source has this name now: its id is 2b, not 1a", "1a")),
    ],
)
def test_what_ends_without_anything_being_done(action: Action, there: Source, expected: tuple[Any, ...]) -> None:
    assert judge(action, there) == outcome(action, *expected)


@pytest.mark.parametrize(("action", "there"), [(CREATE, None), (UPDATE, live("before")), (DELETE, live("before"))])
def test_what_is_as_the_plan_found_it_is_carried_out(action: Action, there: Source | None) -> None:
    assert judge(action, there) is None


UNKNOWN = ("unknown", "perhaps")
FAILED = ("failed", "perhaps")
REFUSED = ("failed", "refused")
NOT_SENT = ("failed", "no")
LOST = "the response was lost; the source is"
WRONG = "although this went wrong: said"


@pytest.mark.parametrize(
    ("kind", "ended", "there", "expected"),
    [
        # A response that was lost: only the list tells.
        ("delete", UNKNOWN, None, ("confirmed", f"{LOST} gone", "1a")),
        ("delete", UNKNOWN, live("before", "2b"), ("confirmed", f"{LOST} gone", "1a")),
        ("delete", UNKNOWN, live("before"), ("unknown", "said", "1a")),
        ("create", UNKNOWN, live(), ("confirmed", f"{LOST} as wanted", "1a")),
        ("create", UNKNOWN, live("rival"), ("unknown", "said", None)),
        ("create", UNKNOWN, live(None), ("unknown", "said", None)),
        ("create", UNKNOWN, None, ("unknown", "said", None)),
        ("update", UNKNOWN, live(), ("confirmed", f"{LOST} as wanted", "1a")),
        ("update", UNKNOWN, live("before"), ("unknown", "said", "1a")),
        ("update", UNKNOWN, live(source_id="2b"), ("unknown", "said", "1a")),
        # A write that may have been carried out, although something went wrong.
        ("create", FAILED, live(), ("confirmed", f"the source is as wanted, {WRONG}", "1a")),
        ("update", FAILED, live(), ("confirmed", f"the source is as wanted, {WRONG}", "1a")),
        ("update", FAILED, live("before"), ("failed", "said", "1a")),
        # One that was refused, and one that was not sent: what is there is somebody else's work.
        ("create", REFUSED, live(), ("unchanged", "it is as wanted, and not by this apply: said", "1a")),
        ("create", NOT_SENT, live(), ("unchanged", "it is as wanted, and not by this apply: said", "1a")),
        ("create", NOT_SENT, live("rival"), ("failed", "said", None)),
        (
            "create",
            REFUSED,
            live("rival"),
            (
                "stale",
                "it has been created since the plan was made: title is 'rival', not 'after'. The server answered: said",
                "1a",
            ),
        ),
        ("update", REFUSED, live("before"), ("failed", "said", "1a")),
        ("delete", REFUSED, live("before"), ("failed", "said", "1a")),
        ("delete", REFUSED, None, ("unchanged", "it is gone, and not by this apply: said", "1a")),
        # A delete that met a 404.
        ("delete", ("unchanged", "no"), None, ("unchanged", "said", "1a")),
        (
            "delete",
            ("unchanged", "no"),
            live("before"),
            ("failed", "the server lists the source, and yet does not find it: said", "1a"),
        ),
        # What the server said that it did.
        ("delete", ("done", "perhaps"), None, ("done", "said", "1a")),
        ("delete", ("done", "perhaps"), live("before", "2b"), ("done", "said", "1a")),
        (
            "delete",
            ("done", "perhaps"),
            live("before"),
            ("failed", "the server accepted it, but still lists the source", "1a"),
        ),
        ("update", ("done", "perhaps"), live(), ("done", "said", "1a")),
        (
            "update",
            ("done", "perhaps"),
            live("rival"),
            (
                "failed",
                "the server accepted it, but the list afterwards shows something else: title is 'rival', not 'after'",
                "1a",
            ),
        ),
        (
            "update",
            ("confirmed", "perhaps"),
            live(source_id="2b"),
            ("failed", "the server accepted it, but lists another source of this name afterwards (id 2b)", "1a"),
        ),
    ],
)
def test_a_list_decides(kind: str, ended: tuple[Any, Any], there: Source | None, expected: tuple[Any, ...]) -> None:
    action = BY_KIND[kind]
    result, sent = ended
    found = verify(action, Ending(outcome(action, result, "said"), sent=sent), there)
    assert found == outcome(action, *expected)


def test_a_source_that_no_list_shows_is_unknown_and_worth_another_apply() -> None:
    found = verify(UPDATE, Ending(outcome(UPDATE, "done", "said")), None)
    words = "the server accepted it, but does not list the source afterwards"
    assert found == outcome(UPDATE, "unknown", words, transient=True)


@pytest.mark.parametrize("result", ["done", "failed", "unknown", "skipped"])
def test_what_is_settled_stays_whatever_a_list_shows(result: str) -> None:
    for there in (None, live(), live("rival"), live(source_id="2b")):
        for action in BY_KIND.values():
            said = outcome(action, result, "said")
            assert verify(action, Ending(said, settled=True), there) is said


def test_what_a_stop_leaves_is_worth_another_apply() -> None:
    words = "not begun, since the task was stopped; apply the plan again"
    assert not_begun(DELETE) == outcome(DELETE, "skipped", words, transient=True)
    assert cut_off(DELETE).result == "unknown"
    assert cut_off(DELETE).transient


def test_a_report_as_markdown_names_each_source_and_how_it_ended() -> None:
    report = Report(
        "https://cm.example.com/x",
        PROJECT,
        "sha256:1",
        (outcome(CREATE, "done", "created *it*"), outcome(DELETE, "unchanged", "")),
    )
    assert report.render_markdown().splitlines() == [
        "**Report** for project `acme-dev` on `https://cm.example.com/x`",
        "",
        r"- **done** `a` (create): created \*it\*",
        "- **unchanged** `a` (delete)",
        "",
        r"acme\-dev\: 1 done\, 1 unchanged",
        "",
        "Digest: `sha256:1`",
    ]
