"""The JSON of the API: which keys each endpoint shows, and how times are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import StoredBucket, StoredProject, StoredSource, StoredUser
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

# The contract lets a request give a project a longer title than a response may show. What happens then is not known.
_LONGEST_TITLE_SHOWN = 128
_LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def source_json(source: StoredSource, settings: EmulatorSettings, *, language: bool) -> Json:
    """
    Write a source as an endpoint shows it.

    :param language: whether the vendor's page shows ``language`` for this endpoint; it counts only with
        ``shapes="docs"``.
    """
    updated_at = timestamp(source.updated_at, settings)
    output: Json = {
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
        output["language"] = source.language
    if settings.shapes == "full":
        output["_kind"] = source.kind
        optional = {
            "bucket_id": source.bucket_id,
            "email_transform_tag": source.email_transform_tag,
            "email_transform_version": source.email_transform_version,
        }
        output |= {name: value for name, value in optional.items() if value is not None}
    return output


def project_json(project: StoredProject, settings: EmulatorSettings) -> Json:
    """Write a project as the vendor's client reads it."""
    return {
        "id": project.id,
        "name": project.name,
        "title": project.title[:_LONGEST_TITLE_SHOWN],
        "description": project.description,
        "created_at": timestamp(project.created_at, settings),
        "updated_at": timestamp(project.updated_at, settings),
        "user_auto_join": project.user_auto_join,
    }


def listed_project_json(project: StoredProject) -> Json:
    """Write a project as the public list shows it."""
    return {
        "name": project.name,
        "title": project.title[:_LONGEST_TITLE_SHOWN],
        "description": project.description,
    }


def bucket_json(bucket: StoredBucket, settings: EmulatorSettings) -> Json:
    """Write a bucket as the vendor's client reads it."""
    return {
        "id": bucket.id,
        "name": bucket.name,
        "owner": bucket.owner,
        "title": bucket.title,
        "created_at": timestamp(bucket.created_at, settings),
        "updated_at": timestamp(bucket.updated_at, settings),
    }


def user_json(user: StoredUser, settings: EmulatorSettings) -> Json:
    """Write a user as the vendor's client reads it."""
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "created": timestamp(user.created_at or _LONG_AGO, settings),
        "global_permissions": list(user.global_permissions),
        "organisation_permissions": {project: list(each) for project, each in user.permissions.items()},
        "sso_global_permissions": [],
        "verified": True,
    }


def listed_user_json(user: StoredUser, last_login_at: str | None) -> Json:
    """Write a user as the public list shows it."""
    return {"email": user.email, "username": user.username, "last_login_at": last_login_at}


def timestamp(moment: datetime, settings: EmulatorSettings) -> str:
    """Write a time in RFC 3339, in UTC with ``+00:00``, with as many digits after the second as the settings say."""
    moment = moment.astimezone(UTC)
    digits = settings.timestamp_digits
    text = f"{moment.microsecond:06d}"
    fraction = text.rstrip("0") if digits == "trim" else text[:digits]
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "+00:00"
