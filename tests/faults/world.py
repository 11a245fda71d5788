"""What the fault machines share: a clock that a sleep moves on, server and proxy, the tally, what was there when."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.faults.drawn import HARMLESS
from tests.faults.proxy import Wire

if TYPE_CHECKING:
    from airflow_provider_cm.api import Source
    from airflow_provider_cm.emulator import EmulatorServer, EmulatorSettings
    from airflow_provider_cm.emulator.faults import Fault
    from airflow_provider_cm.emulator.records import SourceChange
    from airflow_provider_cm.emulator.records import StoredSource as Held
    from tests.faults.proxy import FaultProxy, Seen

PROJECT = "acme-dev"
TENANT = "/acme/dev/reinfer_"
# A client that waits in vain for an answer really waits, so this is short; and longer than a busy machine takes for an
# answer, since the oracles know nothing of that.
READ_TIMEOUT = 1.0


class VirtualTime:
    """A clock for client and server, which a sleep moves on at once."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._start = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=time.monotonic())

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


@dataclass
class Tally:
    """What was tried and how it ended, for the report."""

    operations: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    settings: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    def to_dict(self) -> dict[str, Any]:
        outcomes: dict[str, dict[str, int]] = {}
        for (kind, ended), count in self.outcomes.items():
            outcomes.setdefault(kind, {})[ended] = count
        return {
            "operations": dict(self.operations),
            "outcomes": outcomes,
            "faults": dict(self.faults),
            "settings": dict(self.settings),
            "requests": self.requests,
        }


@dataclass
class World:
    """Server, proxy and clients, kept from one example to the next since starting them is slow."""

    time: VirtualTime
    server: EmulatorServer
    proxy: FaultProxy
    tally: Tally

    def sleep(self, seconds: float) -> None:
        """Let a client wait; a server that was down may come up meanwhile."""
        self.time.skip(seconds)
        self.proxy.come_up()

    def note_faults(self) -> None:
        """Learn from the server's record which requests it was told to do wrong."""
        until = time.monotonic() + 5
        while len(self.server.requests) < len(self.proxy.forwarded):
            assert time.monotonic() < until, "the server's record lacks requests that were forwarded"
            time.sleep(0.001)
        for seen, recorded in zip(self.proxy.forwarded, self.server.requests, strict=True):
            if recorded.fault is not None:
                seen.fault = fault_name(recorded.fault)

    def count_faults(self) -> None:
        """Count what went wrong on the wire and at the server, where several requests pass at a time."""
        self.tally.requests += len(self.proxy.seen)
        self.tally.faults.update(each.wire.value for each in self.proxy.seen if each.wire is not Wire.PASS)
        faults = [each.fault for each in self.server.requests if each.fault is not None]
        self.tally.faults.update(f"answer: {fault_name(fault)}" for fault in faults)


@dataclass
class Moment:
    """What one call met.

    :param states: the states of the source while it ran.
    :param earlier: states before it that a lagging replica may still have shown.
    :param own: what the call changed.
    :param seen: what passed on the wire.
    :param refused: attempts that the proxy did not see, since the server was down.
    :param seconds: how long it took.
    """

    states: list[Held | None]
    earlier: list[Held | None]
    own: list[SourceChange]
    seen: list[Seen]
    refused: int
    seconds: float

    @property
    def shown(self) -> list[Held | None]:
        """The states that a read during the call may have shown."""
        return [*self.earlier, *self.states]

    def met_another(self) -> bool:
        """Whether there ever was to be seen a source that this call had not created, or that a rival had changed."""
        made = {change.after.id for change in self.own if change.action == "create" and change.after}
        written = [change.after for change in self.own]
        return any(state is not None and (state.id not in made or state not in written) for state in self.shown)

    def left(self) -> list[SourceChange]:
        """Give what this call did and no rival has undone: what is undone before it is read back leaves no trace."""
        return [change for change in self.own if change.after == self.states[-1]]


def fault_name(fault: Fault) -> str:
    return " ".join(filter(None, [fault.kind, fault.odd]))


def concerns(change: SourceChange, name: str, settings: EmulatorSettings) -> bool:
    """Whether a change was made to the source of this name."""
    return any(each is not None and same_name(each.name, name, settings) for each in (change.before, change.after))


def same_name(one: str, other: str, settings: EmulatorSettings) -> bool:
    return one == other if settings.names_case_sensitive else one.lower() == other.lower()


def failed_exchange(seen: Seen) -> bool:
    return (
        seen.wire.answer_is_lost
        or seen.status is None
        or seen.status >= 400
        or (seen.fault is not None and seen.fault not in HARMLESS)
    )


def refuses_reading(seen: Seen) -> bool:
    """Whether a read was answered in a way that waiting does not mend."""
    final = {"wrong-envelope", "html", "redirect", "quota", "401", "expired-token", "odd-json nan", "odd-json infinity"}
    # A rival may delete a source between the read by name that showed it and the one by id.
    vanished = "/id:" in seen.path and seen.status == 404
    return "identity_" in seen.path or (seen.method == "GET" and (seen.fault in final or vanished))


def leaves_doubt(seen: Seen) -> bool:
    """Whether a write may have been carried out, as far as its sender can tell from what came back."""
    if seen.status is None or seen.status >= 500:
        return True
    if seen.fault in {"odd-json nan", "odd-json infinity"}:
        return seen.status < 400  # a refusal needs no body to be understood
    return seen.fault in {"wrong-envelope", "html", "empty", "truncated", "no-answer"}


def as_read(text: str) -> str:
    """Give a text as the client does, which replaces what no database can hold."""
    return re.sub("[\ud800-\udfff\0]", "\ufffd", text)


def is_shown(state: Held, source: Source) -> bool:
    """Whether a reported source is this state, as far as the report goes."""
    return (
        (source.id, source.name, source.title, source.description, source.should_translate)
        == (state.id, state.name, as_read(state.title), state.description, state.should_translate)
        and set(source.sensitive_properties or ()) == set(state.sensitive_properties)
        and source.language in {None, state.language}
        and source.bucket_id in {None, state.bucket_id}
    )
