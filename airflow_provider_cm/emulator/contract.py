"""
The contract: ``contract.json``, the one description of what requests must be and what responses are.

It is condensed from the vendor's own OpenAPI document of 2025. :func:`contract_for` returns it as the settings have it.
The server validates requests by it, the tests every response, and a tenant shows it at ``/openapi.json``.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.schema_validation import FORBIDDEN, Schema, SchemaValidator, portable
from airflow_provider_cm.emulator.settings import EmulatorSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_JSON = "application/json"
_METHODS = ("get", "put", "post", "delete")
# The settings that change what a request or a response may be.
_RELEVANT = (
    "shapes",
    "null_field",
    "unknown_field",
    "languages",
    "language_on_update",
    "kind_on_update",
    "max_title",
    "max_description",
    "max_sensitive_properties",
)
# What the vendor's page leaves out of some or all of its examples.
_ABSENT_IN_DOCS = ("language", "_kind")


@dataclass(frozen=True)
class Parameter:
    """One parameter in the path or the query."""

    name: str
    description: str
    schema: Schema
    validator: SchemaValidator


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    permissions: tuple[str, ...]
    path_parameters: tuple[Parameter, ...]
    query_parameters: tuple[Parameter, ...]
    request: SchemaValidator | None
    request_required: bool
    response: SchemaValidator | None


class Contract:
    """
    The contract under certain settings.

    :param settings: what relaxes it, or changes its limits.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        self._settings = settings
        self._document = _with_limits(deepcopy(_vendor_document()), settings)
        # What its schemas refer to.
        self.components: Schema = self._document["components"]
        self._operations: dict[str, Operation] = {}
        self._components: dict[str, SchemaValidator] = {}

    @cached_property
    def error_response(self) -> SchemaValidator:
        """What every error looks like."""
        return self._validator({"$ref": "#/components/schemas/ErrorResponse"})

    def operation(self, operation_id: str) -> Operation:
        """Return an operation by its ``operationId``; a ``KeyError`` if the contract has none."""
        if operation_id not in self._operations:
            path, method = _places()[operation_id]
            self._operations[operation_id] = self._read(operation_id, path, method)
        return self._operations[operation_id]

    def component(self, name: str) -> SchemaValidator:
        """Return the validator of a part of requests or responses, such as ``CommentNew``."""
        if name not in self._components:
            self._components[name] = self._validator({"$ref": f"#/components/schemas/{name}"})
        return self._components[name]

    def without_ignored(self, value: Any, schema: Schema) -> Any:
        """Leave out of a request what the settings say is ignored: unknown fields, and null where it is not allowed."""
        if self._settings.null_field != "ignore" and self._settings.unknown_field != "ignore":
            return value
        return self._prune(value, schema)

    def document(self, prefix: str, operation_ids: Collection[str]) -> dict[str, Any]:
        """
        Return the OpenAPI document of a tenant.

        :param prefix: what the tenant's URLs begin with.
        :param operation_ids: the operations to show.
        """
        document = deepcopy(self._document)
        paths = {}
        for path, item in document["paths"].items():
            output = {key: part for key, part in item.items() if part and _id_of(key, part) in operation_ids}
            if output:
                paths[path] = {**{key: item[key] for key in item if key == "parameters"}, **output}
        document["paths"] = paths
        self._relax(document)
        document["servers"] = [{"url": prefix or "/"}]
        shown_document: dict[str, Any] = portable(document)
        return shown_document

    def _read(self, operation_id: str, path: str, method: str) -> Operation:
        item = self._document["paths"][path]
        described = item[method]
        parameters = [self._resolve(each) for each in (*item.get("parameters", ()), *described.get("parameters", ()))]
        body = described.get("requestBody", {})
        answer = described["responses"]["200"].get("content", {}).get(_JSON)
        return Operation(
            id=operation_id,
            method=method.upper(),
            path=path,
            permissions=tuple(described["x-permissions"]),
            path_parameters=tuple(self._parameter(each) for each in parameters if each["in"] == "path"),
            query_parameters=tuple(self._parameter(each) for each in parameters if each["in"] == "query"),
            request=self._validator(body["content"][_JSON]["schema"]) if _JSON in body.get("content", {}) else None,
            request_required=body.get("required", False),
            response=self._validator(answer["schema"]) if answer else None,
        )

    def _parameter(self, described: Schema) -> Parameter:
        schema = self._resolve(described["schema"])
        description = str(described.get("description", described["name"])).rstrip(".").lower()
        return Parameter(described["name"], description, schema, self._validator(schema))

    def _validator(self, schema: Schema) -> SchemaValidator:
        return SchemaValidator(schema, self.components)

    def _resolve(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            kind, name = schema["$ref"].split("/")[-2:]
            schema = self.components[kind][name]
        return schema

    def _prune(self, value: Any, schema: Schema) -> Any:
        schema = self._resolve(schema)
        if isinstance(value, list) and "items" in schema:
            return [self._prune(item, schema["items"]) for item in value]
        if not isinstance(value, dict) or "properties" not in schema:
            return value
        known: Schema = schema["properties"]
        remaining = {}
        for name, item in value.items():
            if name not in known:
                if self._settings.unknown_field != "ignore":
                    remaining[name] = item
            elif item is not None or self._settings.null_field != "ignore" or not self._may_be_null(name, schema):
                remaining[name] = self._prune(item, known[name])
        return remaining

    def _may_be_null(self, name: str, schema: Schema) -> bool:
        """Return whether null stands for an optional field being absent, because it could mean nothing else."""
        rule = self._resolve(schema["properties"][name])
        return rule != FORBIDDEN and name not in schema.get("required", ()) and "null" not in rule.get("type", ())

    def _relax(self, document: Schema) -> None:
        """Show that what is ignored is allowed."""
        visited_ids: set[int] = set()
        for operation in _operations_of(document):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for each in _closed_objects(content["schema"], document["components"]["schemas"], visited_ids):
                    if self._settings.unknown_field == "ignore":
                        each["additionalProperties"] = True
                    if self._settings.null_field == "ignore":
                        rules = each["properties"]
                        each["properties"] = {
                            name: _or_null(rule) if self._may_be_null(name, each) else rule
                            for name, rule in rules.items()
                        }


def contract_for(settings: EmulatorSettings) -> Contract:
    """Return the contract as the settings have it."""
    return _contract(tuple(getattr(settings, name) for name in _RELEVANT))


@lru_cache(maxsize=64)
def _contract(values: tuple[object, ...]) -> Contract:
    return Contract(EmulatorSettings.model_validate(dict(zip(_RELEVANT, values, strict=True))))


@lru_cache(maxsize=1)
def _vendor_document() -> Schema:
    text = Path(__file__).with_name("contract.json").read_text(encoding="ascii")
    document: Schema = json.loads(text)
    return document


@lru_cache(maxsize=1)
def _places() -> dict[str, tuple[str, str]]:
    return {
        item[method]["operationId"]: (path, method)
        for path, item in _vendor_document()["paths"].items()
        for method in _METHODS
        if method in item
    }


def operation_ids() -> list[str]:
    """List the operations that the contract has."""
    return list(_places())


def _id_of(key: str, part: Any) -> str | None:
    return part["operationId"] if key in _METHODS else None


def _operations_of(document: Schema) -> Iterator[Schema]:
    for item in document["paths"].values():
        for method in _METHODS:
            if method in item:
                yield item[method]


def _with_limits(document: Schema, settings: EmulatorSettings) -> Schema:
    schemas = document["components"]["schemas"]
    request, response = schemas["SourceUpdate"]["properties"], schemas["Source"]["properties"]
    for field, keyword, limit in (
        ("title", "maxLength", settings.max_title),
        ("description", "maxLength", settings.max_description),
        ("sensitive_properties", "maxItems", settings.max_sensitive_properties),
    ):
        request[field][keyword] = limit
        # What was accepted is shown, and what was there before the limit changed, too.
        response[field][keyword] = max(limit, response[field][keyword])
    schemas["SourceUpdate"]["properties"]["language"] = {"type": "string", "enum": list(settings.languages)}
    if settings.shapes == "docs":
        schemas["Source"]["required"] = [each for each in schemas["Source"]["required"] if each not in _ABSENT_IN_DOCS]
    refused = {
        name: FORBIDDEN
        for name, choice in (("language", settings.language_on_update), ("_kind", settings.kind_on_update))
        if choice == "refuse"
    }
    if refused:
        update = deepcopy(schemas["SourceRequest"])
        fields = schemas["SourceUpdate"]["properties"]
        update["properties"]["source"] = {**schemas["SourceUpdate"], "properties": {**fields, **refused}}
        schemas["UpdateSourceRequest"] = update
        path, method = _places()["updateSource"]
        content = document["paths"][path][method]["requestBody"]["content"][_JSON]
        content["schema"] = {"$ref": "#/components/schemas/UpdateSourceRequest"}
    return document


def _closed_objects(schema: Schema, schemas: Schema, visited: set[int]) -> Iterator[Schema]:
    """Find the closed objects that a request is made of, apart from alternatives."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if id(schema) in visited:
        return
    visited.add(id(schema))
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    if "properties" in schema:
        yield schema
    for each in inner:
        yield from _closed_objects(each, schemas, visited)


def _or_null(rule: Schema) -> Schema:
    return {"anyOf": [rule, {"type": "null"}]}
