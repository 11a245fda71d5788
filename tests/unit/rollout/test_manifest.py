"""Reading a manifest: what is accepted, and what each mistake is told as."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from airflow_provider_cm.rollout import Manifest, ManifestError
from airflow_provider_cm.rollout.schema import FILE, manifest_schema, schema_text
from airflow_provider_cm.rollout.yaml_reader import MAX_BYTES

GOOD = """\
project: ${project}
owns: ["support-*", "nps-*"]
protect: ["support-legal"]
defaults: {language: en, should_translate: no}
sources:
  - name: support-inbox
    title: Support inbox
    sensitive_properties: ["string:Sender"]
  - name: nps-survey
    should_translate: ${translate}
    bucket_id: ${nps_bucket}
    must_exist: true
  - name: old-channel
    detach_bucket: true
"""
VARIABLES: dict[str, str | bool] = {"project": "acme-prod", "nps_bucket": "18ba5ce699f8da1f", "translate": True}


def mistakes(manifest: Any, variables: dict[str, Any] | None = None, filename: str | None = "x.yaml") -> list[str]:
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(manifest, variables, filename=filename)
    assert all(str(mistake) in str(caught.value) for mistake in caught.value.mistakes[:200])
    return [str(mistake) for mistake in caught.value.mistakes]


def with_line(text: str) -> str:
    return f"project: acme\nsources:\n  - name: inbox\n    {text}\n"


def test_a_manifest_of_the_design() -> None:
    manifest = Manifest.parse(GOOD, VARIABLES)
    assert (manifest.project, manifest.owns, manifest.protect) == (
        "acme-prod",
        ("support-*", "nps-*"),
        ("support-legal",),
    )
    inbox, survey, old = manifest.wanted()
    assert inbox.fields == {
        "title": "Support inbox",
        "language": "en",
        "should_translate": False,
        "sensitive_properties": ("string:Sender",),
    }
    assert (inbox.must_exist, survey.must_exist) == (False, True)
    assert survey.fields == {"language": "en", "should_translate": True, "bucket_id": "18ba5ce699f8da1f"}
    assert old.fields == {"language": "en", "should_translate": False, "bucket_id": None}


def test_yaml_json_and_dict_say_the_same() -> None:
    data = yaml.safe_load(GOOD.replace("${translate}", "true"))
    variables = {name: VARIABLES[name] for name in ("project", "nps_bucket")}
    expected = Manifest.parse(data, variables)
    assert Manifest.parse(json.dumps(data), variables) == expected
    assert Manifest.parse(json.dumps(data, indent="\t"), variables) == expected
    assert Manifest.parse(yaml.safe_dump(data).encode(), variables) == expected
    assert Manifest.parse(b"\xef\xbb\xbf" + yaml.safe_dump(data).encode("utf-8"), variables) == expected


@pytest.mark.parametrize(
    "title",
    ["\U0001f600 smile", "a\u2028b\x85c\x7f", "\\ud83d\\ude00", "tab\there", "line\nbreak", '"quoted"', "\ufeff"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_texts_come_through_yaml_unharmed(title: str, ascii_only: bool) -> None:
    data = {"project": "p", "sources": [{"name": "a", "title": title}]}
    assert Manifest.parse(json.dumps(data, ensure_ascii=ascii_only)) == Manifest.parse(data)


def test_an_entry_overrides_the_defaults() -> None:
    manifest = Manifest.parse(
        {
            "project": "p",
            "defaults": {"bucket_id": "b1", "title": "T", "must_exist": True},
            "sources": [
                {"name": "a"},
                {"name": "b", "title": "", "detach_bucket": True, "must_exist": False},
                {"name": "c", "detach_bucket": False},
            ],
        }
    )
    assert [(each.fields, each.must_exist) for each in manifest.wanted()] == [
        ({"title": "T", "bucket_id": "b1"}, True),
        ({"title": "", "bucket_id": None}, False),
        ({"title": "T", "bucket_id": "b1"}, True),
    ]


# YAML's traps: the value as written, and what it would silently have become
@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("no", "false"),
        ("on", "true"),
        ("Yes", "true"),
        ("2026-11-22", "a date"),
        ("2001-12-14t21:59:43.10-05:00", "a date"),
        ("012", "a number"),
        ("0x1F", "a number"),
        ("1_000", "a number"),
        ("12:30:45", "a number"),
        ("1.0", "a number"),
        (".inf", "a number"),
        ("=", "of YAML's type 'value'"),
    ],
)
def test_what_yaml_takes_for_something_else_is_to_be_quoted(written: str, read_as: str) -> None:
    (mistake,) = mistakes(with_line(f"title: {written}"))
    assert mistake == (
        f"x.yaml:4, source 'inbox', title: {written} is read as {read_as}, not as text; put it in quotes: '{written}'"
    )
    parsed = Manifest.parse(with_line(f"title: '{written}'"))
    assert parsed.sources[0].title == written


@pytest.mark.parametrize("written", ["null", "~", "", "Null"])
def test_null_is_an_error_everywhere(written: str) -> None:
    for field in ("title", "bucket_id", "should_translate", "sensitive_properties", "must_exist"):
        (mistake,) = mistakes(with_line(f"{field}: {written}"))
        assert mistake.startswith(f"x.yaml:4, source 'inbox', {field}: ")
        assert "is null" in mistake
    (mistake,) = mistakes(with_line(f"sensitive_properties: [{written or '~'}]"))
    assert "is null" in mistake
    assert any("is null" in each for each in mistakes(f"project: {written}\nsources: []"))
    assert any("is null" in each for each in mistakes({"project": "p", "sources": [{"name": "a", "title": None}]}))


TWENTY = """\
project: acme prod
owns: support-*
protect: ["a b", 5]
defualts: {language: en}
defaults: {language: no, should_translate: "yes", detach_bucket: true}
sources:
  - name: on
    title: 012
    description:
  - name: a
    title: 2020-01-01
    title: twice
    must_exist: perhaps
  - name: a
    bucket_id: x
    detach_bucket: true
    sensitive_properties: a
  - title: x ${ y
    kind: ${nokind}
    5: x
  - &anchor foo
  - *anchor
  - name: "bad name"
    sensitive_properties: [1, Sender, null]
    language: !!str x
    <<: {a: b}
    bucket_id: None
    titel: x
"""


@pytest.mark.parametrize(
    "name", ["Sender", "string:", "String:Sender", "string: Sender", "", "date:x", "string:" + 65 * "x"]
)
def test_a_sensitive_property_that_the_api_would_take_for_none_is_a_mistake(name: str) -> None:
    """It would stay visible."""
    (mistake,) = mistakes(f"{{project: p, sources: [{{name: a, sensitive_properties: [{json.dumps(name)}]}}]}}")
    assert mistake.split(": ")[0] == "x.yaml:1, source 'a', sensitive_properties"
    assert "use string:<name> or number:<name>" in mistake
    Manifest.parse('{project: p, sources: [{name: a, sensitive_properties: ["string:Sender", "number:A b"]}]}')


def test_all_mistakes_are_told_at_once_each_with_its_place() -> None:
    found = mistakes(TWENTY, {"unused": "x"})
    assert [each.split(": ")[0] for each in found] == [
        "x.yaml:1, project",
        "x.yaml:2, owns",
        "x.yaml:3, protect[0]",
        "x.yaml:3, protect[1]",
        "x.yaml:4, defualts",
        "x.yaml:5, defaults.language",
        "x.yaml:5, defaults.should_translate",
        "x.yaml:5, defaults.detach_bucket",
        "x.yaml:7, sources[0].name",
        "x.yaml:8, sources[0].title",
        "x.yaml:9, sources[0].description",
        "x.yaml:11, source 'a', title",
        "x.yaml:12, source 'a', title",
        "x.yaml:13, source 'a', must_exist",
        "x.yaml:14, source 'a', name",
        "x.yaml:16, source 'a', detach_bucket",
        "x.yaml:17, source 'a', sensitive_properties",
        "x.yaml:18, sources[3].title",
        "x.yaml:18, sources[3].name",
        "x.yaml:19, sources[3].kind",
        "x.yaml:20, sources[3]",
        "x.yaml:21, sources[4]",
        "x.yaml:21, sources[4]",
        "x.yaml:22, sources[5]",
        "x.yaml:23, source 'bad name', name",
        "x.yaml:24, source 'bad name', sensitive_properties",
        "x.yaml:24, source 'bad name', sensitive_properties",
        "x.yaml:24, source 'bad name', sensitive_properties",
        "x.yaml:25, source 'bad name', language",
        "x.yaml:26, source 'bad name'",
        "x.yaml:27, source 'bad name', bucket_id",
        "x.yaml:28, source 'bad name', titel",
        "x.yaml",
    ]
    assert "did you mean `defaults`?" in found[4]
    assert "did you mean `title`?" in found[31]
    assert "(line 10)" in found[14]


def test_nul_is_no_text() -> None:
    """No answer is read with one in it, and no database of Airflow's could hold it."""
    (mistake,) = mistakes({"project": "p", "sources": [{"name": "a", "title": "a\x00b"}]})
    assert "this text holds a NUL character" in mistake


def test_mistakes_of_a_dict_have_paths_instead_of_lines() -> None:
    found = mistakes({"project": 5, "sources": [{"name": "a", "title": 7}, 3, {7: "x", "name": "b"}]}, filename=None)
    assert found == [
        "sources[2], source 'b': the key 7 is not text; keys are names of fields",
        "project: 5 is read as a number, not as text; put it in quotes: '5'",
        "sources[0].title, source 'a': 7 is read as a number, not as text; put it in quotes: '7'",
        "sources[1]: 3 is read as a number, not as a mapping of fields to values",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("# nothing", "it is empty"),
        ("- a", "not a list"),
        ("just text", "not the text"),
        ("project: [", "x.yaml:2: this is not YAML"),
        ("a: b\n---\nc: d", "x.yaml:2: a second document"),
        ("project: a\x00b", "x.yaml:1: this is not YAML"),
        ("[" * 100_000, "nested more than 20 deep"),
        ("a: " + "{a: " * 30, "nested more than 20 deep"),
        ("project: p\n? [a, {b: c}]\n: d", "x.yaml:2: a list or mapping cannot be a key"),
        ("x: !!python/object/apply:os.system [ls]", "is a YAML tag"),
        ("project: \ud800", "surrogate"),
        (b"project: \xff", "not UTF-8"),
        ("x" * (MAX_BYTES + 1), "10 MiB"),
        ("\u20ac" * (MAX_BYTES // 2), "10 MiB"),
    ],
)
def test_what_cannot_be_read_is_told_as_one_mistake_or_more(text: str | bytes, says: str) -> None:
    assert any(says in mistake for mistake in mistakes(text))


def test_aliases_do_not_expand() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    found = mistakes("\n".join(lines))
    assert sum("is an alias" in each for each in found) == 29 * 9
    assert sum("is an anchor" in each for each in found) == 30


def test_half_a_surrogate_pair_in_a_dict_is_an_error() -> None:
    (mistake,) = mistakes({"project": "p", "sources": [{"name": "a", "title": "x\udc00"}]})
    assert "surrogate" in mistake


def test_an_endless_dict_is_an_error() -> None:
    loop: dict[str, Any] = {"project": "p"}
    loop["sources"] = [loop]
    assert any("deep" in mistake for mistake in mistakes(loop))


@pytest.mark.parametrize("bad", ["a.b", "", "a b", "x" * 257, "\u00e4", "a/b"])
def test_names_follow_the_apis_rules(bad: str) -> None:
    (mistake,) = mistakes({"project": "p", "sources": [{"name": bad}]})
    assert "is not allowed; use letters" in mistake


@pytest.mark.parametrize("bad", ["a b", "", "[", "a[", "a.b", "[]", "a[b", "ä*"])
def test_a_pattern_that_can_match_nothing_is_an_error(bad: str) -> None:
    assert "can match no source's name" in mistakes({"project": "p", "owns": [bad], "sources": []})[0]
    assert "can match no source's name" in mistakes({"project": "p", "protect": [bad], "sources": []})[0]


@pytest.mark.parametrize("field", ["bucket_id", "language", "kind", "email_transform_tag"])
@pytest.mark.parametrize("value", ["", " ", "None"])
def test_the_text_of_nothing_is_no_value(field: str, value: str) -> None:
    assert "is no value" in mistakes({"project": "p", "sources": [{"name": "a", field: value}]})[0]


# Variables


def test_variables_are_put_in_once_and_as_they_are() -> None:
    text = "project: p\nsources:\n  - name: a\n    title: 'a ${x}${y} b'\n    description: ${z}\n"
    variables = {"x": "${y}", "y": "{{ no }}: [", "z": "no"}
    (entry,) = Manifest.parse(text, variables).sources
    assert entry.title == "a ${y}{{ no }}: [ b"
    assert entry.description == "no"


def test_a_literal_dollar_brace_is_written_with_two_dollars() -> None:
    sources = [{"name": "a", "title": "$${x} $$${x} $x {x} $$", "description": "{{ conn.prod.password }}"}]
    (entry,) = Manifest.parse({"project": "p", "sources": sources}).sources
    assert entry.title == "${x} $${x} $x {x} $$"
    assert entry.description == "{{ conn.prod.password }}"


def test_keys_are_not_filled() -> None:
    assert "no field '${x}'" in mistakes({"project": "p", "sources": [{"name": "a", "${x}": "y"}]})[0]


@pytest.mark.parametrize(
    ("title", "variables", "says"),
    [
        ("${x}", {}, "there is no variable 'x' (given: none)"),
        ("${x}", {"y": "1"}, "there is no variable 'x' (given: y)"),
        ("${x", {}, "a '${' without a name"),
        ("${}", {}, "a '${' without a name"),
        ("${ x }", {}, "a '${' without a name"),
        ("${1x}", {}, "a '${' without a name"),
        ("x", {"y": "1"}, "variable 'y': it was given, but the manifest does not use it"),
        ("${x}", {"x": 5}, "variable 'x': 5 is not text"),
        ("${x}", {"x": None}, "variable 'x': None is not text"),
        ("a ${x}", {"x": True}, "cannot be a part of a text"),
        ("${x}", {"x": True}, "True is read as true, not as text"),
        ("x", {"a b": "1"}, "is no name"),
    ],
)
def test_mistakes_with_variables(title: str, variables: dict[str, Any], says: str) -> None:
    found = mistakes({"project": "p", "sources": [{"name": "a", "title": title}]}, variables)
    assert any(says in mistake for mistake in found), found


def test_text_from_a_variable_is_not_read_as_a_truth_value() -> None:
    found = mistakes({"project": "p", "sources": [{"name": "a", "must_exist": "${x}"}]}, {"x": "true"})
    assert "'true' is text, not true or false" in found[0]


# The schema for editors


def test_the_committed_schema_is_current() -> None:
    assert FILE.read_text() == schema_text(), "write it anew: python -m airflow_provider_cm.rollout.schema"


def test_the_schema_accepts_what_is_accepted_and_refuses_mistakes() -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = yaml.safe_load(GOOD)
    assert list(validator.iter_errors(good)) == []
    changes: list[dict[str, Any]] = [
        {"sources": [{"title": "x"}]},
        {"sources": [{"name": "a", "title": None}]},
        {"sources": [{"name": "a", "titel": "x"}]},
        {"sources": [{"name": "a", "should_translate": "yes"}]},
        {"defaults": {"name": "x"}},
        {"project": None},
        {"own": []},
    ]
    for change in changes:
        assert list(validator.iter_errors({**good, **change})), change


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"project: a\nsources:\n  - name: \xff", "m.yaml:3: this is not UTF-8"),
        ("project: a\nsources:\n  - name: \ud800", "m.yaml:3: this holds half of a surrogate pair"),
        ("project: a\nsources:\n  - name: \x07", "m.yaml:3: this is not YAML: "),
        ("project: a\nsources:\n  - name: x\n  title: [", "m.yaml:4: this is not YAML: "),
        ("project: a\nsources: []\n\nproject: b", "m.yaml:4, project: this is given a second time (first in line 1)"),
        ("project: a\nsources: []\nowns:\n  - 1", "m.yaml:4, owns[0]: 1 is read as a number, not as text"),
    ],
)
def test_a_mistake_of_reading_has_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(text, filename="m.yaml")
    assert message in str(caught.value)
