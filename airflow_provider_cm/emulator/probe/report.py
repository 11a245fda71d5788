"""What the probe found out, for people and for programs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cm.emulator.settings import EmulatorSettings

_NEVER_ASKED = {
    "rate_limit": "finding it out would load the service",
    "latency_ms": "it depends on the network",
    "read_lag_s": "finding it out would take many requests at different times",
    "predicted_labels": "they depend on the dataset",
    "date_offset_s": "the time that a response takes hides it",
    "stream_results": "finding it out would take more messages than these questions load",
}


@dataclass
class ProbeReport:
    """
    The outcome of one run.

    :param settings: settled settings, as values of :class:`~airflow_provider_cm.emulator.settings.EmulatorSettings`.
    :param evidence: what each was settled by.
    :param unsettled: setting to the reason why it is not settled.
    :param observed: other observations, by name.
    :param left: leftovers of the cleanup.
    :param unsure: leftovers that may exist, now or later.
    :param stopped: why the run ended early; empty if it did not.
    """

    endpoint: str
    project: str
    prefix: str
    settings: dict[str, object] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    unsettled: dict[str, str] = field(default_factory=dict)
    observed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    stopped: str = ""
    requests: int = 0

    def complete(self) -> None:
        """Return a reason for each setting that the run did not settle."""
        for name in EmulatorSettings.model_fields:
            if name not in self.settings and name not in self.unsettled:
                self.unsettled[name] = _NEVER_ASKED.get(name, "it was not asked")

    @property
    def exit_code(self) -> int:
        """0 if every question was asked and everything cleaned up, otherwise 1."""
        return 1 if self.stopped or self.left else 0

    def arguments(self) -> list[str]:
        """Return the settled settings as arguments of the emulator's command line."""
        return [part for name, value in self.settings.items() for part in ("--set", f"{name}={_plain(value)}")]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "endpoint": self.endpoint,
            "project": self.project,
            "settings": {
                name: list(value) if isinstance(value, tuple) else value for name, value in self.settings.items()
            },
            "evidence": self.evidence,
            "not_settled": self.unsettled,
            "observed": self.observed,
            "requests": self.requests,
            "left_behind": self.left,
            "unsure": self.unsure,
            "stopped": self.stopped or None,
        }

    def render(self) -> str:
        """Write it for a person."""
        default = EmulatorSettings()
        lines = [f"What {self.endpoint} does, as settings of the emulator:"]
        for name, value in self.settings.items():
            same = value == getattr(default, name)
            note = "" if same else f" (the emulator's default: {_plain(getattr(default, name))})"
            lines += [f"  {name} = {_plain(value)}{note}", f"      {self.evidence.get(name, '')}"]
        lines += ["not settled:", *(f"  {name}: {why}" for name, why in self.unsettled.items())]
        if self.observed:
            lines += ["also seen:", *(f"  {name}: {text}" for name, text in self.observed.items())]
        if self.settings:
            lines += ["an emulator that does the same:", "  " + shlex.join(_COMMAND + self.arguments())]
        lines += [f"{self.requests} requests were sent."]
        if self.stopped:
            lines.append(f"It ended early: {self.stopped}")
        if self.unsure:
            lines += ["Not to be known:", *(f"  {each}" for each in self.unsure)]
        if self.left:
            lines += ["LEFT BEHIND, to be deleted by hand:", *(f"  {each}" for each in self.left)]
        elif not self.unsure:
            lines.append("Everything that was created is deleted again.")
        return "\n".join(lines) + "\n"


_COMMAND = ["python", "-m", "airflow_provider_cm.emulator"]


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
