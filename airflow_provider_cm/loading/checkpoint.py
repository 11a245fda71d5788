"""How far a load has got, in a form that proves it to the next attempt."""

from __future__ import annotations

from typing import Any, Protocol


class CheckpointStore(Protocol):
    """Where a checkpoint is kept between two attempts; a JSON object of at most 2 KiB."""

    def load(self) -> dict[str, Any] | None:
        """Give what was saved last, ``None`` if nothing was."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this in place of what was saved before; called in the thread of ``load()``, after each batch."""

    def clear(self) -> None:
        """Forget what was saved; called when the load has succeeded."""
