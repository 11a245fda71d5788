"""A plan: what would be done to the sources of a project, as plain values that survive a round trip through JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.models import SETTABLE
from airflow_provider_cm.api.names import check_project, check_source_id, check_source_name

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1
FIXED = frozenset({"language", "kind"})
"""Fields that an update cannot change."""

Value = str | bool | tuple[str, ...] | None
Kind = Literal["create", "update", "delete", "blocked", "unverified"]
CARRIED_OUT: tuple[Kind, ...] = ("create", "update", "delete")
"""The kinds of actions that write, in the order in which they are applied."""


class PlanError(ConfigurationError):
    """A plan that cannot be made, read or applied; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one source.

    :param field: name of the field, as in a manifest.
    :param before: what the server has; ``None`` for nothing, in a create always.
    :param after: what it will have; ``None`` for nothing, in a delete always.
    :param risk: why this deserves a second look; empty if it doesn't.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    field: str
    before: Value
    after: Value
    risk: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What is to become of one source.

    :param kind: ``create``, ``update``, ``delete``; ``blocked`` for what will not be done, and why; ``unverified``
        for a source that seems as wanted, but some of whose managed fields the server does not show.
    :param project: the project.
    :param name: the source's name.
    :param changes: the fields that change; for a delete, what the server has now.
    :param reason: why it is done, or why not.
    :param remedy: what to do about a blocked action.
    :param blocks: what a blocked action would have been.
    :param source_id: the source's id, if it exists.
    :param unchanged: the other managed fields as the server has them; a source where they have moved is stale.
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
        """Whether a change deserves a second look."""
        return any(change.risk for change in self.changes)

    @property
    def before(self) -> dict[str, Value]:
        """What the managed fields hold if nobody changed them since; for a delete, all that was shown."""
        return {**self.unchanged, **{change.field: change.before for change in self.changes}}

    @property
    def after(self) -> dict[str, Value]:
        """What the managed fields hold when it is done."""
        return {**self.unchanged, **{change.field: change.after for change in self.changes}}


@dataclass(frozen=True, slots=True)
class Plan:
    """What would make a project match its manifest, and nothing more.

    :param target: endpoint of the tenant it was made for.
    :param project: the project.
    :param actions: by name of the source.
    :param no_ops: how many of the manifest's sources are as wanted.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    target: str
    project: str
    actions: tuple[Action, ...] = ()
    no_ops: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many actions there are of each kind, and of ``no-op``; kinds without any are left out."""
        found = Counter(action.kind for action in self.actions)
        kinds: tuple[Kind, ...] = (*CARRIED_OUT, "blocked", "unverified")
        return {kind: found[kind] for kind in kinds if found[kind]} | ({"no-op": self.no_ops} if self.no_ops else {})

    @property
    def pending(self) -> bool:
        """Whether applying it would write anything."""
        return any(action.kind in CARRIED_OUT for action in self.actions)

    @property
    def drifted(self) -> bool:
        """Whether the project differs from the manifest, be it blocked or not."""
        return any(action.kind != "unverified" for action in self.actions)

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 digits over all that it says: who approves a digest approves this plan and no other."""
        said = self._json(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return f"sha256:{hashlib.sha256(said.encode()).hexdigest()}"

    def summary(self) -> str:
        """Say in one line what it would do."""
        words = {"create": "to create", "update": "to update", "delete": "to delete", "no-op": "unchanged"}
        parts = [f"{count} {words.get(kind, kind)}" for kind, count in self.counts.items()]
        return ", ".join(parts) or "the manifest names no source, and there is nothing to do"

    def render(self) -> str:
        """Write it for people, as text for a log."""
        from airflow_provider_cm.rollout.rendering import render_text

        return render_text(self)

    def render_markdown(self) -> str:
        """Write it for people who approve it, as Markdown in which no text of a source can become markup."""
        from airflow_provider_cm.rollout.rendering import render_markdown

        return render_markdown(self)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values, with its format version and digest."""
        return {**json.loads(self._json()), "digest": self.digest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave.

        :param data: the JSON values.
        :raises PlanError: when they are of another format version, no plan, or were altered.
        """
        from pydantic import TypeAdapter, ValidationError

        if not hasattr(data, "keys") or "format_version" not in data:
            raise PlanError("this is not a plan: it has no `format_version`; pass what Plan.to_dict() gave")
        if data["format_version"] != FORMAT_VERSION or isinstance(data["format_version"], bool):
            raise PlanError(
                f"this plan has format version {printable(repr(data['format_version']), 40)}, and this version of the "
                f"provider reads {FORMAT_VERSION}: plan again"
            )
        said = {key: value for key, value in data.items() if key not in {"format_version", "digest"}}
        try:
            # As JSON, for which pydantic's strict mode takes a list for a tuple, and nothing else for anything.
            plan: Self = TypeAdapter(cls).validate_json(json.dumps(said))
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)
            first = ".".join(str(part) for part in wrong[0]["loc"]) or "plan"
            raise PlanError(f"this is not a plan: {printable(first)}: {wrong[0]['msg']}; plan again") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise PlanError(f"this is not a plan: it is not made of JSON values ({printable(str(error))})") from None
        try:
            _check(plan)
        except PlanError:
            raise
        except ConfigurationError as error:
            raise PlanError(f"this is not a plan: {error}") from None
        if data.get("digest") != plan.digest:
            raise PlanError(
                f"the plan's digest does not fit what it says (it has {printable(repr(data.get('digest')), 80)}, "
                f"{plan.digest} would be right): it was altered after it was made, plan again"
            )
        return plan

    def _json(self, **options: Any) -> str:
        said = {
            "format_version": FORMAT_VERSION,
            "target": self.target,
            "project": self.project,
            "no_ops": self.no_ops,
            "actions": self.actions,
        }
        return json.dumps(said, default=_values, **options)


def _values(item: Action | Change) -> dict[str, Any]:
    return {each.name: getattr(item, each.name) for each in fields(item)}


def _check(plan: Plan) -> None:
    """Refuse what no plan of ours says, whatever its digest."""
    check_project(plan.project)
    if plan.no_ops < 0 or [action.name for action in plan.actions] != sorted({action.name for action in plan.actions}):
        raise PlanError("this is not a plan: its actions should be sorted, one for each source")
    for action in plan.actions:
        check_source_name(action.name)
        if action.source_id is not None:
            check_source_id(action.source_id)
        if problem := _problem(action, plan):
            raise PlanError(f"this is not a plan: source '{action.name}': {problem}")


def _problem(action: Action, plan: Plan) -> str | None:
    fields = [*(change.field for change in action.changes), *action.unchanged, *action.unverified]
    if not set(fields) <= SETTABLE.keys() or len(fields) != len(set(fields)):
        return "it has a field that is not a source's, or one twice"
    if action.project != plan.project:
        return "it is in another project"
    if action.kind in {"update", "delete"} and action.source_id is None:
        return f"a source to {action.kind} needs an id"
    if action.kind == "create" and action.source_id is not None:
        return "a source to create has no id yet"
    if action.kind == "update" and (not action.changes or FIXED & {change.field for change in action.changes}):
        return "an update changes something, but neither language nor kind"
    if (action.kind == "blocked") != (action.blocks is not None):
        return "what is blocked says what it blocks"
    if any(not _fits(change.field, value) for change in action.changes for value in (change.before, change.after)):
        return "a field has a value that it cannot have"
    return None


def _fits(name: str, value: Value) -> bool:
    if value is None:
        return True
    if name == "sensitive_properties":
        return isinstance(value, tuple)
    return isinstance(value, bool) if name == "should_translate" else isinstance(value, str)
