"""Plans for people: complete, short, and never markup or control characters of somebody else's making."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from airflow_provider_cm.rollout import Plan, plan
from tests.unit.rollout.support import TARGET, manifest, source


def planned(before: str, after: str, **options: Any) -> Plan:
    return plan(manifest({"name": "a", "title": after}), [source("a", title=before)], target=TARGET, **options)


def test_the_text_is_like_terraforms() -> None:
    wanted = manifest(
        {"name": "created", "title": "N"},
        {"name": "updated", "title": "after", "should_translate": True},
        {"name": "lang", "language": "en"},
        {"name": "same"},
        owns=["n-*"],
    )
    made = plan(
        wanted,
        [source("updated", title="before"), source("lang", language="de"), source("n-1"), source("same")],
        target=TARGET,
        prune=True,
        max_deletes=1,
    )
    ids = {name: source(name).id for name in ("updated", "lang", "n-1")}
    assert made.render().splitlines() == [
        f"Plan for project acme-dev on {TARGET}",
        "  + created (create)",
        '      title: "N"',
        f"  ! lang (blocked update, id {ids['lang']})",
        "      the effect of an update to language is unknown, so this client does not send it",
        (
            "      remedy: put the language that it has into the manifest; or, if its messages may be lost, delete the "
            "source and let it be created anew"
        ),
        '      language: "de" -> "en"',
        f"  - n-1 (delete, id {ids['n-1']})",
        '      title: ""',
        '      description: ""',
        "      should_translate: false",
        "      sensitive_properties: []",
        '      language: "en"',
        '      kind: "unknown"',
        f"  ~ updated (update, id {ids['updated']})",
        '      title: "before" -> "after"',
        "      should_translate: false -> true",
        "1 to create, 1 to update, 1 to delete, 1 blocked, 1 unchanged",
        f"Digest: {made.digest}",
    ]


def test_risks_are_marked_also_when_they_are_allowed() -> None:
    wanted = manifest({"name": "a", "sensitive_properties": []})
    made = plan(wanted, [source("a", sensitive_properties=["string:s"])], target=TARGET, allow_risky=True)
    assert '    ! sensitive_properties: dropped "string:s"  (risky: dropping a sensitive property' in made.render()
    assert "**risky**: dropping a sensitive property" in made.render_markdown()


def test_lists_are_shown_as_dropped_and_added_and_never_cut() -> None:
    before = [f"string:Personal property number {number}" for number in range(40)]
    after = [*before[20:], "number:New", "string:b|<b"]
    wanted = manifest({"name": "a", "sensitive_properties": after})
    made = plan(wanted, [source("a", sensitive_properties=before)], target=TARGET, allow_risky=True)
    (line,) = (line for line in made.render().splitlines() if "sensitive_properties" in line)
    dropped, added, rest = line.partition("  (risky")[0].split("; ")
    assert dropped.partition("dropped ")[2].split(", ") == [f'"{name}"' for name in sorted(before[:20])]
    assert (added, rest) == ('added "number:New", "string:b|<b"', "20 unchanged")
    found = _Tags()
    found.feed(MarkdownIt("commonmark").render(made.render_markdown()))
    assert {f'"{name}"' for name in [*before[:20], *after[20:]]} <= set(found.code)

    created = plan(manifest({"name": "a", "sensitive_properties": before}), [], target=TARGET)
    gone = plan(
        manifest({"name": "b"}, owns=["a*"]),
        [source("a", sensitive_properties=before)],
        target=TARGET,
        prune=True,
        max_deletes=1,
    )
    for each in (created.render(), created.render_markdown(), gone.render(), gone.render_markdown()):
        assert all(name in each for name in before)


def test_what_is_written_is_shown_in_full() -> None:
    text = "".join(f"{number:04} " for number in range(1000))
    created = plan(manifest({"name": "a", "description": text}), [], target=TARGET)
    assert text in created.render()
    assert text in created.render_markdown()
    # Of a change, all that lies between the first difference and the last.
    changed = plan(
        manifest({"name": "a", "description": text.replace("0100", "evil").replace("0900", "EVIL")}),
        [source("a", description=text)],
        target=TARGET,
    )
    for rendered in (changed.render(), changed.render_markdown()):
        assert rendered.count("0500 0501") == 2
        assert "evil" in rendered
        assert "EVIL" in rendered
        assert "0050" not in rendered
        assert "0950" not in rendered


def test_what_the_server_does_not_show_is_said() -> None:
    raw = {name: value for name, value in source("a").to_dict().items() if name != "language"}
    there = source("a").parse(raw)
    made = plan(manifest({"name": "a", "language": "en", "title": ""}), [there], target=TARGET)
    assert "  ? a (unverified" in made.render()
    assert "the server does not show language" in made.render()
    made = plan(manifest({"name": "a", "language": "en", "title": "x"}), [there], target=TARGET)
    assert "not shown by the server, so not written: language" in made.render()
    assert "not shown by the server, so not written: language" in made.render_markdown()


def test_long_texts_are_cut_where_they_differ() -> None:
    same = "x" * 5000
    for text in (
        planned(f"{same}1{same}", f"{same}2{same}").render(),
        planned(f"{same}1", f"{same}2").render_markdown(),
    ):
        (line,) = (line for line in text.splitlines() if "title" in line)
        assert len(line) < 450
        assert "1" in line.split("->" if "->" in line else "&rarr;")[0].split("(")[0]
        assert "2" in line.split("->" if "->" in line else "&rarr;")[1].split("(")[0]
        assert "characters)" in line
    shorter = planned(same, same + "end").render()
    assert 'xend"' in shorter


NASTY = [
    "`",
    "``` ` ``",
    "a|b|c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "line\n\n# heading\n- item",
    "http://evil.example www.evil.example me@evil.example",
    "**bold** _it_ ~~no~~",
    "&lt;b&gt; &amp;",
    "\\` \\",
    " ",
    "` <b> `",
    "\x1b[31mred\x1b[0m\r\x01",
    "\u202egnp.exe",
    "| --- |\n",
    "``\n```\n",
]


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.code: list[str] = []
        self._in_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not attrs
        if tag == "code":
            self._in_code = True
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "code":
            self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code[-1] += data


@pytest.mark.parametrize("text", NASTY)
def test_no_text_becomes_markup(text: str) -> None:
    made = planned(text, f"{text}!")
    markdown = made.render_markdown()
    assert all(line.isprintable() for line in markdown.split("\n"))
    for flavour in ("commonmark", "gfm-like"):
        parser = MarkdownIt(flavour, {"linkify": False})
        found = _Tags()
        found.feed(parser.render(markdown))
        assert found.tags == {"p", "ul", "li", "strong", "code"}
        shown = [code for code in found.code if code.startswith('"')]
        assert len(shown) == 2
        assert shown[1] == shown[0][:-1] + '!"'
    assert all(line.isprintable() for line in made.render().split("\n"))


def test_the_markdown_counts_no_ops_and_ends_with_the_digest() -> None:
    wanted = manifest(*({"name": f"s-{number}", "title": ""} for number in range(100)), {"name": "new"})
    made = plan(wanted, [source(f"s-{number}") for number in range(100)], target=TARGET)
    assert "s-7" not in made.render_markdown()
    assert "100 unchanged" in made.render_markdown()
    assert made.render_markdown().endswith(f"Digest: `{made.digest}`")
    assert re.search(r"^- &plus; \*\*create\*\* `new`$", made.render_markdown(), re.MULTILINE)


def test_reasons_of_a_plan_from_elsewhere_are_escaped_too() -> None:
    made = planned("a", "b")
    nasty = Plan(
        made.target,
        made.project,
        (replace(made.actions[0], kind="blocked", blocks="update", reason="<b>x</b> `|", remedy="[a](b)\n# c"),),
    )
    found = _Tags()
    found.feed(MarkdownIt("commonmark").render(nasty.render_markdown()))
    assert found.tags == {"p", "ul", "li", "strong", "code"}
