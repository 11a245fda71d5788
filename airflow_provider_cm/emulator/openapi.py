"""The OpenAPI document of a tenant, true to the settings it runs with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from airflow_provider_cm.emulator import validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from airflow_provider_cm.emulator.settings import Settings


def document(routes: Sequence[BaseRoute], settings: Settings, prefix: str) -> dict[str, Any]:
    """
    Describe the API as it behaves now.

    :param routes: the application's routes.
    :param settings: decide what the bodies of requests may hold.
    :param prefix: what the tenant's URLs begin with.
    """
    bodies = _bodies(settings)
    described = get_openapi(
        title="UiPath Communications Mining sources API (emulator)",
        version="1",
        description="Unofficial; written from the vendor's public pages and client.",
        routes=routes,
        servers=[{"url": prefix or "/"}],
    )
    for path in described["paths"].values():
        for operation in path.values():
            # FastAPI's ids end in the path; the function's name is the part before it.
            name = operation["summary"].lower().replace(" ", "_")
            operation["operationId"] = name
            if name in bodies:
                content = {"application/json": {"schema": bodies[name]}}
                operation["requestBody"] = {"required": True, "content": content}
    return described


def _bodies(settings: Settings) -> dict[str, validation.Schema]:
    return {
        "create_source": validation.source_schema(settings, update=False),
        "update_source": validation.source_schema(settings, update=True),
        "source_statistics": validation.statistics_schema(settings),
        "create_project": validation.project_schema(settings, update=False),
        "update_project": validation.project_schema(settings, update=True),
        "create_bucket": validation.bucket_schema(settings),
    }
