"""Reading a project for a plan, and writing it as a manifest."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from airflow_provider_cm.api import ConfigurationError, NotFoundError, PermissionDeniedError
from airflow_provider_cm.rollout import Manifest, escape, export, observe
from tests.unit.rollout.support import PROJECT, World, manifest


def test_one_list_is_enough_where_it_shows_every_managed_field(world: World) -> None:
    for number in range(50):
        world.tenant.add_source(PROJECT, f"s-{number}", title="t")
    wanted = manifest(*({"name": f"s-{number}", "title": "t", "description": ""} for number in range(50)))
    assert len(observe(wanted, world.api)) == 50
    assert world.sent() == ["GET sources/acme-dev"]


def test_what_the_list_does_not_show_is_read_by_id_of_the_sources_that_matter(world: World) -> None:
    ids = {name: world.tenant.add_source(PROJECT, name, language="de")["id"] for name in ("a", "b", "c", "other")}
    wanted = manifest({"name": "a", "language": "en"}, {"name": "b", "language": "de"}, {"name": "c"}, {"name": "new"})
    found = {each.name: each for each in observe(wanted, world.api)}
    reads = [] if world.server.settings.shapes == "full" else [f"GET sources/id:{ids[name]}" for name in ("a", "b")]
    first, *rest = world.sent()
    assert (first, sorted(rest)) == ("GET sources/acme-dev", sorted(reads))
    assert (found["a"].language, found["b"].language) == ("de", "de")
    assert set(found) == {"a", "b", "c", "other"}


def test_a_listing_without_language_causes_no_drift_and_no_write(world: World) -> None:
    world.tenant.add_source(PROJECT, "a", title="t", language="de")
    made = world.plan(manifest({"name": "a", "title": "t", "language": "de"}))
    assert (made.actions, made.no_ops) == ((), 1)


def test_what_is_shown_nowhere_is_unverified(world: World) -> None:
    world.tenant.add_source(PROJECT, "a", _kind="call")
    made = world.plan(manifest({"name": "a", "kind": "call"}))
    expected = [] if world.server.settings.shapes == "full" else ["unverified"]
    assert [action.kind for action in made.actions] == expected


def test_a_source_that_vanishes_while_reading_is_not_there(world: World) -> None:
    world.server.configure(shapes="docs")
    for name in ("a", "b", "c"):
        world.tenant.add_source(PROJECT, name)
    world.server.faults.add(404, "GET", "*/sources/id:*", times=1)
    wanted = manifest(*({"name": name, "language": "en"} for name in ("a", "b", "c")))
    assert len(observe(wanted, world.api)) == 2


def test_a_failing_read_fails_the_whole(world: World) -> None:
    world.server.configure(shapes="docs")
    for number in range(30):
        world.tenant.add_source(PROJECT, f"s-{number}")
    wanted = manifest(*({"name": f"s-{number}", "language": "en"} for number in range(30)))
    world.server.faults.add(403, "GET", "*/sources/id:*", times=30)
    with pytest.raises(PermissionDeniedError):
        observe(wanted, world.api, max_workers=4)
    assert len(world.sent()) < 20


def test_a_missing_project_is_an_error(world: World) -> None:
    with pytest.raises(NotFoundError):
        observe(Manifest.parse({"project": "nowhere", "sources": []}), world.api)


TEXTS = [
    "",
    " ",
    "no",
    "null",
    "~",
    "012",
    "2026-11-22",
    "1.0",
    "<<",
    "=",
    "- a",
    "a: b",
    "# c",
    "${x}",
    "$${x}",
    "${",
    "$$${{",
    "{{ conn.prod.password }}",
    "see mapping.json",
    "'",
    '"',
    "\\n",
    "a\nb\n",
    "\n\na",
    "a\n\n\nb  \n c\n",
    "  lead\nand trail  ",
    "\ttab",
    "a\r\nb",
    "\u2028\u0085\ufeff\x7f\x00\x1b",
    "\U0001f600 \U0010ffff",
    "x " * 500,
    "%",
    "!x",
    "&x",
    "*x",
    "|",
    ">",
    "@",
    "`",
    "[]",
    "{}",
    "---",
    "...",
    "? x",
    ":",
]


def test_export_then_plan_finds_nothing_to_do(world: World) -> None:
    for number, text in enumerate(TEXTS):
        fields: dict[str, Any] = {"title": text[:128], "description": text, "sensitive_properties": ["string:a ${b}"]}
        world.tenant.add_source(PROJECT, f"s-{number}", language="de", should_translate=bool(number % 2), **fields)
    world.tenant.add_source(PROJECT, "call", _kind="call", email_transform_tag="generic.0.CONVKER5")
    world.tenant.add_source("acme-prod", "elsewhere")
    text = export(PROJECT, world.api)
    wanted = Manifest.parse(text, filename="export.yaml")
    assert [entry.title for entry in wanted.sources if entry.name.startswith("s-")] == [
        held["title"].replace("\x00", "\ufffd")  # as every answer is read
        for held in sorted(world.tenant.sources(), key=lambda each: each["name"])
        if held["name"] != "call"
        if held["owner"] == PROJECT
    ]
    assert {entry.language for entry in wanted.sources} == {"de", "en"}
    made = world.plan(wanted, prune=True, max_deletes=0)
    assert (made.actions, made.no_ops) == ((), len(TEXTS) + 1)
    assert "created_at" not in text
    assert "elsewhere" not in text
    assert export(PROJECT, world.api) == text


def test_what_export_leaves_out(full: World) -> None:
    full.tenant.add_source(PROJECT, "a", title="A")
    full.tenant.add_source(PROJECT, "b", _kind="chat", email_transform_tag="generic.0.CONVKER5")
    _, *lines = export(PROJECT, full.api).splitlines()
    assert yaml.safe_load("\n".join(lines)) == {
        "project": PROJECT,
        "sources": [
            {
                "name": "a",
                "title": "A",
                "description": "",
                "language": "en",
                "should_translate": False,
                "sensitive_properties": [],
            },
            {
                "name": "b",
                "title": "",
                "description": "",
                "language": "en",
                "should_translate": False,
                "sensitive_properties": [],
                "kind": "chat",
                "email_transform_tag": "generic.0.CONVKER5",
            },
        ],
    }


def test_an_empty_project_is_a_manifest_too(world: World) -> None:
    assert Manifest.parse(export(PROJECT, world.api)).sources == ()


def test_variables_take_the_place_of_project_and_buckets(full: World) -> None:
    bucket = full.tenant.add_bucket(PROJECT, "mails")["id"]
    full.tenant.add_source(PROJECT, "a", title=PROJECT, bucket_id=bucket)
    variables = {"project": PROJECT, "mails": bucket}
    text = export(PROJECT, full.api, variables=variables)
    assert "project: ${project}\n" in text
    assert "bucket_id: ${mails}\n" in text
    assert bucket not in text
    assert f"title: {PROJECT}\n" in text
    assert full.plan(Manifest.parse(text, variables)).actions == ()
    other = Manifest.parse(text, {"project": "acme-prod", "mails": "0123456789abcdef"})
    assert (other.project, other.sources[0].bucket_id) == ("acme-prod", "0123456789abcdef")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"x": "nothing"}, "x is neither the project nor the id of a bucket"),
        ({"a b": PROJECT}, "is no name"),
        ({"x": PROJECT, "y": PROJECT}, "have the same value"),
    ],
)
def test_variables_that_make_no_sense(full: World, variables: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        export(PROJECT, full.api, variables=variables)


def test_escape_is_what_a_manifest_undoes() -> None:
    for text in (text for text in TEXTS if "\x00" not in text):
        entry = {"name": "a", "title": escape(text)}
        assert Manifest.parse({"project": "p", "sources": [entry]}).sources[0].title == text


def test_an_export_is_easy_to_review(full: World) -> None:
    """Letters stay letters, long texts have lines of their own, and lists are indented."""
    full.tenant.add_source(
        PROJECT, "inbox", title="Grüße", description="one\ntwo\n", sensitive_properties=["string:a", "string:b"]
    )
    lines = export(PROJECT, full.api).splitlines()
    assert "    title: Grüße" in lines
    at = lines.index("    description: |")
    assert lines[at + 1 : at + 3] == ["      one", "      two"]
    at = lines.index("    sensitive_properties:")
    assert lines[at + 1 : at + 3] == ["      - string:a", "      - string:b"]


def test_control_characters_are_exported_as_escapes(full: World) -> None:
    full.tenant.add_source(PROJECT, "inbox", title="a\x85b\nc")
    assert '    title: "a\\Nb\\nc"' in export(PROJECT, full.api).splitlines()
