"""The answer to a question of the probe, or that there is none."""

from __future__ import annotations

# A setting's value, and the evidence for it.
Answer = tuple[object, str]


class UnsettledError(Exception):
    """A question has no answer; the message says why."""
