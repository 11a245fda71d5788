"""A plan: the actions on the sources of one project, as plain values that survive a round trip through JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_project, check_source_id, check_source_name
from airflow_provider_cm.api.source_fields import CREATE_ONLY, SETTABLE
from airflow_provider_cm.rollout import rendering
from airflow_provider_cm.rollout.actions import CARRIED_OUT, Action, Change, Kind, Value
from airflow_provider_cm.rollout.markdown import code_span

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1


class PlanError(ConfigurationError):
    """A plan cannot be made, read or applied; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions that make a project match its manifest.

    :param target: endpoint of the tenant that the plan is for.
    :param project: the project.
    :param actions: sorted by the name of the source.
    :param no_ops: how many of the manifest's sources match already.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    target: str
    project: str
    actions: tuple[Action, ...] = ()
    no_ops: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The number of actions by kind, and of sources that match as ``no-op``; without zeros."""
        by_kind = Counter(action.kind for action in self.actions)
        kinds: tuple[Kind, ...] = (*CARRIED_OUT, "blocked", "unverified")
        counts = {kind: by_kind[kind] for kind in kinds} | {"no-op": self.no_ops}
        return {kind: count for kind, count in counts.items() if count}

    @property
    def pending(self) -> bool:
        """Whether applying the plan writes anything."""
        return any(action.kind in CARRIED_OUT for action in self.actions)

    @property
    def drifted(self) -> bool:
        """Whether the project differs from the manifest, blocked actions included."""
        return any(action.kind != "unverified" for action in self.actions)

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 digits over the whole plan: whoever approves a digest approves this plan and no other."""
        text = self._json(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def summary(self) -> str:
        """Return the plan in one line: how many sources it creates, updates and deletes."""
        words = {"create": "to create", "update": "to update", "delete": "to delete", "no-op": "unchanged"}
        parts = [f"{count} {words.get(kind, kind)}" for kind, count in self.counts.items()]
        return ", ".join(parts) or "the manifest names no source, and there is nothing to do"

    def render(self) -> str:
        """Return the plan as text, for a log. Texts of sources are quoted and hold no control characters."""
        head = f"Plan for project {printable(self.project)} on {printable(self.target)}"
        return "\n".join([head, *rendering.text_lines(self.actions), self.summary(), f"Digest: {self.digest}"])

    def render_markdown(self) -> str:
        """Return the plan as Markdown, for its approval. No text of a source can become markup."""
        lines = [f"**Plan** for project {code_span(self.project)} on {code_span(self.target)}", ""]
        lines += [*rendering.markdown_lines(self.actions), *([""] if self.actions else [])]
        return "\n".join([*lines, f"{self.summary()}.", "", f"Digest: {code_span(self.digest)}"])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, with its format version and digest."""
        return {**json.loads(self._json()), "digest": self.digest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the result of :meth:`to_dict`.

        :param data: the JSON values.
        :raises PlanError: when they are no plan, have another format version, or were altered.
        """
        from pydantic import TypeAdapter, ValidationError

        if not hasattr(data, "keys") or "format_version" not in data:
            raise PlanError("this is not a plan: it has no `format_version`; pass what Plan.to_dict() gave")
        if data["format_version"] != FORMAT_VERSION or isinstance(data["format_version"], bool):
            raise PlanError(
                f"this plan has format version {printable(repr(data['format_version']), 40)}, and this version of the "
                f"provider reads {FORMAT_VERSION}: plan again"
            )
        values = {key: value for key, value in data.items() if key not in {"format_version", "digest"}}
        try:
            # As JSON, for which pydantic's strict mode takes a list for a tuple, and nothing else for anything.
            plan: Self = TypeAdapter(cls).validate_json(json.dumps(values))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "plan"
            raise PlanError(f"this is not a plan: {printable(place)}: {first['msg']}; plan again") from None
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
        values = {
            "format_version": FORMAT_VERSION,
            "target": self.target,
            "project": self.project,
            "no_ops": self.no_ops,
            "actions": self.actions,
        }
        return json.dumps(values, default=_values, **options)


def _values(item: Action | Change) -> dict[str, Any]:
    return {each.name: getattr(item, each.name) for each in fields(item)}


def _check(plan: Plan) -> None:
    """Refuse a plan that :func:`plan` cannot have made, whatever its digest."""
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
    if action.kind == "update" and (not action.changes or CREATE_ONLY & {change.field for change in action.changes}):
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
