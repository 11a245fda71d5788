"""A mapping that is kept in a file: YAML or JSON text, made into the object that :class:`Mapping` parses."""

from __future__ import annotations

from typing import Any

from airflow_provider_cm.loading.mapping import MappingError


def mapping_from_text(text: str, field: str = "mapping") -> object:
    """Read a mapping's text.

    :param text: YAML, or JSON, which is YAML too.
    :param field: what to call it in an error.
    :return: what :meth:`Mapping.parse` takes.
    :raises MappingError: for text that is neither, and for a key that is given twice; the message has the line.
    """
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(node, field)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise MappingError(f"{field}: {line}{getattr(error, 'problem', None) or 'it is not YAML'}") from None


def _check_keys(node: Any, field: str) -> None:
    """Refuse a key that is given twice, the first of which YAML would drop silently."""
    if getattr(node, "id", None) != "mapping":
        return
    found = set()
    for key, value in node.value:
        if key.value in found:
            raise MappingError(
                f"{field}: line {key.start_mark.line + 1}: the key {key.value!r} is given twice; remove one of them"
            )
        found.add(key.value)
        _check_keys(value, field)
