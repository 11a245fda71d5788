"""What the pages say of the code is what the code says: fields, errors, tables; and their links lead somewhere."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import griffe
import pytest
import yaml
from markdown_it import MarkdownIt

import airflow_provider_cm
from airflow_provider_cm import api, exceptions, rollout
from airflow_provider_cm.api.client_credentials import DEFAULT_SCOPE
from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.api.retry import RetryPolicy
from airflow_provider_cm.hooks.connection_settings import EXTRAS
from scripts import api_reference, docs_site, docs_tables
from tests.docs.blocks import DOCS, PAGES, ROOT, of_kind

if TYPE_CHECKING:
    from pathlib import Path

# Every address outside of this repository that a document names. None can be asked from here.
OUTSIDE = {
    "airflow.apache.org",
    "github.com",
    "keepachangelog.com",
    "semver.org",
}
OURS = "https://github.com/airflow-provider-cm/airflow-provider-cm"
TEMPLATES = sorted((ROOT / ".github").rglob("*.md"))


# Connections


def test_every_field_of_a_connection_is_in_the_table() -> None:
    text = (DOCS / "connections.md").read_text()
    rows = dict(re.findall(r"^\| (`[a-z_`, ]+`) \| .*? \|(?: (.*?) \|)?$", text, re.MULTILINE))
    fields = {name: default for row, default in rows.items() for name in re.findall(r"`([a-z_]+)`", row)}
    assert set(EXTRAS) | {"host", "login", "password", "port", "schema", "extra"} == set(fields)
    policy = RetryPolicy()
    assert fields["max_attempts"] == str(policy.max_attempts)
    assert fields["max_retry_seconds"] == f"{policy.max_seconds:g}"
    assert fields["scope"] == f"`{DEFAULT_SCOPE}`"
    assert (fields["connect_timeout"], fields["read_timeout"]) == ("10", "60")


def test_there_are_connections_for_both_ways_to_authenticate_and_both_tenant_styles() -> None:
    shown = [json.loads(block.text) for block in of_kind("json") if block.page == "docs/connections.md"]
    kinds = [("login" in each, "reinfer.io" in each["host"]) for each in shown if "host" in each]
    assert set(kinds) == {(True, True), (True, False), (False, True), (False, False)}
    assert kinds[0] == (True, False), "external applications come first"


# Errors


def test_every_error_is_explained() -> None:
    for each in pkgutil.walk_packages(airflow_provider_cm.__path__, "airflow_provider_cm."):
        if ".emulator" not in each.name and not each.name.endswith("policies"):
            importlib.import_module(each.name)
    known, todo = set(), [CommsMiningError]
    while todo:
        kind = todo.pop()
        if kind.__module__.startswith("airflow_provider_cm") and not kind.__name__.startswith("_"):
            known.add(kind.__name__)
        todo += kind.__subclasses__()
    known |= {name for name, kind in vars(exceptions).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    known = {name for name in known if not name.startswith("Airflow")}
    assert {"CommsMiningFailure", "OutcomeUnknownError", "ManifestError", "TokenError"} <= known
    explained = (DOCS / "errors.md").read_text().partition("## Every message")[0]
    assert {name for name in known if f"`{name}`" not in explained} == set()


def test_a_message_is_shown_whole_whatever_it_is_made_of(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("raise SomeError(f'{a} is ' + 'wrong; ' f'use {b!r}')\nraise AttributeError('x')\nOther('no')\n")
    assert list(docs_tables.raised(module)) == [("SomeError", "… is wrong; use …")]


def test_the_tables_are_as_the_code_has_them() -> None:
    assert docs_tables.main("--check") == 0, "run scripts/docs_tables.py"


@pytest.mark.parametrize("page", docs_tables.TABLES)
def test_a_table_that_is_not_right_is_noticed(page: str) -> None:
    text = (DOCS / page).read_text()
    (mark,) = docs_tables.TABLES[page]
    changed = text.replace(f"<!-- /{mark} -->", f"| a row | too many |\n<!-- /{mark} -->")
    assert docs_tables.filled(page, changed) == text != changed


# Site


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    page = (tmp_path / "site" / "reference" / "operators.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "CreateSourceOperator" in text
    assert "if_exists" in text
    assert "comms_mining_default" in text, "an argument that a base class takes is there, with its default"
    assert ":param" not in text
    assert ":class:" not in text
    for built in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img)[^>]+src="(https?:)?//|<link[^>]+href="(https?:)?//[^"]+\.css', built.read_text()
        )
        assert fetched == [], built


def test_the_reference_is_as_the_code_has_it() -> None:
    assert api_reference.main("--check") == 0, "run scripts/api_reference.py"


def test_the_reference_has_all_that_a_dag_uses() -> None:
    documented = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE)
    }
    used = {
        name
        for block in of_kind("dag")
        for name in re.findall(r"^from airflow_provider_cm.* import (.+)$", block.text, re.MULTILINE)
    }
    named = {name.strip() for names in used for name in names.strip("()").split(",") if name.strip()}
    assert len(named) > 5
    assert named <= documented
    assert set(api.__all__) | set(rollout.__all__) <= documented


@pytest.mark.parametrize("base", ["", "base: str = 'b', "])
def test_an_argument_is_documented_with_the_type_that_the_code_gives_it(base: str) -> None:
    code = f"""
from typing import TypedDict, Unpack

class Options(TypedDict, total=False):
    title: str | NotGiven

class Base:
    name_of_default = "default"
    def __init__(self, *, {base}conn_id: str = name_of_default) -> None: ...

class Operator(Base):
    \"\"\"Do it.

    :param name: the ``name``.
    :param title: a | b.
    :param conn_id: see :class:`a.b.Connection`.
    \"\"\"
    def __init__(self, *, name: str, **kwargs: Unpack[Options]) -> None: ...
"""
    with griffe.temporary_visited_module(code) as module:
        page = api_reference.render(api_reference.Page("Title", "", {"Operator": ("Operator",)}), {"Operator": module})
    assert "| `name` | `str` | required | the `name`. |" in page
    assert r"| `title` | `str` | not given | a \| b. |" in page
    assert "| `conn_id` | `str` | `'default'` | see `Connection`. |" in page


def test_a_documented_argument_that_the_code_does_not_take_is_an_error() -> None:
    code = 'def f(a: int) -> None:\n    """Do it.\n\n    :param b: no.\n    """\n'
    with (
        griffe.temporary_visited_module(code) as module,
        pytest.raises(ValueError, match="documents 'b', which the code does not take"),
    ):
        api_reference.render(api_reference.Page("Title", "", {"f": ("f",)}), {"f": module})


def test_the_page_of_examples_has_every_example() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]", (DOCS / "examples.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "example_dags").glob("*.py"))


def test_a_page_that_is_not_in_the_navigation_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# Here\n")
    assert docs_site.navigation(tmp_path) == ["index.md"]
    (tmp_path / "lost.md").write_text("# Lost\n")
    with pytest.raises(ValueError, match=r"not in the navigation .*lost\.md"):
        docs_site.navigation(tmp_path)


def test_each_page_is_in_the_navigation_once() -> None:
    listed = [page for section in docs_site.SECTIONS.values() for page in section]
    assert len(listed) == len(set(listed))
    assert docs_site.pages(DOCS) <= set(listed)


# Links


def links(text: str) -> list[str]:
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            found += [str(target)] if target else []
    return found


def anchors(text: str) -> set[str]:
    """Give the anchors of the headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    if included := re.search(r'^--8<-- "([A-Z]+\.md)', text, re.MULTILINE):
        headings += re.findall(r"^#+ (.+)$", (ROOT / included[1]).read_text(), re.MULTILINE)
    plain = [re.sub(r"[`*]|\]\(.*?\)|\[", "", heading).lower() for heading in headings]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading)) for heading in plain}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", *TEMPLATES], ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for target in links(page.read_text()):
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme == "https", target
            assert parts.hostname in OUTSIDE, f"{target}: add it to OUTSIDE, if it is meant"
            if target.startswith(f"{OURS}/") and (found := re.search(r"/(?:blob|tree)/main/([^#]+)", target)):
                assert (ROOT / found[1]).exists(), target
            continue
        there = (page.parent / parts.path).resolve() if parts.path else page
        assert there.is_relative_to(ROOT), target
        assert there.exists(), target
        if parts.fragment:
            assert parts.fragment in anchors(there.read_text()), target


def test_a_dead_link_would_be_noticed() -> None:
    assert links("[a](b.md#c) ![d](e.png) <https://f.example> `[g](h)`") == ["b.md#c", "e.png", "https://f.example"]
    assert anchors("# A `b` c!\n```\n# no\n```\n## D-e\n") == {"a-b-c", "d-e"}


def test_the_metadata_leads_to_what_is_there() -> None:
    for target in re.findall(rf'"{OURS}/(?:blob|tree)/main/([^"#]+)"', (ROOT / "pyproject.toml").read_text()):
        assert (ROOT / target).exists(), target


def test_the_hooks_run_what_the_lint_step_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    hooked = {" ".join(hook["entry"].split()[:1]).removeprefix(".venv/bin/") for hook in local["hooks"]}
    makefile = (ROOT / "Makefile").read_text()
    linted = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert linted
    assert set(re.findall(r"@\$\(BIN\)/(\S+)", linted[1])) <= hooked


def test_the_forms_for_issues_are_forms() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 3
    for path in forms:
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
            assert all({"type", "attributes"} <= set(item) for item in form["body"])
