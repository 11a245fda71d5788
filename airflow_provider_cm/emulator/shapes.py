"""The JSON of the API: which keys each endpoint shows, and how times are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.emulator.records import Bucket, Grant, Project, Source
    from airflow_provider_cm.emulator.settings import Settings

Json = dict[str, Any]


def source_json(source: Source, settings: Settings, *, language: bool) -> Json:
    """
    Write a source as an endpoint shows it.

    :param language: whether the vendor's page shows ``language`` for this endpoint; it counts only with
        ``shapes="docs"``.
    """
    updated_at = timestamp(source.updated_at, settings)
    shown: Json = {
        "created_at": timestamp(source.created_at, settings),
        "description": source.description,
        "id": source.id,
        "last_modified": updated_at,
        "name": source.name,
        "owner": source.owner,
        "sensitive_properties": list(source.sensitive_properties),
        "should_translate": source.should_translate,
        "title": source.title,
        "updated_at": updated_at,
    }
    if language or settings.shapes == "full":
        shown["language"] = source.language
    if settings.shapes == "full":
        shown["_kind"] = source.kind
        shown["email_transform_tag"] = source.email_transform_tag
        if source.bucket_id is not None:
            shown["bucket_id"] = source.bucket_id
    return shown


def project_json(project: Project, settings: Settings) -> Json:
    """Write a project as the vendor's client reads it."""
    return {
        "id": project.id,
        "name": project.name,
        "title": project.title,
        "description": project.description,
        "created_at": timestamp(project.created_at, settings),
        "updated_at": timestamp(project.updated_at, settings),
    }


def bucket_json(bucket: Bucket, settings: Settings) -> Json:
    """Write a bucket as the vendor's client reads it."""
    return {
        "id": bucket.id,
        "name": bucket.name,
        "owner": bucket.owner,
        "title": bucket.title,
        "created_at": timestamp(bucket.created_at, settings),
        "updated_at": timestamp(bucket.updated_at, settings),
    }


def user_json(grant: Grant, projects: Mapping[str, Project], settings: Settings) -> Json:
    """Write the user behind a token as the vendor's client reads it: the same permissions in every project."""
    username = grant.name.partition("#")[0]
    return {
        "id": grant.user_id,
        "username": username,
        "email": f"{username}@example.com",
        "created": timestamp(datetime(2024, 1, 1, tzinfo=UTC), settings),
        "global_permissions": [],
        "organisation_permissions": {name: sorted(grant.permissions) for name in projects},
        "sso_global_permissions": [],
        "verified": True,
    }


def timestamp(moment: datetime, settings: Settings) -> str:
    """Write a time in RFC 3339, in UTC with ``+00:00``, with as many digits after the second as the settings say."""
    moment = moment.astimezone(UTC)
    digits = settings.timestamp_digits
    text = f"{moment.microsecond:06d}"
    fraction = text.rstrip("0") if digits == "trim" else text[:digits]
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "+00:00"
