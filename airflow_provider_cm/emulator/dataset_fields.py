"""The rules for the fields of a dataset that no schema can state; how definitions of a request become a response's."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.records import new_id

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

DEFAULT_GROUP = "default"
_ID = re.compile(r"[0-9a-f]{16}")
_DEFAULTS: Json = {
    "description": "",
    "model_family": "english",
    "has_sentiment": False,
    "limited_access": False,
    "entity_defs": [],
    "general_fields": [],
    "label_groups": [],
    "label_defs": [],
    "_label_properties": [],
    "_timezone": "UTC",
    "_preferred_locales": {"default": "en-gb", "preferences": []},
    "_dataset_flags": [],
    "_model_config": {"kind": "cm"},
}
# Fields and the schemas of their items in responses, whose limits are narrower than those of requests.
_DEFINITIONS = (("label_groups", "LabelGroup"), ("entity_defs", "EntityDef"), ("general_fields", "GeneralFieldDef"))
# What a response shows as the request had it.
_COPIED = (
    "title",
    "description",
    "model_family",
    "has_sentiment",
    "_label_properties",
    "_timezone",
    "_preferred_locales",
    "_dataset_flags",
    "_model_config",
    "debug_config_json",
)


def dataset_fields(body: Json, before: Json | None, title: str, settings: EmulatorSettings) -> Json:
    """
    Return the fields of a dataset as responses show them.

    :param body: a valid request.
    :param before: the fields that it changes; ``None`` for a new dataset.
    :param title: the title of a new dataset that is given none.
    :raises RefusedRequestError: 422 for what a request may hold but no response could show.
    """
    fields: Json = {**_DEFAULTS, "title": title} if before is None else dict(before)
    fields |= {name: body[name] for name in _COPIED if name in body}
    if fields.get("debug_config_json", "") is None:
        del fields["debug_config_json"]
    if "entity_defs" in body:
        fields["entity_defs"] = [_entity_def(each) for each in body["entity_defs"]]
    if "general_fields" in body:
        fields["general_fields"] = [_general_field(each) for each in body["general_fields"]]
    if before is None:
        fields["label_groups"] = _label_groups(body)
    if "_default_label_group_instructions" in body:
        instructions = body["_default_label_group_instructions"]
        fields["label_groups"] = [
            {**each, "instructions": instructions} if each["name"] == DEFAULT_GROUP else each
            for each in fields["label_groups"]
        ]
    fields["label_defs"] = [each for group in fields["label_groups"] for each in group["label_defs"]]
    return _shown(fields, settings)


def with_labels(fields: Json, names: list[str]) -> Json:
    """Return the fields with labels added that the dataset did not have, as annotating with one adds it."""
    known = {each["name"] for each in fields["label_defs"]}
    added = [{"name": name} for name in dict.fromkeys(names) if name not in known]
    groups = [
        {**group, "label_defs": [*group["label_defs"], *added]} if group["name"] == DEFAULT_GROUP else group
        for group in fields["label_groups"]
    ]
    return {**fields, "label_groups": groups, "label_defs": [*fields["label_defs"], *added]}


def _shown(fields: Json, settings: EmulatorSettings) -> Json:
    parts = contract_for(settings).components["schemas"]["Dataset"]["properties"]
    for name, kind in _DEFINITIONS:
        for index, each in enumerate(fields[name]):
            mistake = contract_for(settings).component(kind).error(each, f"{name}[{index}]")
            if mistake is not None:
                raise RefusedRequestError(422, mistake)
    return {name: value for name, value in fields.items() if name in parts}


def _label_groups(body: Json) -> list[Json]:
    groups = [
        {
            "name": group["name"],
            "label_defs": [_label_def(each) for each in group.get("label_defs", ())],
            "label_collection_name": group.get("label_collection_name"),
            "trainable": group.get("trainable", True),
            "hidden": group.get("hidden", False),
            "instructions": group.get("instructions", ""),
        }
        for group in body.get("label_groups", ())
    ]
    if all(group["name"] != DEFAULT_GROUP for group in groups):
        more = {"label_collection_name": None, "trainable": True, "hidden": False, "instructions": ""}
        groups.insert(0, {"name": DEFAULT_GROUP, "label_defs": [], **more})
    default = next(group for group in groups if group["name"] == DEFAULT_GROUP)
    default["label_defs"] = [*default["label_defs"], *(_label_def(each) for each in body.get("label_defs", ()))]
    names = [each["name"] for group in groups for each in group["label_defs"]]
    for kind, values in (("label", names), ("label group", [group["name"] for group in groups])):
        if repeated := next((name for name in values if values.count(name) > 1), None):
            raise RefusedRequestError(422, f"The {kind} '{repeated}' appears more than once")
    return groups


def _label_def(new: Json) -> Json:
    output: Json = {name: new[name] for name in ("name", "title", "instructions", "external_id") if name in new}
    if "pretrained" in new:
        known = new["pretrained"]
        # Only its id is required. Which name belongs to which id is not known.
        output["pretrained"] = {"id": known["id"], "name": known.get("name", "Autogenerated")}
    if "moon_form" in new:
        output["moon_form"] = [_moon_form_field(each) for each in new["moon_form"]]
    trainable = new.get("trainable")
    if trainable is None and "moon_form" in new:
        # So the vendor's client's tests expect it.
        trainable = True
    return output if trainable is None else {**output, "trainable": trainable}


def _moon_form_field(new: Json) -> Json:
    field_id = new_id()
    kind = {"kind": new["kind"]} if "kind" in new else {}
    return {
        "field_id": field_id,
        "id": new.get("id") or field_id,
        "field_type_id": new.get("field_type_id") or new_id(),
        "name": new["name"],
        "instructions": new.get("instructions", ""),
        **kind,
    }


def _entity_def(new: Json) -> Json:
    known = new.get("id", "")
    output = {
        **new,
        "id": known if _ID.fullmatch(known) else new_id(),
        "color": new.get("color", 0),
        "inherits_from": [_entity_id(each) for each in new["inherits_from"]],
        "_entity_def_flags": new.get("_entity_def_flags", []),
    }
    if "choices" in new.get("rules", {}):
        choices = [{"values": [], **each, "id": _uuid(each.get("id"))} for each in new["rules"]["choices"]]
        output["rules"] = {**new["rules"], "choices": choices}
    return output


def _entity_id(kind: str) -> str:
    """Return the id of a kind of entity: itself, or one that is always the same for its name."""
    return kind if _ID.fullmatch(kind) else hashlib.sha256(kind.encode()).hexdigest()[:16]


def _uuid(known: str | None) -> str:
    try:
        return str(uuid.UUID(known))
    except (ValueError, TypeError):
        return str(uuid.uuid4())


def _general_field(new: Json) -> Json:
    return {
        **new,
        "field_id": new.get("field_id", new_id()),
        "field_type_id": new.get("field_type_id", new_id()),
        "title": new.get("title") or new["api_name"],
    }
