"""Planning: what is done, what is blocked and why, and plans as JSON."""

from __future__ import annotations

import copy
import itertools
import json
import random
import time
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_cm.api import ProtocolError, Source
from airflow_provider_cm.rollout import Action, Change, Manifest, Plan, PlanError, plan
from tests.unit.rollout.support import PROJECT, TARGET, manifest, source


def planned(wanted: Manifest, *actual: Source, **options: Any) -> Plan:
    made = plan(wanted, actual, target=TARGET, **options)
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    return made


def only(made: Plan) -> Action:
    (action,) = made.actions
    return action


def test_create_update_and_no_op() -> None:
    made = planned(
        manifest({"name": "new", "title": "N"}, {"name": "same", "title": "S"}, {"name": "moved", "title": "after"}),
        source("same", title="S", description="not managed"),
        source("moved", title="before", description="not managed"),
        source("other", title="not named"),
    )
    moved, new = made.actions
    assert (new.kind, new.name, new.changes, new.source_id) == ("create", "new", (Change("title", None, "N"),), None)
    assert (moved.kind, moved.changes) == ("update", (Change("title", "before", "after"),))
    assert moved.source_id == source("moved").id
    assert (made.no_ops, made.target, made.project) == (1, TARGET, PROJECT)
    assert made.counts == {"create": 1, "update": 1, "no-op": 1}
    assert made.summary() == "1 to create, 1 to update, 1 unchanged"
    assert made.pending
    assert made.drifted


def test_nothing_to_do() -> None:
    made = planned(manifest({"name": "a", "title": ""}), source("a"))
    assert (made.actions, made.no_ops, made.pending, made.drifted) == ((), 1, False, False)
    assert planned(manifest()).summary() == "the manifest names no source, and there is nothing to do"


def test_other_managed_fields_are_kept_to_tell_a_stale_source() -> None:
    action = only(planned(manifest({"name": "a", "title": "x", "description": "d"}), source("a", description="d")))
    assert action.unchanged == {"description": "d"}
    assert action.before == {"title": "", "description": "d"}
    assert action.after == {"title": "x", "description": "d"}


def test_the_order_of_sensitive_properties_means_nothing() -> None:
    wanted = manifest({"name": "a", "sensitive_properties": ["string:b", "string:a", "string:b"]})
    assert planned(wanted, source("a", sensitive_properties=["string:a", "string:b"])).no_ops == 1
    action = only(planned(wanted, source("a", sensitive_properties=["string:b"])))
    assert (action.kind, action.changes) == (
        "update",
        (Change("sensitive_properties", ("string:b",), ("string:a", "string:b")),),
    )


@pytest.mark.parametrize(("field", "there", "wanted"), [("language", "de", "en"), ("kind", "call", "chat")])
def test_what_cannot_be_changed_is_blocked_as_a_whole(field: str, there: str, wanted: str) -> None:
    shown = {"language": there} if field == "language" else {"_kind": there}
    action = only(planned(manifest({"name": "a", "title": "x", field: wanted}), source("a", **shown), allow_risky=True))
    assert (action.kind, action.blocks) == ("blocked", "update")
    assert action.reason == f"the effect of an update to {field} is unknown, so this client does not send it"
    assert f"put the {field} that it has into the manifest" in action.remedy
    assert Change(field, there, wanted) in action.changes


def test_a_missing_source_that_must_exist_is_blocked() -> None:
    action = only(planned(manifest({"name": "a", "must_exist": True})))
    assert (action.kind, action.blocks) == ("blocked", "create")
    assert "must_exist" in action.reason
    assert "who deleted it" in action.remedy
    assert planned(manifest({"name": "a", "must_exist": True}), source("a")).no_ops == 1


def test_what_is_not_shown_is_unverified_and_never_written() -> None:
    raw = source("a").to_dict()
    del raw["language"]
    shown = Source.parse(raw)
    action = only(planned(manifest({"name": "a", "title": "", "language": "de"}), shown))
    assert (action.kind, action.unverified, action.changes) == ("unverified", ("language",), ())
    made = planned(manifest({"name": "a", "title": "x", "language": "de"}), shown)
    assert (only(made).kind, only(made).unverified) == ("update", ("language",))
    assert only(made).changes == (Change("title", "", "x"),)
    assert not planned(manifest({"name": "a", "language": "de"}), shown).drifted


RISKY: list[tuple[dict[str, Any], dict[str, Any] | None, str]] = [
    (
        {"sensitive_properties": ["string:a"]},
        {"sensitive_properties": ["string:a", "string:b"]},
        "dropping a sensitive property",
    ),
    ({"bucket_id": "b1"}, {}, "attaching a bucket"),
    ({"bucket_id": "b2"}, {"bucket_id": "b1"}, "changing a bucket"),
    ({"bucket_id": "b1"}, None, "attaching a bucket"),
]


@pytest.mark.parametrize(("fields", "there", "why"), RISKY)
def test_risky_changes_are_marked_and_blocked_unless_allowed(
    fields: dict[str, Any], there: dict[str, Any] | None, why: str
) -> None:
    wanted = manifest({"name": "a", "title": "x", **fields})
    actual = [] if there is None else [source("a", **there)]
    kind = "create" if there is None else "update"
    blocked = only(planned(wanted, *actual))
    assert (blocked.kind, blocked.blocks, blocked.risky) == ("blocked", kind, True)
    assert blocked.reason.startswith(f"risky: {why}")
    allowed = only(planned(wanted, *actual, allow_risky=True))
    assert (allowed.kind, allowed.risky) == (kind, True)
    assert [change.field for change in allowed.changes if change.risk] == list(fields)


def test_adding_a_sensitive_property_and_detaching_a_bucket_are_not_risky() -> None:
    wanted = manifest({"name": "a", "sensitive_properties": ["string:a"], "detach_bucket": True})
    action = only(planned(wanted, source("a", bucket_id="b1")))
    assert (action.kind, action.risky) == ("update", False)
    assert Change("bucket_id", "b1", None) in action.changes
    assert planned(manifest({"name": "a", "detach_bucket": True}), source("a")).no_ops == 1
    assert only(planned(manifest({"name": "a", "detach_bucket": True}))).changes == ()


# Deletes

OWNING: dict[str, Any] = {"owns": ["nps-*", "tmp-?"], "protect": ["nps-legal", "nps-x*"]}
THERE = [source(name) for name in ("nps-1", "nps-legal", "nps-xy", "tmp-1", "tmp-10", "other", "kept")]


def test_deletes_are_what_is_owned_not_protected_and_not_named() -> None:
    wanted = manifest({"name": "kept"}, {"name": "tmp-9"}, **OWNING)
    made = planned(wanted, *THERE, prune=True, max_deletes=2)
    assert [(action.kind, action.name) for action in made.actions] == [
        ("delete", "nps-1"),
        ("delete", "tmp-1"),
        ("create", "tmp-9"),
    ]
    delete = made.actions[0]
    assert delete.source_id == source("nps-1").id
    assert Change("language", "en", None) in delete.changes
    assert delete.unchanged == {"bucket_id": None, "email_transform_tag": None}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("support-legal", "Support-Legal"),
        ("SUPPORT-*", "support-legal"),
        ("support-[l]*", "support-Legal"),
        ("support-[!a-m]*", "support-Legal"),
        ("?upport-L*", "support-legal"),
    ],
)
def test_protection_minds_no_case(pattern: str, name: str) -> None:
    wanted = manifest({"name": "kept"}, owns=["[Ss]upport-*"], protect=[pattern])
    assert planned(wanted, source(name), prune=True, max_deletes=5).counts == {"create": 1}


def test_ownership_does_mind_case() -> None:
    """So that less is deleted than somebody may think, and never more."""
    there = [source("Support-old"), source("support-old"), source("SUPPORT-OLD")]
    wanted = manifest({"name": "kept"}, owns=["support-*"])
    made = planned(wanted, *there, prune=True, max_deletes=5)
    assert [action.name for action in made.actions if action.kind == "delete"] == ["support-old"]


def test_nothing_is_deleted_without_prune() -> None:
    made = planned(manifest({"name": "kept"}, **OWNING), *THERE, max_deletes=100)
    assert made.actions == ()


def test_more_deletes_than_allowed_block_them_all() -> None:
    made = planned(manifest({"name": "kept"}, **OWNING), *THERE, prune=True, max_deletes=1)
    assert [(action.kind, action.blocks) for action in made.actions] == [("blocked", "delete")] * 2
    assert "2 deletes would be too many: max_deletes is 1, so none is done" in made.actions[0].reason
    assert "raise max_deletes" in made.actions[0].remedy
    assert planned(manifest({"name": "kept"}, **OWNING), *THERE, prune=True, max_deletes=0).counts["blocked"] == 2


@pytest.mark.parametrize(
    "owns", ["*", "a-*;**", "?*", "[a-z]*", "*?", "[!a]*", "*-*", "?*-", "*_", "-*", "[a-z]*-[0-9]*", "[s]*", "__*"]
)
def test_prune_refuses_patterns_that_own_everything(owns: str) -> None:
    wanted = manifest({"name": "a"}, owns=owns.split(";"))
    with pytest.raises(PlanError, match="in `owns` has no fixed letter or digit"):
        planned(wanted, prune=True, max_deletes=5)
    assert planned(wanted, *THERE).counts == {"create": 1}


@pytest.mark.parametrize("max_deletes", [None, True, -1, "3", 1.0])
def test_prune_needs_a_number(max_deletes: Any) -> None:
    with pytest.raises(PlanError, match="max_deletes"):
        planned(manifest({"name": "a"}, owns=["a-*"]), prune=True, max_deletes=max_deletes)


def test_prune_refuses_a_manifest_without_sources() -> None:
    with pytest.raises(PlanError, match="names no source"):
        planned(manifest(owns=["nps-*"]), *THERE, prune=True, max_deletes=100)


def test_a_name_that_differs_in_case_only_is_neither_created_nor_pruned() -> None:
    made = planned(manifest({"name": "NPS-1"}, owns=["nps-*"]), source("nps-1"), prune=True, max_deletes=5)
    assert [(action.kind, action.blocks, action.name) for action in made.actions] == [
        ("blocked", "create", "NPS-1"),
        ("blocked", "delete", "nps-1"),
    ]
    assert all("upper and lower case only" in action.reason for action in made.actions)


@pytest.mark.parametrize("name", ["nps-a/b", "nps-..", "nps-a b"])
def test_a_name_that_no_manifest_could_give_is_nobodys(name: str) -> None:
    made = planned(manifest({"name": "kept"}, **OWNING), source(name), prune=True, max_deletes=5)
    assert made.counts == {"create": 1}


# What it is made of


def test_sources_of_other_projects_are_invisible() -> None:
    made = planned(manifest({"name": "a"}, owns=["n-*"]), source("n-1", owner="acme"), prune=True, max_deletes=5)
    assert made.counts == {"create": 1}
    with pytest.raises(PlanError, match="write it as the server does, 'Acme-Dev'"):
        planned(manifest({"name": "a"}), source("a", owner="Acme-Dev"))
    with pytest.raises(ProtocolError, match="two sources 'a'"):
        planned(manifest({"name": "a"}), source("a"), source("a"))


def test_the_same_input_gives_the_same_plan_in_any_order() -> None:
    wanted = [{"name": name, "title": name} for name in ("b", "a", "d", "c")]
    there = [source("c"), source("n-2"), source("a"), source("n-1")]
    plans = {
        planned(manifest(*some, owns=["n-*"]), *others, prune=True, max_deletes=5)
        for some, others in zip(itertools.permutations(wanted), itertools.permutations(there), strict=True)
    }
    (made,) = plans
    assert [action.name for action in made.actions] == ["a", "b", "c", "d", "n-1", "n-2"]
    assert len({each.digest for each in plans}) == 1


def test_the_target_is_normalised() -> None:
    made = plan(manifest(), [], target="https://CLOUD.uipath.com/acme/dev/reinfer_/api/v1/")
    assert made.target == TARGET


def test_5000_sources_are_read_and_planned_quickly() -> None:
    entries = [{"name": f"s-{number}", "title": f"Source {number}", "language": "en"} for number in range(5000)]
    text = json.dumps({"project": PROJECT, "owns": ["s-*"], "sources": entries}, indent=1)
    there = [source(f"s-{number}", title=random.choice(["x", f"Source {number}"])) for number in range(1000, 6000)]
    started = time.perf_counter()
    wanted = Manifest.parse(text)
    parsed = time.perf_counter()
    made = plan(wanted, there, target=TARGET, prune=True, max_deletes=1000)
    ended = time.perf_counter()
    assert made.digest
    print(f"5,000 sources: read in {parsed - started:.2f} s, planned in {ended - parsed:.2f} s, ", end="")
    print(f"digest in {time.perf_counter() - ended:.2f} s: {made.summary()}")
    assert ended - started < 6  # loose: other work may share the machine


# JSON


@pytest.fixture
def whole() -> dict[str, Any]:
    wanted = manifest(
        {"name": "new", "title": "N", "should_translate": True},
        {"name": "moved", "title": "x", "description": "d"},
        {"name": "lang", "language": "en"},
        owns=["n-*"],
    )
    there = [source("moved", description="d"), source("lang", language="de"), source("n-1", bucket_id="b")]
    made: dict[str, Any] = json.loads(json.dumps(planned(wanted, *there, prune=True, max_deletes=1).to_dict()))
    return made


def test_a_plan_in_json_is_the_same_plan(whole: dict[str, Any]) -> None:
    made = Plan.from_dict(whole)
    assert made.to_dict() == whole
    assert whole["format_version"] == 1
    assert whole["digest"] == made.digest
    assert made.digest.startswith("sha256:")
    assert len(made.digest) == 71


def test_any_alteration_is_noticed(whole: dict[str, Any]) -> None:
    def alterations(value: Any, put: Any) -> Any:
        """Give functions, each of which alters one value somewhere."""
        if isinstance(value, dict):
            for key in value:
                yield from alterations(value[key], lambda new, key=key: value.__setitem__(key, new))
        elif isinstance(value, list):
            for number in range(len(value)):
                yield from alterations(value[number], lambda new, number=number: value.__setitem__(number, new))
            yield lambda: put([*value, *value[:1]] if value else ["x"])
        elif isinstance(value, bool):
            yield lambda: put(not value)
        elif isinstance(value, int):
            yield lambda: put(value + 1)
        else:
            yield lambda: put(f"{value}x" if value else "x")
            yield lambda: put(None if value is not None else "n")

    count = len(list(alterations(whole, None)))
    assert count > 100
    for number in range(count):
        altered = copy.deepcopy(whole)
        list(alterations(altered, None))[number]()
        assert altered != whole
        with pytest.raises(PlanError):
            Plan.from_dict(altered)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_another_format_version_is_refused(whole: dict[str, Any], version: Any) -> None:
    with pytest.raises(PlanError, match=r"format version .* plan again"):
        Plan.from_dict({**whole, "format_version": version})


@pytest.mark.parametrize("data", [{}, [], "x", None, 5])
def test_what_is_no_plan_is_refused(data: Any) -> None:
    with pytest.raises(PlanError, match="this is not a plan"):
        Plan.from_dict(data)


def test_what_was_altered_together_with_its_digest_still_has_to_make_sense(whole: dict[str, Any]) -> None:
    made = Plan.from_dict(whole)
    (update,) = (action for action in made.actions if action.kind == "update")

    def changed(**fields: Any) -> dict[str, Any]:
        return Plan(TARGET, PROJECT, (replace(update, **fields),)).to_dict()

    assert Plan.from_dict(changed()).actions == (update,)
    for fields, says in (
        ({"source_id": None}, "needs an id"),
        ({"source_id": "../x"}, "source_id"),
        ({"name": "a/b"}, "source_name"),
        ({"project": "acme-prod"}, "another project"),
        ({"changes": ()}, "changes something"),
        ({"changes": (Change("language", "a", "b"),)}, "neither language nor kind"),
        ({"changes": (Change("id", "a", "b"),)}, "not a source's"),
        ({"changes": (Change("title", "a", "b"), Change("title", "a", "c"))}, "one twice"),
        ({"changes": (Change("title", "a", True),)}, "a value that it cannot have"),
        ({"changes": (Change("should_translate", "a", "b"),)}, "a value that it cannot have"),
        ({"kind": "create"}, "has no id yet"),
        ({"kind": "blocked"}, "says what it blocks"),
        ({"kind": "replace"}, "kind"),
    ):
        with pytest.raises(PlanError, match=says):
            Plan.from_dict(changed(**fields))
    with pytest.raises(PlanError, match="sorted, one for each source"):
        Plan.from_dict(Plan(TARGET, PROJECT, (update, update)).to_dict())
    with pytest.raises(PlanError, match="sorted"):
        Plan.from_dict(Plan(TARGET, PROJECT, tuple(reversed(made.actions))).to_dict())
