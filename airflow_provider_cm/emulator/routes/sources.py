"""Sources: list, get, create, update, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.serializers import source_json
from airflow_provider_cm.emulator.source_fields import source_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response

    from airflow_provider_cm.emulator.records import StoredSource


def _respond(call: OperationCall, source: StoredSource, *, language: bool = True) -> Response:
    return ok(source=source_json(source, call.settings, language=language))


def _respond_with_list(call: OperationCall, project: str | None) -> Response:
    matches = call.readable.list_sources(project, call.settings)
    return ok(sources=[source_json(source, call.settings, language=False) for source in matches])


def find_source(call: OperationCall, *, write: bool = False) -> StoredSource:
    """Return the source that the path names, as reads show it, or as it is for a write; 404 if there is none."""
    owner, name = call.path["owner"], call.path["source_name"]
    source = (call.tenant if write else call.readable).source(owner, name, call.settings)
    if source is None:
        raise RefusedRequestError(404, f"Source '{owner}/{name}' not found")
    return source


@operation("getAllSources")
def list_sources(call: OperationCall) -> Response:
    """List all sources."""
    return _respond_with_list(call, None)


@operation("getAllSourcesInProject")
def list_project_sources(call: OperationCall) -> Response:
    """List the sources of a project."""
    return _respond_with_list(call, call.path["owner"])


@operation("getSource")
def get_source(call: OperationCall) -> Response:
    """Get a source by name."""
    return _respond(call, find_source(call), language=False)


@operation("getSourceById")
def get_source_by_id(call: OperationCall) -> Response:
    """Get a source by id."""
    source_id = call.path["source_id"]
    source = call.readable.sources.get(source_id)
    if source is None:
        raise RefusedRequestError(404, f"Source '{source_id}' not found")
    return _respond(call, source)


@operation("createSource")
def create_source(call: OperationCall) -> Response:
    """Create a source."""
    return _write(call, call.tenant.create_source, update=False)


@operation("updateSource")
def update_source(call: OperationCall) -> Response:
    """Update a source."""
    return _write(call, call.tenant.update_source, update=True)


def _write(call: OperationCall, write: Callable[..., StoredSource], *, update: bool) -> Response:
    fields = source_fields(call.body["source"], call.settings, update=update)
    source = write(call.path["owner"], call.path["source_name"], fields, call.settings)
    call.state.changed()
    return _respond(call, source)


@operation("deleteSource")
def delete_source(call: OperationCall) -> Response:
    """Delete a source."""
    call.tenant.delete_source(call.path["source_id"], call.settings)
    call.state.changed()
    return ok()
