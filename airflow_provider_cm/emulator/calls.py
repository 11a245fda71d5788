"""What every API route needs to know of the call it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from airflow_provider_cm.emulator.errors import ApiError
from airflow_provider_cm.emulator.models import Error
from airflow_provider_cm.emulator.records import ADMIN, PERMISSION_LABELS, READ, Grant
from airflow_provider_cm.emulator.validation import (
    BUCKET_PATTERN,
    ID_PATTERN,
    PROJECT_PATTERN,
    SOURCE_PATTERN,
    parse_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.settings import Settings
    from airflow_provider_cm.emulator.state import State
    from airflow_provider_cm.emulator.tenant import Tenant

_bearer = HTTPBearer(auto_error=False, description="A developer token, or one minted for an external application.")


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request: where it goes, by whose token, under which settings."""

    request: Request
    state: State
    tenant: Tenant
    settings: Settings
    grant: Grant

    async def body(self) -> object:
        """Read the body as JSON."""
        return parse_json(await self.request.body())


def _needs(permission: str | None) -> Callable[..., object]:
    # The credentials come from HTTPBearer so that the OpenAPI document knows of them.
    async def call(request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Call:
        state: State = request.scope["emulator.state"]
        settings = state.settings
        grant = state.authenticate(bearer.credentials if bearer else None)
        if permission is not None and permission not in grant.permissions:
            if settings.no_permission == 404:
                # Who hides what is forbidden does not say so in the message.
                raise ApiError(404, "404 Not Found")
            label = PERMISSION_LABELS.get(permission, permission)
            raise ApiError(settings.no_permission, f"Permission denied: this needs the permission '{label}'")
        return Call(request, state, request.scope["emulator.tenant"], settings, grant)

    return call


AnyCall = Annotated[Call, Depends(_needs(None))]
ReadCall = Annotated[Call, Depends(_needs(READ))]
AdminCall = Annotated[Call, Depends(_needs(ADMIN))]

# Patterns are for the OpenAPI document only; FastAPI would check them before the token.
ProjectName = Annotated[str, Path(json_schema_extra={"pattern": PROJECT_PATTERN})]
SourceName = Annotated[str, Path(json_schema_extra={"pattern": SOURCE_PATTERN})]
BucketName = Annotated[str, Path(json_schema_extra={"pattern": BUCKET_PATTERN})]
RecordId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN})]

_MEANINGS = {
    400: "A name or the body breaks a rule",
    401: "No token, or one that is unknown or has expired",
    403: "The token lacks the permission, or the quota is full",
    404: "There is no such thing",
    409: "The name is taken, or something is in the way",
    422: "A value is well-formed but can't be",
    429: "Too many requests; Retry-After says when to come back",
    500: "The emulator is broken",
}


def errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Declare the errors of a route: those given, and those that any route can answer."""
    return {
        status: {"model": Error, "description": _MEANINGS[status]} for status in sorted({*statuses, 401, 403, 429, 500})
    }
