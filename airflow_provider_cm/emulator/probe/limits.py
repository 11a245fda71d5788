"""The questions how long a value may be, answered with few requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError
from airflow_provider_cm.emulator.settings import EmulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.probe.scratch import ScratchProject

DEFAULT = EmulatorSettings()


def longest(accepts: Callable[[int], bool], guess: int, most: int) -> int:
    """
    Find the greatest length that is accepted: two questions if the guess is right, a search in halves if it is not.

    :param accepts: asks for one length.
    :param guess: where to begin.
    :param most: what is never exceeded, for the server's sake.
    :raises UnsettledError: there is no limit up to ``most``.
    """
    good, bad = 0, guess
    if accepts(guess):
        good, bad = guess, guess + 1
        while accepts(bad):
            good, bad = bad, min(bad * 2, most)
            if good >= most:
                raise UnsettledError(f"{good} are accepted, and more were not tried")
    while bad - good > 1:
        middle = (good + bad) // 2
        if accepts(middle):
            good = middle
        else:
            bad = middle
    return good


def max_title(scratch: ScratchProject) -> Answer:
    """How long a title may be."""
    return _limit(scratch, "title", lambda length: "x" * length, DEFAULT.max_title, 4096)


def max_description(scratch: ScratchProject) -> Answer:
    """How long a description may be."""
    return _limit(scratch, "description", lambda length: "x" * length, DEFAULT.max_description, 65536)


def max_sensitive_properties(scratch: ScratchProject) -> Answer:
    """How many sensitive properties there may be."""
    return _limit(
        scratch,
        "sensitive_properties",
        lambda length: [f"string:p{number}" for number in range(length)],
        DEFAULT.max_sensitive_properties,
        16384,
    )


def _limit(scratch: ScratchProject, field: str, value: Callable[[int], object], guess: int, most: int) -> Answer:
    bench = scratch.bench()
    refusal = ""

    def accepts(length: int) -> bool:
        nonlocal refusal
        reply = scratch.update(bench, {field: value(length)})
        if not reply.ok:
            if reply.status not in (400, 413, 422):
                raise UnsettledError(f"a length of {length} answered {reply}")
            refusal = str(reply.status)
        return reply.ok

    matches = longest(accepts, guess, most)
    return matches, f"{matches} are accepted, {matches + 1} answered {refusal}"
