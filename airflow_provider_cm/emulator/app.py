"""The routes of one tenant's sources API; the same application serves all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response

from airflow_provider_cm.emulator import client_routes, models, openapi
from airflow_provider_cm.emulator.answers import JsonResponse, install_handlers, ok
from airflow_provider_cm.emulator.calls import (
    AdminCall,
    Call,
    ProjectName,
    ReadCall,
    RecordId,
    SourceName,
    errors,
)
from airflow_provider_cm.emulator.errors import ApiError
from airflow_provider_cm.emulator.shapes import source_json
from airflow_provider_cm.emulator.validation import (
    ID_PATTERN,
    PROJECT_PATTERN,
    SOURCE_PATTERN,
    check_name,
    check_statistics,
    source_fields,
)

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import Source

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])


def build_app() -> FastAPI:
    """Make the application; it finds the state and the tenant of a request in its scope."""
    # No redirects: the API has none, and a client must not be led to believe so.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    install_handlers(app)
    app.include_router(router)
    app.include_router(client_routes.router)

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        settings, tenant = request.scope["emulator.state"].settings, request.scope["emulator.tenant"]
        return JsonResponse(openapi.document(app.routes, settings, tenant.prefix))

    return app


def _check_names(call: Call, project: str, name: str | None = None) -> None:
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    if name is not None:
        check_name(name, SOURCE_PATTERN, "source name", call.settings)


def _answer(call: Call, source: Source, *, language: bool = True) -> Response:
    return ok(source=source_json(source, call.settings, language=language))


def _answer_list(call: Call, project: str | None) -> Response:
    with call.state.lock:
        found = call.state.readable(call.tenant).list_sources(project, call.settings)
    return ok(sources=[source_json(source, call.settings, language=False) for source in found])


def _find(call: Call, project: str, name: str) -> Source:
    _check_names(call, project, name)
    with call.state.lock:
        source = call.state.readable(call.tenant).source(project, name, call.settings)
    if source is None:
        raise ApiError(404, f"Source '{project}/{name}' not found")
    return source


@router.get("", response_model=models.SourcesAnswer, responses=errors())
async def list_sources(call: ReadCall) -> Response:
    """Get all sources."""
    return _answer_list(call, None)


@router.get("/id:{source_id}", response_model=models.SourceAnswer, responses=errors(400, 404, 422))
async def get_source_by_id(call: ReadCall, source_id: RecordId) -> Response:
    """Get a source by id."""
    check_name(source_id, ID_PATTERN, "source id", call.settings)
    with call.state.lock:
        source = call.state.readable(call.tenant).sources.get(source_id)
    if source is None:
        raise ApiError(404, f"Source '{source_id}' not found")
    return _answer(call, source)


@router.delete("/id:{source_id}", response_model=models.Ok, responses=errors(400, 404, 422))
async def delete_source(call: AdminCall, source_id: RecordId) -> Response:
    """Delete a source."""
    check_name(source_id, ID_PATTERN, "source id", call.settings)
    with call.state.lock:
        call.tenant.delete_source(source_id, call.settings)
        call.state.changed()
    return ok()


@router.get("/{project}", response_model=models.SourcesAnswer, responses=errors(400, 404, 422))
async def list_project_sources(call: ReadCall, project: ProjectName) -> Response:
    """Get sources by project."""
    _check_names(call, project)
    return _answer_list(call, project)


@router.get("/{project}/{name}", response_model=models.SourceAnswer, responses=errors(400, 404, 422))
async def get_source(call: ReadCall, project: ProjectName, name: SourceName) -> Response:
    """Get a source by name."""
    return _answer(call, _find(call, project, name), language=False)


@router.put("/{project}/{name}", response_model=models.SourceAnswer, responses=errors(400, 404, 409, 422))
async def create_source(call: AdminCall, project: ProjectName, name: SourceName) -> Response:
    """Create a source."""
    _check_names(call, project, name)
    fields = source_fields(await call.body(), call.settings, update=False)
    with call.state.lock:
        source = call.tenant.create_source(project, name, fields, call.settings)
        call.state.changed()
    return _answer(call, source)


@router.post("/{project}/{name}", response_model=models.SourceAnswer, responses=errors(400, 404, 422))
async def update_source(call: AdminCall, project: ProjectName, name: SourceName) -> Response:
    """Update a source."""
    _check_names(call, project, name)
    fields = source_fields(await call.body(), call.settings, update=True)
    with call.state.lock:
        source = call.tenant.update_source(project, name, fields, call.settings)
        call.state.changed()
    return _answer(call, source)


@router.post("/{project}/{name}/statistics", response_model=models.StatisticsAnswer, responses=errors(400, 404, 422))
async def source_statistics(call: ReadCall, project: ProjectName, name: SourceName) -> Response:
    """Get a source's statistics."""
    check_statistics(await call.body(), call.settings)
    source = _find(call, project, name)
    return ok(statistics={"num_comments": float(source.num_comments)})
