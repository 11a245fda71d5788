"""For any manifest and any project: what is planned is done, nothing else is, and the second time there is nothing."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from airflow_provider_cm.api.source_fields import SETTABLE
from airflow_provider_cm.emulator import EmulatorServer
from airflow_provider_cm.rollout import Manifest, Plan, apply, export
from tests.rollout.drawing import ENTRIES, OWNS, PROJECT, PROJECTS, entry
from tests.unit.rollout.support import World, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = int(os.environ.get("ROLLOUT_EXAMPLES", "60"))
RUN = settings(
    max_examples=EXAMPLES, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
# What each shape never shows, not even by id.
HIDDEN = {"full": frozenset[str](), "docs": frozenset({"kind", "email_transform_tag"})}

Held = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as running:
        yield running


def begin(server: EmulatorServer, shapes: str, project: dict[str, Any]) -> tuple[World, list[str]]:
    """Fill a tenant with what was drawn."""
    server.reset()
    server.configure(shapes=shapes, transform_tags=("generic.0.CONVKER5", "generic.1.AAAAAAAA"))
    world = make_world(server)
    buckets = [world.tenant.add_bucket(PROJECT, name)["id"] for name in ("one", "two")]
    for name, (fields, messages) in project.items():
        given = {key: value for key, value in fields.items() if key != "bucket"}
        if "bucket" in fields:
            given["bucket_id"] = buckets[fields["bucket"]]
        world.tenant.add_source(PROJECT, name, messages=messages, **given)
    world.tenant.add_source("acme-prod", "nps-1", title="of another project")
    return world, buckets


def held(world: World) -> Held:
    return {f"{each['owner']}/{each['name']}": each for each in world.tenant.sources()}


def matches(there: dict[str, Any], fields: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give the managed fields in which a source differs from what is wanted."""
    differing = {}
    for name, value in fields.items():
        has = there.get(SETTABLE[name])
        same = set(has or ()) == set(value) if name == "sensitive_properties" else has == value
        if not same:
            differing[name] = (has, value)
    return differing


@given(
    shapes=st.sampled_from(["full", "docs"]),
    project=PROJECTS,
    entries=ENTRIES,
    owns=OWNS,
    protect=OWNS,
    prune=st.booleans(),
    max_deletes=st.integers(0, 3),
    allow_risky=st.booleans(),
    delete_nonempty=st.booleans(),
    as_text=st.booleans(),
)
@RUN
def test_plan_then_apply(
    server: EmulatorServer,
    shapes: str,
    project: dict[str, Any],
    entries: dict[str, Any],
    owns: list[str],
    protect: list[str],
    prune: bool,
    max_deletes: int,
    allow_risky: bool,
    delete_nonempty: bool,
    as_text: bool,
) -> None:
    world, buckets = begin(server, shapes, project)
    data = {
        "project": PROJECT,
        "owns": owns,
        "protect": protect,
        "sources": [entry(name, fields, buckets, shapes) for name, fields in entries.items()],
    }
    manifest = Manifest.parse(yaml.safe_dump(data, allow_unicode=True) if as_text else data)
    options: dict[str, Any] = {"allow_risky": allow_risky}
    if prune and entries:
        options |= {"prune": True, "max_deletes": max_deletes}
    before = held(world)
    made = world.plan(manifest, **options)
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert world.plan(manifest, **options).digest == made.digest
    assert held(world) == before, "planning has changed something"
    made.render()
    made.render_markdown()

    changes = len(server.changes)
    report = apply(made, world.api, delete_nonempty=delete_nonempty)
    after = held(world)
    done = {each.name for each in report.outcomes if each.result == "done"}
    assert {each.result for each in report.outcomes} <= {"done", "skipped", "unchanged"}
    for kind in made.counts:
        event(kind)

    # Everything that changed was planned, and done as it was planned.
    assert len(server.changes) - changes == len(done)
    wanted = {each.name: each for each in manifest.wanted()}
    actions = {action.name: action for action in made.actions}
    for name in {
        each.partition("/")[2] for each in (before.keys() | after.keys()) if before.get(each) != after.get(each)
    }:
        assert name in done
        action = actions[name]
        there, was = after.get(f"{PROJECT}/{name}"), before.get(f"{PROJECT}/{name}")
        if action.kind == "delete":
            assert there is None
            continue
        assert there is not None
        hidden = set(action.unverified)
        fields = {key: value for key, value in wanted[name].fields.items() if key not in hidden}
        assert matches(there, fields) == {}
        if was is not None:
            assert there["id"] == was["id"]
            managed = {SETTABLE[key] for key in wanted[name].fields}
            untouched = set(SETTABLE.values()) - managed | {SETTABLE[key] for key in hidden}
            assert {key: there.get(key) for key in untouched} == {key: was.get(key) for key in untouched}
    assert after["acme-prod/nps-1"] == before["acme-prod/nps-1"]

    # What was deleted could be.
    gone = {each.partition("/")[2] for each in before.keys() - after.keys()}
    if gone:
        assert prune
        assert len(gone) <= max_deletes
        for name in gone:
            assert any(fnmatchcase(name, pattern) for pattern in owns)
            assert not any(fnmatchcase(name, pattern) for pattern in protect)
            assert name not in wanted
            was = before[f"{PROJECT}/{name}"]
            fields, messages = project[name]
            assert delete_nonempty or (messages == 0 and (was.get("bucket_id") is None or shapes == "docs"))

    # Everything wanted is there, but for what the plan says it blocks or cannot see.
    for name, want in wanted.items():
        action_kind = actions[name].kind if name in actions else "no-op"
        if action_kind == "blocked":
            assert after.get(f"{PROJECT}/{name}") == before.get(f"{PROJECT}/{name}")
            continue
        created = action_kind == "create"
        fields = {key: value for key, value in want.fields.items() if created or key not in HIDDEN[shapes]}
        assert matches(after[f"{PROJECT}/{name}"], fields) == {}

    # And then there is nothing to do.
    changes = len(server.changes)
    again = world.plan(manifest, **options)
    blocked = {action.name for action in made.actions if action.kind == "blocked"}
    kept = {each.name for each in report.outcomes if "kept: " in each.message}
    assert {action.name for action in again.actions if action.kind not in {"unverified", "blocked"}} == kept
    assert {action.name for action in again.actions if action.kind == "blocked"} <= blocked
    apply(again, world.api)
    assert len(server.changes) == changes
    assert held(world) == after
    world.api.session.close()


@given(shapes=st.sampled_from(["full", "docs"]), project=PROJECTS)
@RUN
def test_export_then_plan_is_all_no_ops(server: EmulatorServer, shapes: str, project: dict[str, Any]) -> None:
    world, _ = begin(server, shapes, project)
    text = export(PROJECT, world.api)
    manifest = Manifest.parse(text)
    made = world.plan(manifest)
    assert made.actions == ()
    assert made.no_ops == len(project)
    there = held(world)
    for each in manifest.wanted():
        assert matches(there[f"{PROJECT}/{each.name}"], dict(each.fields)) == {}
        assert {"title", "description", "language", "should_translate", "sensitive_properties"} <= each.fields.keys()
    # In an empty project it makes the same sources once more.
    for name in project:
        world.tenant.delete_source(PROJECT, name)
    report = apply(world.plan(manifest, allow_risky=True), world.api)
    assert {each.result for each in report.outcomes} <= {"done"}
    settable = {*SETTABLE.values()} - {"_kind", "email_transform_tag", "bucket_id"}
    for name in project:
        now, then = held(world)[f"{PROJECT}/{name}"], there[f"{PROJECT}/{name}"]
        assert set(now["sensitive_properties"]) == set(then["sensitive_properties"])
        assert {key: now[key] for key in settable - {"sensitive_properties"}} == {
            key: then[key] for key in settable - {"sensitive_properties"}
        }
        if shapes == "full":
            assert [now.get(key) for key in ("_kind", "email_transform_tag", "bucket_id")] == [
                then.get(key) for key in ("_kind", "email_transform_tag", "bucket_id")
            ]
    world.api.session.close()
