"""A manifest's YAML or JSON as plain values, with the line of each, and everything that YAML would let pass silently.

Built from the parser's events, so that nothing is expanded or converted before it has been looked at.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider_cm.api.arguments import excerpt
from airflow_provider_cm.api.errors import printable

if TYPE_CHECKING:
    from airflow_provider_cm.rollout.manifest_errors import Path

MAX_BYTES = 10 * 1024 * 1024
_MAX_DEPTH = 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it was built in, is ten times as fast
_PREFIX = "tag:yaml.org,2002:"
_KINDS = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a date",
    "null": "null",
}
# What JSON allows in a text as it is, and YAML doesn't, or takes for a line break.
_RAW_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SURROGATES = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\.", re.IGNORECASE)


class Reported:
    """Stands for a value about which a mistake has been noted, so that it is not reported twice."""


REPORTED = Reported()


@dataclass(frozen=True, slots=True)
class NotText:
    """A value that is no text, truth value, list or mapping.

    :param written: as it was written.
    :param kind: what it was taken for, e.g. ``a number``.
    """

    written: str
    kind: str


@dataclass(slots=True)
class YamlDocument:
    """What was read.

    :param data: dicts, lists, texts, truth values, :class:`NotText` and :class:`Reported`.
    :param lines: the line of each value, from 1; empty if it was no text.
    :param written: truth values as they were written, such as ``no``.
    :param mistakes: place, line and message of each.
    """

    data: Any = REPORTED
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    mistakes: list[tuple[Path, int | None, str]] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of a value, or of the nearest one that it belongs to."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read_text(text: str | bytes) -> YamlDocument:
    """Read YAML or JSON.

    :param text: the file's content; bytes are UTF-8.
    """
    document = YamlDocument()
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            document.mistakes.append(((), line, "this is not UTF-8; save the file in that encoding"))
            return document
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        document.mistakes.append(((), None, "it is larger than 10 MiB; split it, one manifest for each part"))
        return document
    try:
        _Builder(document).build(_plain_json(text))
    except yaml.YAMLError as error:
        document.data = REPORTED
        document.mistakes.append(((), *_syntax(error, text)))
    except UnicodeEncodeError as error:
        document.data = REPORTED
        line = text.count("\n", 0, error.start) + 1
        document.mistakes.append(((), line, "this holds half of a surrogate pair, which is no character"))
    return document


def read_mapping(data: object) -> YamlDocument:
    """Take a manifest that was given as Python values.

    :param data: a dict, such as a row-wise query or another task made it.
    """
    document = YamlDocument()
    document.data = _copy(data, (), document, 0)
    return document


def _copy(value: object, path: Path, document: YamlDocument, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        document.mistakes.append((path, None, f"this is nested more than {_MAX_DEPTH} deep"))
        return REPORTED
    if isinstance(value, dict):
        copied = {}
        for key, item in value.items():
            if isinstance(key, str):
                copied[key] = _copy(item, (*path, key), document, depth + 1)
            else:
                document.mistakes.append((path, None, f"the key {excerpt(key)} is not text; keys are names of fields"))
        return copied
    if isinstance(value, list | tuple):
        return [_copy(item, (*path, number), document, depth + 1) for number, item in enumerate(value)]
    if value is None:
        document.mistakes.append((path, None, _null("None")))
        return REPORTED
    if isinstance(value, str | bool):
        return value
    return NotText(excerpt(value), "a number" if isinstance(value, int | float) else f"of type {type(value).__name__}")


def _null(written: str) -> str:
    return (
        f"{repr(written) if written else 'an empty value'} is null, which says neither what to set nor what to keep: "
        "leave the field out to keep what is there, write '' for an empty text or [] for an empty list (and "
        "detach_bucket: true for no bucket)"
    )


def _plain_json(text: str) -> str:
    """Return JSON in a form that YAML reads in the same way and on the same lines; anything else as it is."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text

    def pair(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        return (bytes.fromhex(found[1]) + bytes.fromhex(found[2])).decode("utf-16-be")

    # In valid JSON, a tab is white space between the parts, and all that is not ASCII is within a text.
    text = _RAW_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\t", " "))
    return _SURROGATES.sub(pair, text)


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """Return line and message of what the parser tripped over."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        said = getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read"
        return mark.line + 1, f"this is not YAML: {printable(str(said))} (column {mark.column + 1})"
    position, character = getattr(error, "position", None), getattr(error, "character", None)
    line = None
    if isinstance(character, int) and chr(character) in text:
        position = text.index(chr(character))
    if isinstance(position, int):
        line = text.count("\n", 0, position) + 1
    reason = printable(str(getattr(error, "reason", error)).splitlines()[0])
    code = f" (U+{character:04X})" if isinstance(character, int) else ""
    return line, f"this is not YAML: {reason}{code}; write such a character as an escape in double quotes"


class _Frame:
    """A list or mapping that is being read.

    :param container: where values go; ``None`` for one that is thrown away.
    :param path: where it stands.
    """

    __slots__ = ("container", "key", "path", "seen", "waits_for_key")

    def __init__(self, container: dict[str, Any] | list[Any], path: Path) -> None:
        self.container = container
        self.path = path
        self.key: str | None = None
        self.waits_for_key = isinstance(container, dict)
        self.seen: dict[str, int] = {}


class _Builder:
    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._resolver = yaml.resolver.Resolver()
        self._frames: list[_Frame] = []

    def build(self, text: str) -> None:
        documents = 0
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._wrong((), line, "a second document begins here ('---'); a file holds one manifest")
                    return
            elif isinstance(event, yaml.CollectionEndEvent):
                self._frames.pop()
            elif isinstance(event, yaml.NodeEvent) and not self._node(event, line):
                return

    def _node(self, event: yaml.NodeEvent, line: int) -> bool:
        """Take in one value or key; ``False`` to stop reading."""
        frame = self._frames[-1] if self._frames else None
        if isinstance(event, yaml.AliasEvent):
            self._wrong(self._place(), line, f"*{event.anchor} is an alias; write the value itself where it is used")
        elif event.anchor is not None:
            self._wrong(
                self._place(),
                line,
                f"&{event.anchor} is an anchor; remove it, and write the value itself where it is needed",
            )
        if frame is not None and frame.waits_for_key:
            return self._key(frame, event, line)
        if isinstance(event, yaml.CollectionStartEvent):
            return self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, line)
        path = self._place()
        self._document.lines.setdefault(path, line)
        self._store(self._scalar(event, path, line) if isinstance(event, yaml.ScalarEvent) else REPORTED)
        return True

    def _open(self, container: dict[str, Any] | list[Any], event: yaml.CollectionStartEvent, line: int) -> bool:
        path = self._place()
        self._document.lines.setdefault(path, line)
        self._check_tag(event, path, line)
        if len(self._frames) >= _MAX_DEPTH:
            self._wrong(path, line, f"this is nested more than {_MAX_DEPTH} deep")
            return False
        self._store(container)
        self._frames.append(_Frame(container, path))
        return True

    def _key(self, frame: _Frame, event: yaml.NodeEvent, line: int) -> bool:
        frame.waits_for_key = False
        frame.key = None
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event, frame.path, line)
            kind = self._kind(event)
            if kind == "merge":
                self._wrong(frame.path, line, "'<<' merges another mapping; write the fields themselves")
            elif kind != "str":
                what = _KINDS.get(kind, kind)
                self._wrong(frame.path, line, f"the key {printable(event.value, 80)} is {what}, not text")
            elif event.value in frame.seen:
                first = frame.seen[event.value]
                self._wrong(
                    (*frame.path, event.value), line, f"this is given a second time (first in line {first}); remove one"
                )
            else:
                frame.key = event.value
                frame.seen[event.value] = line
                self._document.lines[*frame.path, event.value] = line
        elif not isinstance(event, yaml.AliasEvent):
            self._wrong(frame.path, line, "a list or mapping cannot be a key; keys are names of fields")
            # What it holds, and its value, are read and thrown away; the file's other mistakes still show.
            thrown: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            if len(self._frames) >= _MAX_DEPTH:
                return False
            self._frames.append(_Frame(thrown, frame.path))
        return True

    def _place(self) -> Path:
        """Say where the next value goes."""
        if not self._frames:
            return ()
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            return (*frame.path, len(frame.container))
        return frame.path if frame.key is None else (*frame.path, frame.key)

    def _store(self, value: Any) -> None:
        if not self._frames:
            self._document.data = value
            return
        frame = self._frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
            return
        if frame.key is not None:
            frame.container[frame.key] = value
        frame.waits_for_key = True

    def _scalar(self, event: yaml.ScalarEvent, path: Path, line: int) -> Any:
        self._check_tag(event, path, line)
        kind = self._kind(event)
        if kind == "str":
            return event.value
        if kind == "null":
            self._wrong(path, line, _null(event.value))
            return REPORTED
        if kind == "bool":
            self._document.written[path] = event.value
            return event.value.lower() in {"true", "yes", "on"}
        return NotText(printable(event.value, 80), _KINDS.get(kind, f"of YAML's type '{kind}'"))

    def _kind(self, event: yaml.ScalarEvent) -> str:
        if event.tag is not None:
            return "str"  # reported as a tag
        tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        return str(tag).removeprefix(_PREFIX)

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, path: Path, line: int) -> None:
        if event.tag is not None and not (event.tag == "!" and isinstance(event, yaml.ScalarEvent)):
            self._wrong(path, line, f"{printable(event.tag, 80)} is a YAML tag; put texts in quotes instead")

    def _wrong(self, path: Path, line: int, message: str) -> None:
        self._document.mistakes.append((path, line, message))
