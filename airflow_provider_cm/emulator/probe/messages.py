"""The messages that the probe loads into the source that its questions share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.probe.unsettled import UnsettledError

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.probe.client import ProbeReply
    from airflow_provider_cm.emulator.probe.scratch import ScratchProject

# How long a question waits for what was loaded, in seconds.
LONGEST_LAG = 60.0
EARLIER, TIME = "2025-03-01T00:00:00+00:00", "2026-01-05T09:12:00+00:00"


def message(message_id: str, text: str = "probe", *, timestamp: str = TIME, **more: Any) -> dict[str, Any]:
    """Make a message."""
    return {"id": message_id, "timestamp": timestamp, "messages": [{"body": {"text": text}}], **more}


def sync(scratch: ScratchProject, *comments: dict[str, Any]) -> ProbeReply:
    """Send messages, and give the answer."""
    return scratch.client.call("POST", *scratch.place(), "sync", body={"comments": comments})


def load(scratch: ScratchProject, *comments: dict[str, Any]) -> ProbeReply:
    """Send messages that must be taken."""
    reply = sync(scratch, *comments)
    if not reply.ok:
        raise UnsettledError(f"a message could not be loaded: {reply}")
    return reply
