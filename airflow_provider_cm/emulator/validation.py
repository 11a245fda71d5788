"""
The API's rules for names and bodies.

Each body has one JSON Schema, built from the settings. It judges requests here and is what the OpenAPI document
shows, so that the two can't differ. The messages are worded as Python's jsonschema words them, which is what the
vendor's client met.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cm.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from airflow_provider_cm.emulator.records import SourceFields, TextFields
    from airflow_provider_cm.emulator.settings import Settings

Schema = dict[str, Any]

PROJECT_PATTERN = r"^[A-Za-z0-9_.-]{1,1024}$"
SOURCE_PATTERN = r"^[A-Za-z0-9_-]{1,256}$"
BUCKET_PATTERN = SOURCE_PATTERN
ID_PATTERN = r"^[0-9a-f]{16}$"
# Of 2021's schema, without its names for the groups, which only Python knows. In its classes, "+-=" is a range.
_PROPERTY_CHARACTER = r"[\w~!@#$€£¥%^&*()_+-=\[\]{};\'\\:\"|,./<? ]"
PROPERTY_PATTERN = rf"^(number|string):\w({_PROPERTY_CHARACTER}{{0,62}}{_PROPERTY_CHARACTER.replace(' ]', ']')})?$"
# The one valid tag seen in public is generic.0.CONVKER5; a guess at the family it belongs to.
TRANSFORM_TAG = re.compile(r"[a-z0-9_-]+\.[0-9]+\.[A-Z0-9]{8}")

_NEVER: Schema = {"not": {}}

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def source_schema(settings: Settings, *, update: bool) -> Schema:
    """Describe the body of a create or, with ``update``, of an update."""
    text: Schema = {"type": "string"}
    fields: Schema = {
        "title": {"type": "string", "maxLength": settings.max_title},
        "description": {"type": "string", "maxLength": settings.max_description},
        "should_translate": {"type": "boolean"},
        "sensitive_properties": {
            "type": "array",
            "items": {"type": "string", "pattern": PROPERTY_PATTERN},
            "maxItems": settings.max_sensitive_properties,
        },
        "bucket_id": {"type": ["string", "null"]} if update else text,
        "email_transform_tag": text,
    }
    if not update:
        fields["_kind"] = text
    if not update or settings.language_on_update != "refuse":
        fields["language"] = {"type": "string", "enum": list(settings.languages)}
    elif settings.unknown_field == "ignore":
        # Left out, it would be one of the unknown keys, and pass.
        fields["language"] = _NEVER
    return _wrapped("source", fields, settings)


def project_schema(settings: Settings, *, update: bool) -> Schema:
    """Describe the body that creates or, with ``update``, changes a project."""
    fields: Schema = {
        "title": {"type": "string", "maxLength": settings.max_title},
        "description": {"type": "string", "maxLength": settings.max_description},
    }
    schema = _wrapped("project", fields, settings)
    if not update:
        schema["properties"]["user_ids"] = {"type": "array", "items": {"type": "string"}}
    return schema


def bucket_schema(settings: Settings) -> Schema:
    """Describe the body that creates a bucket."""
    fields: Schema = {"bucket_type": {"type": "string", "enum": ["emails"]}, "title": {"type": "string"}}
    return _wrapped("bucket", fields, settings)


def statistics_schema(settings: Settings) -> Schema:
    """Describe the body of a statistics request; the filter is accepted whatever it holds, and not applied."""
    return {
        "type": "object",
        "properties": {"comment_filter": {"type": "object"}},
        "required": ["comment_filter"],
        "additionalProperties": settings.unknown_field == "ignore",
    }


def _wrapped(key: str, fields: Schema, settings: Settings) -> Schema:
    if settings.null_field == "ignore":
        fields = {name: rule if rule is _NEVER else _nullable(rule) for name, rule in fields.items()}
    more = settings.unknown_field == "ignore"
    inner = {"type": "object", "properties": fields, "additionalProperties": more}
    return {"type": "object", "properties": {key: inner}, "required": [key], "additionalProperties": more}


def _nullable(rule: Schema) -> Schema:
    nullable = {**rule, "type": [*_kinds(rule), *(["null"] if "null" not in rule["type"] else [])]}
    if "enum" in rule:
        nullable["enum"] = [*rule["enum"], None]
    return nullable


def _kinds(rule: Schema) -> list[str]:
    kinds = rule["type"]
    return kinds if isinstance(kinds, list) else [kinds]


def parse_json(body: bytes) -> object:
    """Read a body as strict JSON: 400 for anything else, NaN, invalid UTF-8 and lone surrogates included."""
    try:
        value: object = json.loads(body.decode(), parse_constant=_no_constant)
        if b"\\u" in body:
            # Half of a surrogate pair is no text, and could not be kept.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "The request body is not valid JSON") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def source_fields(body: object, settings: Settings, *, update: bool) -> SourceFields:
    """
    Judge the body of a create or an update and give its fields.

    :raises ApiError: 400 with the first rule broken, 422 for a transform tag that can't be one.
    """
    fields = _inner(body, "source", source_schema(settings, update=update), {"bucket_id"} if update else set())
    if update and settings.language_on_update == "ignore":
        fields.pop("language", None)
    tag = fields.get("email_transform_tag")
    if tag is not None and not TRANSFORM_TAG.fullmatch(tag):
        raise ApiError(422, f"The value '{tag}' is not a valid transform tag.")
    return cast("SourceFields", fields)


def project_fields(body: object, settings: Settings, *, update: bool) -> TextFields:
    """Judge the body that creates or changes a project and give its fields."""
    return cast("TextFields", _inner(body, "project", project_schema(settings, update=update)))


def bucket_title(body: object, settings: Settings) -> str | None:
    """Judge the body that creates a bucket and give its title, if it has one."""
    return cast("str | None", _inner(body, "bucket", bucket_schema(settings)).get("title"))


def check_statistics(body: object, settings: Settings) -> None:
    """Judge the body of a statistics request."""
    _check(body, statistics_schema(settings), "")


def check_name(value: str, pattern: str, what: str, settings: Settings) -> None:
    """Refuse a name or id in the path that breaks its pattern."""
    if not _fits(value, pattern):
        raise ApiError(settings.invalid_name, f"{_show(value)} does not match '{pattern}' (in {what})")


def _fits(value: str, pattern: str) -> bool:
    # fullmatch, since "$" would let a trailing line break through.
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value) is not None


def _inner(body: object, key: str, schema: Schema, nulls: Container[str] = ()) -> dict[str, Any]:
    _check(body, schema, "")
    known = schema["properties"][key]["properties"]
    inner = cast("dict[str, dict[str, Any]]", body)[key]
    # What passed the check although it is unknown or null is there to be ignored.
    return {name: value for name, value in inner.items() if name in known and (value is not None or name in nulls)}


def _check(value: object, schema: Schema, where: str) -> None:
    kinds = _kinds(schema)
    if not any(isinstance(value, _TYPES[kind]) for kind in kinds):
        _fail(f"{_show(value)} is not of type {', '.join(repr(kind) for kind in kinds)}", where)
    if "enum" in schema and value not in schema["enum"]:
        _fail(f"{_show(value)} is not one of {schema['enum']}", where)
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        _fail(f"{_show(value)} is too long", where)
    if isinstance(value, str) and "pattern" in schema and not _fits(value, schema["pattern"]):
        _fail(f"{_show(value)} does not match {schema['pattern']!r}", where)
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            _fail(f"{_show(value)} is too long", where)
        for number, item in enumerate(value):
            _check(item, schema["items"], f"{where}[{number}]")
    if isinstance(value, dict) and "properties" in schema:
        _check_object(value, schema, where)


def _check_object(value: dict[str, object], schema: Schema, where: str) -> None:
    known: Mapping[str, Schema] = schema["properties"]
    for name in schema.get("required", ()):
        if name not in value:
            _fail(f"'{name}' is a required property", where)
    more = schema["additionalProperties"]
    unknown = [_show(name) for name in value if (known[name] is _NEVER if name in known else not more)]
    if unknown:
        verb = "was" if len(unknown) == 1 else "were"
        _fail(f"Additional properties are not allowed ({', '.join(unknown)} {verb} unexpected)", where)
    for name, rule in known.items():
        if name in value:
            _check(value[name], rule, f"{where}.{name}" if where else name)


def _fail(message: str, where: str) -> None:
    raise ApiError(400, f"{message} (in {where})" if where else message)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
