"""The actions of a plan: what is done to one source, and which of its fields change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Value = str | bool | tuple[str, ...] | None
"""The value of a source's field; ``None`` where there is none, such as no bucket."""

Kind = Literal["create", "update", "delete", "blocked", "unverified"]
CARRIED_OUT: tuple[Kind, ...] = ("create", "update", "delete")
"""The kinds of actions that write, in the order in which they are applied."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one field of one source.

    :param field: name of the field, as in a manifest.
    :param before: the value on the server; ``None`` for no value, and always in a create.
    :param after: the new value; ``None`` for no value, and always in a delete.
    :param risk: why a person should review the change; empty if it is not risky.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    field: str
    before: Value
    after: Value
    risk: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What a plan does to one source.

    :param kind: ``create``, ``update`` or ``delete``; ``blocked`` for an action that must not be carried out;
        ``unverified`` for a source that seems to match, but some of whose managed fields the server does not show.
    :param project: the project.
    :param name: the source's name.
    :param changes: the fields that change; for a delete, the values on the server now.
    :param reason: why the action is needed, or why it is blocked.
    :param remedy: how to unblock a blocked action.
    :param blocks: the kind of the action that is blocked.
    :param source_id: the source's id, if it exists.
    :param unchanged: the other managed fields with their values on the server. If one of them has changed by the time
        the plan is applied, the action is stale.
    :param unverified: managed fields that the server does not show; they are never written.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    kind: Kind
    project: str
    name: str
    changes: tuple[Change, ...] = ()
    reason: str = ""
    remedy: str = ""
    blocks: Literal["create", "update", "delete"] | None = None
    source_id: str | None = None
    unchanged: dict[str, Value] = field(default_factory=dict, hash=False)
    unverified: tuple[str, ...] = ()

    @property
    def risky(self) -> bool:
        """Whether a person should review one of the changes."""
        return any(change.risk for change in self.changes)

    @property
    def before(self) -> dict[str, Value]:
        """The managed fields as the plan read them; for a delete, all fields that the server showed."""
        return {**self.unchanged, **{change.field: change.before for change in self.changes}}

    @property
    def after(self) -> dict[str, Value]:
        """The managed fields after the action."""
        return {**self.unchanged, **{change.field: change.after for change in self.changes}}
