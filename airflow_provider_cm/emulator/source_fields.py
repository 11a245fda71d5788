"""The rules for the fields of a source that no schema can state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cm.emulator.errors import RefusedRequestError

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import SourceFields
    from airflow_provider_cm.emulator.settings import EmulatorSettings

# Of the vendor's schema for responses; requests have no limit there, and a greater one is refused.
_GREATEST_VERSION = 1024


def source_fields(fields: dict[str, Any], settings: EmulatorSettings, *, update: bool) -> SourceFields:
    """
    Return the fields of a valid body that count.

    :raises RefusedRequestError: 422 for a transform tag that the server does not know, or a version that is too great.
    """
    remaining = dict(fields)
    if update:
        for name, choice in (("language", settings.language_on_update), ("_kind", settings.kind_on_update)):
            if choice == "ignore":
                remaining.pop(name, None)
    tag = remaining.get("email_transform_tag")
    if tag is not None and tag not in settings.transform_tags:
        raise RefusedRequestError(422, f"The value '{tag}' is not a valid transform tag.")
    version = remaining.get("email_transform_version")
    if version is not None:
        if version > _GREATEST_VERSION:
            raise RefusedRequestError(422, f"email_transform_version should be at most {_GREATEST_VERSION}")
        remaining["email_transform_version"] = int(version)
    return cast("SourceFields", remaining)
