"""Compares a manifest with what is there; it asks nobody and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from airflow_provider_cm.api.arguments import excerpt
from airflow_provider_cm.api.endpoint import normalise_endpoint
from airflow_provider_cm.api.errors import ProtocolError
from airflow_provider_cm.api.models import Source, same_value
from airflow_provider_cm.api.source_fields import CREATE_ONLY, SETTABLE
from airflow_provider_cm.rollout.actions import Action, Change, Value
from airflow_provider_cm.rollout.patterns import is_name, matcher, matcher_of_any_case, matches_anything
from airflow_provider_cm.rollout.plan_model import Plan, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_cm.rollout.manifest import Manifest, Wanted

_ALLOW_RISKY = "look at the change, and plan again with allow_risky if it is meant"


def plan(
    manifest: Manifest,
    actual: Iterable[Source],
    *,
    target: str,
    prune: bool = False,
    max_deletes: int | None = None,
    allow_risky: bool = False,
) -> Plan:
    """Say what would make the sources match the manifest.

    A source with a change that is blocked is left alone as a whole. Risky are: dropping a sensitive property, which
    shows data; attaching or changing a bucket (also of a new source), which starts loading, and that costs.

    :param manifest: what should be.
    :param actual: what is, from :func:`airflow_provider_cm.rollout.observe`.
    :param target: the tenant's endpoint, ``sources.session.endpoint``.
    :param prune: delete what the manifest ``owns`` and does not name. It needs ``max_deletes``, a manifest that names
        at least one source, and patterns in ``owns`` that do not match every name.
    :param max_deletes: how many deletes are let through; with one more, all of them are blocked.
    :param allow_risky: let risky changes through; they are marked in any case.
    :return: sorted by name; the same for the same input.
    :raises PlanError: when ``prune`` is not allowed as it was asked for.
    """
    if prune:
        check_prune(manifest, max_deletes)
    known = _index(manifest, actual)
    capitals = {folded: name for name in known if (folded := name.lower()) != name}
    planner = _Planner(manifest.project, allow_risky)
    for each in manifest.wanted():
        source = known.get(each.name)
        if source is not None:
            planner.compare(each, source)
        else:
            folded = each.name.lower()
            planner.create(each, folded if folded in known else capitals.get(folded))
    if prune:
        named = {entry.name for entry in manifest.sources}
        planner.prune(manifest, (source for source in known.values() if source.name not in named), named, max_deletes)
    return Plan(
        normalise_endpoint(target, allow_http=True),
        manifest.project,
        tuple(sorted(planner.actions, key=lambda action: action.name)),
        planner.no_ops,
    )


def value_of(source: Source, name: str) -> Value:
    """Return a field in the one form that plans have; ``sensitive_properties`` are sorted.

    :param source: the source.
    :param name: one of its settable fields.
    """
    return settled(getattr(source, name))


def settled(value: object) -> Value:
    """Return a value in the one form that plans have.

    :param value: of a source's field.
    """
    if isinstance(value, tuple | list):
        return tuple(sorted(set(value)))
    return value if isinstance(value, str | bool) else None


def difference(source: Source, fields: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Compare a source with what a plan says of it.

    :param source: the source.
    :param fields: values by name.
    :return: what the source has where it differs, and the fields that are not known of it.
    """
    unknown = [name for name in fields if not source.knows(name)]
    differing = {
        name: value_of(source, name)
        for name, value in fields.items()
        if name not in unknown and not same_value(name, getattr(source, name), value)
    }
    return differing, unknown


@dataclass(slots=True)
class _Planner:
    project: str
    allow_risky: bool
    actions: list[Action] = field(default_factory=list)
    no_ops: int = 0

    def create(self, wanted: Wanted, other_case: str | None) -> None:
        # A bucket to be detached is none to a source that is not there yet.
        fields = {name: settled(value) for name, value in wanted.fields.items() if value is not None}
        changes = tuple(Change(name, None, value, _risk(name, None, value)) for name, value in fields.items())
        if wanted.must_exist:
            self._block(
                "create",
                wanted.name,
                changes,
                reason="it is missing, and the manifest says must_exist: an empty source would hide that",
                remedy="find out who deleted it; remove must_exist from the manifest if an empty one is wanted",
            )
        elif other_case is not None:
            self._block(
                "create",
                wanted.name,
                changes,
                reason=f"there is a source '{other_case}', which differs in upper and lower case only",
                remedy="write the name in the manifest as the source has it",
            )
        else:
            self._add(
                Action("create", self.project, wanted.name, changes, "the manifest names it, and it is not there")
            )

    def compare(self, wanted: Wanted, source: Source) -> None:
        fields = {name: settled(value) for name, value in wanted.fields.items()}
        differing, unknown = difference(source, fields)
        if not differing and not unknown:
            self.no_ops += 1
            return
        changes = tuple(
            Change(name, before, fields[name], _risk(name, before, fields[name])) for name, before in differing.items()
        )
        unchanged = {name: value for name, value in fields.items() if name not in differing and name not in unknown}
        action = Action(
            "update",
            self.project,
            wanted.name,
            changes,
            "it differs from the manifest",
            source_id=source.id,
            unchanged=unchanged,
            unverified=tuple(unknown),
        )
        fixed = [name for name in differing if name in CREATE_ONLY]
        if fixed:
            self._add(
                replace(
                    action,
                    kind="blocked",
                    blocks="update",
                    reason=f"the effect of an update to {' and '.join(fixed)} is unknown, so this client does not "
                    "send it",
                    remedy=f"put the {' and the '.join(fixed)} that it has into the manifest; or, if its messages may "
                    "be lost, delete the source and let it be created anew",
                )
            )
        elif changes:
            self._add(action)
        else:
            reason = f"the server does not show {', '.join(unknown)}; all other managed fields are as wanted"
            self._add(replace(action, kind="unverified", reason=reason))

    def prune(self, manifest: Manifest, unnamed: Iterable[Source], named: set[str], max_deletes: int | None) -> None:
        owned, is_protected = matcher(manifest.owns), matcher_of_any_case(manifest.protect)
        folded = {name.lower(): name for name in named}
        deletes: list[Action] = []
        for source in unnamed:
            if not owned.match(source.name) or is_protected(source.name) or not is_name(source.name):
                continue
            values = {name: value_of(source, name) for name in SETTABLE if source.knows(name)}
            changes = tuple(Change(name, value, None) for name, value in values.items() if value is not None)
            action = Action(
                "delete",
                self.project,
                source.name,
                changes,
                "the manifest owns it, and does not name it",
                source_id=source.id,
                unchanged={name: None for name, value in values.items() if value is None},
            )
            other_case = folded.get(source.name.lower())
            if other_case is not None:
                action = _blocked(
                    action,
                    f"the manifest names '{other_case}', which differs in upper and lower case only",
                    "write the name in the manifest as the source has it",
                )
                self.actions.append(action)
            else:
                deletes.append(action)
        if max_deletes is not None and len(deletes) > max_deletes:
            reason = f"{len(deletes)} deletes would be too many: max_deletes is {max_deletes}, so none is done"
            remedy = "look whether the manifest lost sources that it should have; if not, raise max_deletes"
            deletes = [_blocked(action, reason, remedy) for action in deletes]
        self.actions += deletes

    def _add(self, action: Action) -> None:
        if action.risky and not self.allow_risky and action.kind in {"create", "update"}:
            risks = dict.fromkeys(change.risk for change in action.changes if change.risk)
            action = _blocked(action, f"risky: {'; '.join(risks)}", _ALLOW_RISKY)
        self.actions.append(action)

    def _block(
        self, blocks: Literal["create"], name: str, changes: tuple[Change, ...], *, reason: str, remedy: str
    ) -> None:
        self.actions.append(Action("blocked", self.project, name, changes, reason, remedy, blocks))


def _blocked(action: Action, reason: str, remedy: str) -> Action:
    blocks = action.kind if action.kind in {"create", "update", "delete"} else None
    return replace(action, kind="blocked", blocks=blocks, reason=reason, remedy=remedy)


def _risk(name: str, before: Value, after: Value) -> str:
    if name == "sensitive_properties" and isinstance(before, tuple) and isinstance(after, tuple):
        return "dropping a sensitive property shows its data" if set(before) - set(after) else ""
    if name == "bucket_id" and after is not None:
        return f"{'attaching' if before is None else 'changing'} a bucket starts loading, which costs"
    return ""


def check_max_deletes(max_deletes: int | None) -> None:
    """Refuse to prune without a number.

    :param max_deletes: how many deletes are let through.
    :raises PlanError: for anything but a whole number of 0 or more.
    """
    if max_deletes is None:
        raise PlanError("max_deletes: prune needs it; say how many sources may be deleted at most")
    if type(max_deletes) is not int or max_deletes < 0:  # True is an int, too
        raise PlanError(f"max_deletes: {excerpt(max_deletes)} is not a whole number of 0 or more")


def check_prune(manifest: Manifest, max_deletes: int | None) -> None:
    """Refuse to prune what might be everybody's.

    :param manifest: what should be.
    :param max_deletes: how many deletes are let through.
    :raises PlanError: saying what is missing.
    """
    check_max_deletes(max_deletes)
    if not manifest.sources:
        raise PlanError(
            "prune: the manifest names no source, so all that it owns would go; this is more likely an empty query "
            "than a wish. Name one source at least"
        )
    for pattern in manifest.owns:
        if matches_anything(pattern):
            raise PlanError(
                f"prune: '{pattern}' in `owns` has no fixed letter or digit, so everybody's sources would count as "
                "this manifest's; begin it with a name, as in 'support-*'"
            )


def _index(manifest: Manifest, actual: Iterable[Source]) -> dict[str, Source]:
    known: dict[str, Source] = {}
    for source in actual:
        if source.owner != manifest.project:
            if source.owner.lower() == manifest.project.lower():
                raise PlanError(f"project: write it as the server does, '{source.owner}', not '{manifest.project}'")
            continue
        if source.name in known:
            raise ProtocolError(f"the server lists two sources '{source.name}' in project '{manifest.project}'")
        known[source.name] = source
    return known
