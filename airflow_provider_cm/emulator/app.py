"""The application that answers one tenant's requests; the same one serves all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.operations import registered_operations, registered_routes
from airflow_provider_cm.emulator.responses import JsonResponse, application
from airflow_provider_cm.emulator.routes import (  # noqa: F401  registers operations
    attachments,
    buckets,
    comments,
    dataset_messages,
    dataset_statistics,
    datasets,
    predictions,
    projects,
    quotas,
    sources,
    streams,
    users,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request


def build_app() -> Starlette:
    """Make the application; it finds the state and the tenant of a request in its scope."""
    return application([*registered_routes(), Route("/openapi.json", _document, methods=["GET"])])


async def _document(request: Request) -> JsonResponse:
    """Describe the tenant's API as it behaves now."""
    settings, tenant = request.scope["emulator.state"].settings, request.scope["emulator.tenant"]
    return JsonResponse(contract_for(settings).document(tenant.prefix, registered_operations()))
