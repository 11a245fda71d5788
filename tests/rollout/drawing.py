"""Random manifests and random projects, with the texts that break things."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airflow_provider_cm.rollout import escape

PROJECT = "acme-dev"
NAMES = ("nps-1", "nps-2", "nps-legal", "support-a", "support-b", "Other_1", "other_2")
PATTERNS = ("nps-*", "support-?", "*_2", "nps-[12]", "other_2", "Other*")

_WORDS = ["no", "null", "~", "012", "1.0", "2026-11-22", "<<", "=", "x", "%"]
_MARKS = ["${", "$${", "}", "{{ x }}", "{%", "'", '"', "  ", "\\", "#", ": ", "- ", "|", ">", "<b>", "`"]
_BREAKS = ["\n", "\r\n", "\t", "\u2028", "\x85", "\x7f", "\U0001f600"]
_PARTS = st.sampled_from([*_WORDS, *_MARKS, *_BREAKS])
TEXT = st.one_of(
    st.sampled_from(["", "a", "b", "no", "null", "~", "on", "012", "${x}", "$${x}", "{{ conn.prod.password }}"]),
    st.lists(_PARTS, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
)
PROPERTIES = st.lists(
    st.sampled_from(["string:a", "string:b", "number:c", "string:a ${x} {{ y }}", 'string:Ä"|<b']), max_size=3
)
# Mostly alike, since a language that differs blocks all else about a source.
LANGUAGE = st.sampled_from(["en"] * 6 + ["de", "Multilingual"])
TAG = st.sampled_from(["generic.0.CONVKER5", "generic.1.AAAAAAAA"])

HELD = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXT.map(lambda text: text[:128]),
        "description": TEXT,
        "language": LANGUAGE,
        "should_translate": st.booleans(),
        "sensitive_properties": PROPERTIES,
        "_kind": st.sampled_from(["call"] * 5 + ["chat"]),
        "email_transform_tag": TAG,
        "bucket": st.sampled_from([0, 1]),
    },
)
MESSAGES = st.sampled_from([0, 0, 0, 5])
WANTED = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXT.map(lambda text: text[:128]),
        "description": TEXT,
        "language": LANGUAGE,
        "should_translate": st.booleans(),
        "sensitive_properties": PROPERTIES,
        "kind": st.sampled_from(["call"] * 5 + ["chat"]),
        "email_transform_tag": TAG,
        "must_exist": st.sampled_from([False] * 5 + [True]),
        "bucket": st.sampled_from([0, 1, None]),
    },
)
PROJECTS = st.dictionaries(st.sampled_from(NAMES), st.tuples(HELD, MESSAGES), max_size=len(NAMES))
ENTRIES = st.dictionaries(st.sampled_from(NAMES), WANTED, max_size=5)
OWNS = st.lists(st.sampled_from(PATTERNS), max_size=3)


def written(value: Any) -> Any:
    """Give a value as a manifest has it."""
    if isinstance(value, str):
        return escape(value)
    return [escape(item) for item in value] if isinstance(value, list) else value


def entry(name: str, fields: dict[str, Any], buckets: list[str], shapes: str) -> dict[str, Any]:
    """Make an entry of a manifest of what was drawn."""
    made = {"name": name} | {key: written(value) for key, value in fields.items() if key != "bucket"}
    # In the shapes of the vendor's pages no bucket is ever shown, and so none can be managed.
    if "bucket" in fields and shapes == "full":
        made |= {"detach_bucket": True} if fields["bucket"] is None else {"bucket_id": buckets[fields["bucket"]]}
    return made
