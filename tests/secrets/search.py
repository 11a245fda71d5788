"""The searcher: everything that was shown, as texts by channel, and every spelling of a secret in them."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import pickle
import re
import sys
import threading
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = str(Path(__file__).parents[1])
# A message that was cut may end, or begin, within a secret, so the first and the last characters count as all of it.
PLAIN_PIECE = 12
ENCODED_PIECE = 16
_ADDRESS = re.compile(r"0x[0-9a-f]{8,16}\b")
_PLAIN = (str, bytes, int, float, type, FunctionType, MethodType, ModuleType)


def spellings(secret: str) -> dict[str, set[str]]:
    """Give every form of a secret that is looked for, by its name."""
    data = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    lower = re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=""))
    forms = {
        "plain": {secret, data.decode("latin-1")},  # and as HTTP libraries read headers
        "URL-encoded": {quote(secret, safe=""), quote_plus(secret), quote(secret), quote(quote(secret)), lower},
        "JSON-escaped": {escaped, escaped.replace("/", "\\/"), json.dumps(secret, ensure_ascii=False)[1:-1]},
        "HTML-escaped": {html.escape(secret), html.escape(secret, quote=False)},
        "repr": {repr(secret)[1:-1], repr(data)[2:-1]},
    }
    for shift in range(3):
        core = aligned_base64(data, shift)
        forms[f"base64 shifted by {shift}"] = {core, core.replace("+", "-").replace("/", "_")}
    return forms


def aligned_base64(data: bytes, shift: int) -> str:
    """Give the characters that stand for these bytes alone, after ``shift`` other bytes (modulo 3)."""
    whole = base64.b64encode(b"\0" * shift + data).decode()
    return whole[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6]


def pieces(secret: str) -> dict[str, set[str]]:
    """Give what to look for: first and last characters of every form, each once."""
    sought: dict[str, set[str]] = {}
    known: set[str] = set()
    for name, forms in spellings(secret).items():
        length = PLAIN_PIECE if name == "plain" else ENCODED_PIECE
        found = {piece for form in forms for piece in (form[:length], form[-length:])}
        sought[name] = {piece for piece in found if not any(shorter in piece for shorter in known)}
        known |= found
    return sought


@dataclass(frozen=True)
class Hit:
    """A secret that was found."""

    channel: str
    secret: str
    form: str
    where: str

    def __str__(self) -> str:
        return f"{self.channel}: {self.secret} shows, {self.form}, in {self.where}"


class Haul:
    """All that was captured, by channel."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lines: dict[str, tuple[str, str]] = {}
        self.origin = ""

    def add(self, channel: str, text: str) -> None:
        self.counts[channel] += 1
        # Most lines come up again and again, and no form of a secret holds a line break. Addresses differ needlessly.
        for line in _ADDRESS.sub("0x", text).split("\n"):
            self._lines.setdefault(line, (channel, self.origin))

    def add_object(self, channel: str, thing: object) -> None:
        """Take in what an object shows of itself, and what all of ours that it leads to do."""
        for each in reachable(thing):
            self.add(channel, shown(each))
            self.add(channel, shown(each, str))

    def add_exception(self, channel: str, error: BaseException) -> None:
        """Take in an exception with its family: texts, tracebacks, variables of all frames, pickles."""
        for each in family(error):
            self.add(channel, shown(each, str))
            self.add(channel, shown(each))
            self.add(channel, shown(vars(each)))
            self.add(f"{channel}: traceback", "".join(traceback.format_exception(each)))
            for text in variables(each):
                self.add(f"{channel}: variables", text)
            with contextlib.suppress(Exception):  # some of Airflow's exceptions cannot be pickled
                self.add(f"{channel}: pickle", pickle.dumps(each, 0).decode("latin-1"))
                self.add(f"{channel}: pickle", pickle.dumps(each).decode("utf-8", "replace"))

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def search(self, secrets: dict[str, str]) -> list[Hit]:
        """Look for every secret, given by its name, in every form, in every text."""
        whole = "\n".join(self._lines)
        hits = []
        for name, secret in secrets.items():
            for form, sought in pieces(secret).items():
                for piece in sought:
                    if piece in whole:
                        hits += [
                            Hit(channel, name, form, f"{origin}: {excerpt(line, piece)}")
                            for line, (channel, origin) in self._lines.items()
                            if piece in line
                        ]
        return hits


def excerpt(text: str, piece: str) -> str:
    at = text.index(piece)
    return repr(text[max(0, at - 200) : at + 100])


def shown(thing: object, how: Any = repr) -> str:
    try:
        return str(how(thing))
    except Exception as error:  # noqa: BLE001  # it shows nothing then, but the error might
        return f"cannot be shown: {error!r}"


def family(error: BaseException) -> list[BaseException]:
    """Collect causes and contexts, the suppressed ones too: error trackers show them."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and not any(each is known for known in found):
            found.append(each)
            todo += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return found


def variables(error: BaseException) -> Iterator[str]:
    """Give the variables of all frames of a traceback but those of the tests, as a debugger or a tracker shows them."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(TESTS):
            for name, value in list(frame.f_locals.items()):
                yield f"{frame.f_code.co_filename}:{line} {name} = {shown(value)}"


def reachable(thing: object) -> Iterator[object]:
    """Give an object and all of this package's and of the HTTP libraries' to which its attributes lead."""
    seen: set[int] = set()
    todo: list[object] = [thing]
    first = True
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, _PLAIN):
            continue
        seen.add(id(each))
        module = type(each).__module__.partition(".")[0]
        if first or (module in {"airflow_provider_cm", "requests", "urllib3"} and not isinstance(each, tuple)):
            yield each
            first = False
            todo += _attributes(each)
        elif isinstance(each, dict):
            todo += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            todo += each
        elif isinstance(each, threading.local):
            todo += list(vars(each).values())


def _attributes(thing: object) -> list[object]:
    slots = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
    found = [getattr(thing, name, None) for name in slots if name not in {"__weakref__", "__dict__"}]
    return found + list(getattr(thing, "__dict__", {}).values())


class Logs:
    """Every record of the standard library's logging and of structlog, before anything is masked or left out."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.events: list[dict[str, Any]] = []

    @property
    def lines(self) -> list[str]:
        """What was logged, as it was formatted."""
        return [record.getMessage() for record in self.records] + [str(event.get("event")) for event in self.events]

    def pour_into(self, haul: Haul) -> None:
        for record in self.records:
            haul.add("log", record.getMessage())
            haul.add("log", shown({**vars(record), "args": [shown(arg) for arg in _listed(record.args)]}))
            if record.exc_info and record.exc_info[1] is not None:
                _pour_error(haul, record.name, record.exc_info[1])
        for event in self.events:
            haul.add("log", str(event.get("event")))
            haul.add("log", shown(event))
            info = event.get("exc_info")
            error = info[1] if isinstance(info, tuple) else info if isinstance(info, BaseException) else None
            if error is not None:
                _pour_error(haul, str(event.get("logger")), error)
        self.records.clear()
        self.events.clear()


def _pour_error(haul: Haul, logger: str, error: BaseException) -> None:
    if "airflow_provider_cm" in logger:
        haul.add_exception("log: exception", error)
    else:
        # Airflow's own logs of its own troubles: what they show is searched, what they could show is Airflow's matter.
        haul.add("log: exception", "".join(traceback.format_exception(error)))


def _listed(args: object) -> list[object]:
    return list(args) if isinstance(args, tuple) else [args]


@contextlib.contextmanager
def logs_captured() -> Iterator[Logs]:
    """Collect all logs at level DEBUG."""
    logs = Logs()
    former_factory = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = former_factory(*args, **kwargs)
        logs.records.append(record)
        return record

    def processor(logger: object, _: str, event: Any) -> Any:
        kept = dict(event)  # the other processors take parts away
        if kept.get("exc_info") is True:
            kept["exc_info"] = sys.exc_info()
        kept["logger"] = str(getattr(logger, "name", ""))
        logs.events.append(kept)
        return event

    loggers = [logging.getLogger(), *(each for each in _loggers() if each.level)]
    levels = [(each, each.level) for each in loggers]
    former_disable = logging.root.manager.disable
    config = structlog.get_config()
    config["processors"].insert(0, processor)  # in place, for the sake of loggers that keep their configuration
    debug = structlog.make_filtering_bound_logger(logging.DEBUG)
    try:
        logging.setLogRecordFactory(factory)
        logging.disable(logging.NOTSET)
        for each in loggers:
            each.setLevel(logging.DEBUG)
        structlog.configure(wrapper_class=debug, cache_logger_on_first_use=False)
        yield logs
    finally:
        config["processors"].remove(processor)
        structlog.configure(**config)
        logging.setLogRecordFactory(former_factory)
        logging.disable(former_disable)
        for each, level in levels:
            each.setLevel(level)


def _loggers() -> list[logging.Logger]:
    return [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]


@contextlib.contextmanager
def warnings_captured(haul: Haul) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        haul.add("warning", str(each.message))
