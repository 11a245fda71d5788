"""Write the API reference, docs/reference/*.md, from the package's docstrings and signatures.

Usage: ``api_reference.py [--check]``; with ``--check`` nothing is written, and a page that is out of date is an error.
The pages are plain Markdown, so a code host shows them as the built documents do.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
PACKAGE = "airflow_provider_cm"
NOTE = "<!-- written by scripts/api_reference.py: edit the docstrings, not this page -->"
_ROLE = re.compile(r":(?:py:)?(?:class|meth|func|data|mod|attr|exc):`~?([^`]+)`")
_LITERAL = re.compile(r"\.\. code-block:: (\w+)\n\n((?:[ ]+.*\n?|\n)+)|::\n\n((?:[ ]+.*\n?|\n)+)")
_PARAM = re.compile(r":param (\w+):")
_NOT_GIVEN = re.compile(r"\s*\|\s*NotGiven\b")
_MODELS = ("BaseModel", "NamedTuple", "TypedDict")


@dataclass(frozen=True)
class Page:
    """One page of the reference.

    :param title: its heading.
    :param words: its first paragraph.
    :param modules: the modules on it, with the names to document; an empty tuple for every public one.
    :param methods: whether the methods of classes are documented too.
    """

    title: str
    words: str
    modules: dict[str, tuple[str, ...]]
    methods: bool = True


PAGES = {
    "operators": Page(
        "Operators",
        "All take the arguments of Airflow's `BaseOperator` too. [Operators and sensor](../operators.md) says when to "
        "use which.",
        {
            "operators.sources": (),
            "operators.rollout": (),
            "operators.approval": (),
            "operators.messages": (),
            "transfers.sql_to_comms_mining": (),
            "transfers.files_to_comms_mining": (),
            "decorators.load_messages": ("load_messages_task",),
        },
        methods=False,
    ),
    "sensors": Page(
        "Sensor and trigger",
        "[Waiting](../waiting.md) says what a wait costs and how it ends.",
        {"sensors.sources": (), "triggers.sources": ("SourceTrigger",)},
        methods=False,
    ),
    "hooks": Page(
        "Hook, assets, retry policy, exceptions",
        "[Connections](../connections.md) lists the fields of a connection.",
        {"hooks.comms_mining": (), "assets": (), "retry_policy": (), "exceptions": ()},
    ),
    "api": Page(
        "API client",
        "It works in a plain script, without Airflow: see the [example](../architecture.md#without-airflow). Import "
        "these names from `airflow_provider_cm.api`.",
        {
            "api.session": ("ApiSession",),
            "api.sources": ("SourcesApi",),
            "api.messages": ("MessagesApi", "SyncResult"),
            "api.models": ("Source",),
            "api.auth": ("DeveloperToken",),
            "api.client_credentials": ("ClientCredentials",),
            "api.retry": ("RetryPolicy",),
            "api.guards": ("Guards",),
            "api.request_records": (),
            "api.endpoint": ("normalise_endpoint",),
            "api.errors": (),
        },
    ),
    "rollout": Page(
        "Rollouts",
        "Plan and apply without Airflow; for DAGs there are [operators](operators.md). Import these names from "
        "`airflow_provider_cm.rollout`.",
        {
            "rollout.manifest": ("Manifest",),
            "rollout.manifest_errors": ("ManifestError", "Mistake"),
            "rollout.variables": ("escape",),
            "rollout.current_state": ("observe",),
            "rollout.planning": ("plan",),
            "rollout.plan_model": ("Plan", "PlanError"),
            "rollout.actions": ("Action", "Change"),
            "rollout.applying": ("apply",),
            "rollout.report": ("Report", "Outcome"),
            "rollout.exporting": ("export",),
        },
    ),
    "loading": Page(
        "Loading",
        "Without Airflow; for DAGs there are [operators](operators.md). [Loading messages](../loading.md) is "
        "the guide. Import these names from `airflow_provider_cm.loading`.",
        {
            "loading.loader": ("load",),
            "loading.mapping": ("Mapping",),
            "loading.template": ("MappingError",),
            "loading.report": ("LoadReport", "LoadError", "Progress"),
            "loading.options": ("LoadOptions",),
            "loading.checkpoint": ("CheckpointStore",),
        },
    ),
    "emulator": Page(
        "Emulator",
        "For tests: see [Testing your DAGs](../testing.md).",
        {
            "emulator.server": ("EmulatorServer",),
            "emulator.tenant_handle": (),
            "emulator.faults": ("Fault", "Faults"),
            "emulator.settings": ("EmulatorSettings",),
        },
    ),
}


# Docstrings


def markdown(text: str) -> str:
    """Turn a docstring's reST into Markdown.

    :param text: the docstring.
    :return: the same text; roles, literals and code blocks are the only reST that the package uses.
    """
    text = _LITERAL.sub(_fenced, text)
    return _ROLE.sub(lambda match: f"`{_short(match[1])}`", text).replace("``", "`")


def _fenced(match: re.Match[str]) -> str:
    language, body = (match[1], match[2]) if match[1] else ("text", match[3])
    colon = "" if match[1] or match.string[: match.start()].endswith("\n") else ":"
    return f"{colon}\n\n```{language}\n{textwrap.dedent(body).strip()}\n```\n"


def _short(path: str) -> str:
    parts = path.split(".")
    last = parts[-2:] if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1:]
    return path if path.startswith(PACKAGE) and parts[-1].islower() and len(last) == 1 else ".".join(last)


def _sections(item: Any) -> dict[str, Any]:
    """Parse a docstring into its sections, by their kind; ``text`` is Markdown."""
    if item.docstring is None:
        return {"text": ""}
    options = {"warnings": False, "warn_unknown_params": False, "warn_missing_types": False}
    parsed = griffe.Docstring(item.docstring.value, parent=item).parse("sphinx", **options)
    sections = {section.kind.value: section.value for section in parsed}
    return sections | {"text": markdown(str(sections.get("text", ""))).strip()}


# Signatures


@dataclass(frozen=True)
class Argument:
    """An argument of a function or a class."""

    name: str
    annotation: str
    default: str | None


def _arguments(item: Any, names: list[str]) -> list[Argument]:
    """List the arguments that a docstring documents, with the types and defaults that the code gives them.

    :raises ValueError: if the code has no such argument.
    """
    return [_argument(item, name) for name in names]


def _argument(item: Any, name: str) -> Argument:
    for owner in (item, *item.mro()) if item.is_class else (item,):
        for parameter in owner.parameters:
            if parameter.name.lstrip("*") == name:
                default = None if parameter.default is None else _literal(owner, str(parameter.default))
                return Argument(name, str(parameter.annotation or "Any"), default)
            for attribute in _unpacked(owner, parameter):
                if attribute.name == name:
                    return Argument(name, str(attribute.annotation), "NOT_GIVEN")
        attribute = owner.members.get(name) if item.is_class else None
        if attribute is not None and getattr(attribute, "annotation", None) is not None:
            return Argument(name, str(attribute.annotation), _value(attribute))
    raise ValueError(f"{item.path}: the docstring documents '{name}', which the code does not take")


def _literal(item: Any, default: str) -> str:
    """Return the value of a default that is the name of a text or a number in the same class or module."""
    for scope in (item if item.is_class else item.parent, item.module):
        constant = scope.members.get(default)
        if constant is not None and constant.is_attribute and re.fullmatch(r"'[^']*'|[\d._]+", str(constant.value)):
            return str(constant.value)
    return default


def _unpacked(item: Any, parameter: Any) -> Iterator[Any]:
    """List the keys of the ``TypedDict`` in ``**kwargs: Unpack[TheTypedDict]``."""
    match = re.fullmatch(r"(?:\w+\.)*Unpack\[(?:\w+\.)*(\w+)\]", str(parameter.annotation or ""))
    if parameter.kind is not griffe.ParameterKind.var_keyword or match is None:
        return
    scope = item if item.is_class else item.parent
    typed_dict = item.modules_collection[scope.module.resolve(match[1])]
    for owner in (typed_dict, *(typed_dict.mro() if typed_dict.is_class else ())):
        yield from (member for member in owner.members.values() if member.is_attribute and member.annotation)


def _value(attribute: Any) -> str | None:
    text = None if attribute.value is None else str(attribute.value)
    match = re.search(r"\bdefault(?:_factory)?=(\w+|'[^']*'|\"[^\"]*\")", text or "")
    return (match[1] if match else None) if text and text.startswith(("field(", "Field(")) else text


def _signature(item: Any) -> str:
    parts: list[str] = []
    keyword_only = False
    for parameter in item.parameters:
        if parameter.name in {"self", "cls"}:
            continue
        kind = parameter.kind.name
        if kind == "keyword_only" and not keyword_only:
            keyword_only = True
            if not any(part.startswith("*") for part in parts):
                parts.append("*")
        star = {"var_positional": "*", "var_keyword": "**"}.get(kind, "")
        default = "" if parameter.default is None or star else f"={parameter.default}"
        parts.append(f"{star}{parameter.name}{default}")
    return f"{item.name}({', '.join(parts)})"


# Pages


def _cell(text: str) -> str:
    return " ".join(markdown(text).split()).replace("|", r"\|")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def _documented(item: Any, sections: dict[str, Any]) -> list[tuple[Argument, Any]]:
    """List the documented arguments, those of the class's bases in modules named ``*base`` too; required ones first.

    Such a module is on no page itself.
    """
    documented = {each.name: each for each in sections.get("parameters", [])}
    for base in item.mro() if item.is_class else ():
        if base.module.name.endswith("base"):
            documented |= {
                each.name: each for each in _sections(base).get("parameters", []) if each.name not in documented
            }
    rows = list(zip(_arguments(item, list(documented)), documented.values(), strict=True))
    return sorted(rows, key=lambda row: row[0].default is not None)


def _parameters(item: Any, sections: dict[str, Any]) -> Iterator[str]:
    documented = _documented(item, sections)
    if not documented:
        return
    yield "| argument | type | default | meaning |\n|---|---|---|---|"
    for argument, described in documented:
        default = "required" if argument.default is None else _code(argument.default)
        default = "not given" if argument.default == "NOT_GIVEN" else default
        kind = _NOT_GIVEN.sub("", argument.annotation)
        yield f"| `{argument.name}` | {_code(kind)} | {default} | {_cell(described.description)} |"


def _results(sections: dict[str, Any]) -> Iterator[str]:
    for returned in sections.get("returns", []):
        yield f"**Returns** {_cell(returned.description)}"
    raised = [f"- `{_short(str(each.annotation))}`: {_cell(each.description)}" for each in sections.get("raises", [])]
    if raised:
        yield "**Raises**\n\n" + "\n".join(raised)


def _entry(item: Any, page: Page, level: int = 2) -> Iterator[str]:
    sections = _sections(item)
    name = item.name if level == 2 else f"{item.parent.name}.{item.name}"
    yield f"{'#' * level} {name}"
    if item.is_function:
        yield f"```text\n{_signature(item)}\n```"
    if level == 2:
        yield f"`{item.path}`"
    yield sections["text"]
    yield "\n".join(_parameters(item, sections))
    yield from _results(sections)
    if item.is_class and page.methods:
        yield from _members(item, page)


def _members(item: Any, page: Page) -> Iterator[str]:
    public = [each for each in item.members.values() if _is_public(each)]
    properties = [each for each in public if each.is_attribute and "property" in each.labels]
    if properties:
        rows = [
            f"| `{each.name}` | {_code(str(each.annotation))} | {_cell(_sections(each)['text'])} |"
            for each in properties
        ]
        yield "\n".join(["| attribute | type | meaning |", "|---|---|---|", *rows])
    for each in public:
        if each.is_function:
            yield from _entry(each, page, level=3)


def _is_public(item: Any) -> bool:
    return not item.is_alias and not item.name.startswith("_") and item.docstring is not None


def render(page: Page, package: Any) -> str:
    """Write one page.

    :param page: what is on it.
    :param package: the package, as Griffe has loaded it.
    :return: the Markdown.
    :raises KeyError: if a name of the page is not in the code.
    :raises ValueError: if a docstring documents an argument that the code does not take.
    """
    parts = [f"# {page.title}", NOTE, page.words]
    for path, names in page.modules.items():
        module = package[path]
        listed = [module.members[name] for name in names] if names else list(module.members.values())
        for item in listed:
            if _is_public(item) and (item.is_class or item.is_function):
                parts += _entry(item, page)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def pages() -> dict[Path, str]:
    """Write all pages.

    :return: the Markdown of each, by its path.
    """
    package = griffe.load(PACKAGE, search_paths=[str(ROOT)], allow_inspection=False, resolve_aliases=False)
    return {FOLDER / f"{name}.md": render(page, package) for name, page in PAGES.items()}


def main(*arguments: str) -> int:
    """Write the pages, or name those that are out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run scripts/api_reference.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
