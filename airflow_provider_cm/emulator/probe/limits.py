"""How long a value may be, found with few requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.probe.lab import UnsettledError

if TYPE_CHECKING:
    from collections.abc import Callable


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
