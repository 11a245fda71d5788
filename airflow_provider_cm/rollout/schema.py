"""The JSON Schema of a manifest, for editors: ``python -m airflow_provider_cm.rollout.schema`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from airflow_provider_cm.rollout.manifest import Manifest

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

FILE = Path(__file__).with_name("manifest.schema.json")


class _Generator(GenerateJsonSchema):
    """pydantic's, but a field that may be left out may not be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def manifest_schema() -> dict[str, Any]:
    """Make the JSON Schema."""
    schema = Manifest.model_json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """Return the content of the committed file."""
    return json.dumps(manifest_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text())
