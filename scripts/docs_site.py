"""Hooks of MkDocs: the navigation, from one list of pages in reading order; and links to other files of the repository.

A page that is missing is left out, since some are written by a run. A page that is not in the list is an error: nobody
would find it. A link such as ``../README.md`` points to the file on GitHub, so that it works there and in the built
documents.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_OUTSIDE = re.compile(r"\]\((?:\.\./)+([\w./-]+)(#[\w-]+)?\)")

SECTIONS: dict[str, list[str]] = {
    "": ["index.md"],
    "Get started": ["quickstart.md", "connections.md", "examples.md", "moving-here.md"],
    "Guides": ["operators.md", "loading.md", "rollouts.md", "waiting.md", "assets.md", "testing.md"],
    "Operations": [
        "deployment.md",
        "runbook.md",
        "retries.md",
        "metrics.md",
        "reliability.md",
        "performance.md",
        "compatibility.md",
    ],
    "Reference": [
        "errors.md",
        "guesses.md",
        "reference/operators.md",
        "reference/sensors.md",
        "reference/hooks.md",
        "reference/api.md",
        "reference/rollout.md",
        "reference/loading.md",
        "reference/emulator.md",
    ],
    "Project": ["architecture.md", "security.md", "releases.md", "changelog.md"],
}


def pages(docs: Path) -> set[str]:
    """Return the Markdown files of a folder, as paths relative to it."""
    return {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}


def navigation(docs: Path) -> list[Any]:
    """Return the navigation for the existing pages.

    :param docs: the folder of the documents.
    :raises ValueError: for a page that is not in the list above.
    """
    there = pages(docs)
    listed = {page for section in SECTIONS.values() for page in section}
    if stray := sorted(there - listed):
        raise ValueError(f"not in the navigation of scripts/docs_site.py: {', '.join(stray)}")
    nav: list[Any] = []
    for title, section in SECTIONS.items():
        present = [page for page in section if page in there]
        nav += [{title: present}] if title and present else present
    return nav


def on_config(config: Any) -> Any:
    """Fill in the navigation."""
    config["nav"] = navigation(Path(config["docs_dir"]))
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Lead links to files outside of the documents to the repository."""
    docs, here = Path(config["docs_dir"]), Path(page.file.abs_src_path).parent

    def lead(match: re.Match[str]) -> str:
        path = match[0][2:-1].partition("#")[0]
        target = (here / path).resolve()
        if target.is_relative_to(docs) or not target.exists():
            return match[0]  # MkDocs checks it
        kind = "tree" if target.is_dir() else "blob"
        return f"]({config['repo_url']}/{kind}/main/{target.relative_to(docs.parent).as_posix()}{match[2] or ''})"

    return _OUTSIDE.sub(lead, markdown)
