"""An extension of Griffe, which reads the docstrings for the API reference: reST as this package uses it, as Markdown.

Griffe reads the fields (``:param ...:``) itself; roles, literal blocks and code blocks it leaves as they are. And it
does not know the parameters that a class hands on to its base, or that a model has as fields.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:class|meth|func|data|mod|attr|exc):`~?([^`]+)`")
_LITERAL = re.compile(r"\.\. code-block:: (\w+)\n\n((?:[ ]+.*\n?|\n)+)|::\n\n((?:[ ]+.*\n?|\n)+)")
_PARAM = re.compile(r":param (\w+):")


def markdown(text: str) -> str:
    """Write a docstring's reST as Markdown.

    :param text: the docstring.
    """
    text = _LITERAL.sub(_fenced, text)
    return _ROLE.sub(lambda found: f"`{_short(found[1])}`", text).replace("``", "`")


def _fenced(found: re.Match[str]) -> str:
    language, body = (found[1], found[2]) if found[1] else ("text", found[3])
    colon = "" if found[1] or found.string[: found.start()].endswith("\n") else ":"
    return f"{colon}\n\n```{language}\n{textwrap.dedent(body).strip()}\n```\n"


def _short(path: str) -> str:
    parts = path.split(".")
    kept = parts[-2:] if len(parts) > 1 and parts[-2][:1].isupper() else parts[-1:]
    return path if path.startswith("airflow_provider_cm") and parts[-1].islower() and len(kept) == 1 else ".".join(kept)


class Docstrings(griffe.Extension):
    """Rewrites each docstring once the whole package is loaded."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Go through a package.

        :param pkg: the package.
        """
        self._visit(pkg)

    def _visit(self, item: Any) -> None:
        if item.is_alias:
            return
        if item.docstring is not None:
            item.docstring.value = markdown(item.docstring.value)
            if item.is_class:
                self._complete(item)
        for member in item.members.values():
            self._visit(member)

    def _complete(self, item: Any) -> None:
        """Add to a class's signature the documented parameters that its bases take, with their types and defaults."""
        known = {parameter.name for parameter in item.parameters}
        missing = [name for name in _PARAM.findall(item.docstring.value) if name not in known]
        if not missing:
            return
        if "__init__" not in item.members:
            item.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters()))
        parameters = item.members["__init__"].parameters
        rest = [each for each in parameters if each.kind is griffe.ParameterKind.var_keyword]
        for each in rest:
            del parameters[each.name]
        for each in (*(_inherited(item, name) for name in missing), *(rest if not _model(item) else ())):
            parameters.add(each)


def _model(item: Any) -> bool:
    return any(str(base).endswith("BaseModel") for base in item.bases)


def _inherited(item: Any, name: str) -> Any:
    keyword = griffe.ParameterKind.keyword_only
    for each in (item, *item.mro()):
        for parameter in each.parameters:
            if parameter.name == name and parameter.annotation is not None:
                return griffe.Parameter(name, annotation=parameter.annotation, kind=keyword, default=parameter.default)
        field = each.members.get(name)
        if field is not None and getattr(field, "annotation", None) is not None:
            return griffe.Parameter(name, annotation=field.annotation, kind=keyword, default=field.value)
    raise ValueError(f"{item.path}: the docstring has a parameter '{name}', which neither it nor its bases take")
