"""Projects: the private API that the vendor's client uses, and the public list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.serializers import listed_project_json, project_json

if TYPE_CHECKING:
    from starlette.responses import Response


@operation("getAllProjectsV1")
def list_projects_v1(call: OperationCall) -> Response:
    """List projects by name."""
    return ok(projects=[listed_project_json(each) for each in call.tenant.projects.values()])


@operation("getAllProjects")
def list_projects(call: OperationCall) -> Response:
    """List projects with all their keys."""
    return ok(projects=[project_json(each, call.settings) for each in call.tenant.projects.values()])


@operation("getProject")
def get_project(call: OperationCall) -> Response:
    """Get a project."""
    return ok(project=project_json(call.tenant.existing_project(call.path["name"], call.settings), call.settings))


@operation("createProject")
def create_project(call: OperationCall) -> Response:
    """Create a project; visible at once, which the real service doesn't promise."""
    project = call.tenant.add_project(call.path["name"], call.body["project"], call.settings)
    for user_id in call.body.get("user_ids", ()):
        call.tenant.let_user_into_project(user_id, project.name)
    call.state.changed()
    return ok(project=project_json(project, call.settings))


@operation("updateProject")
def update_project(call: OperationCall) -> Response:
    """Update a project."""
    project = call.tenant.update_project(call.path["name"], call.body["project"], call.settings)
    call.state.changed()
    return ok(project=project_json(project, call.settings))


@operation("deleteProject")
def delete_project(call: OperationCall) -> Response:
    """Delete a project; one that holds something only with ``force=true``."""
    call.tenant.delete_project(call.path["name"], call.settings, force=call.query.get("force", False))
    call.state.changed()
    return ok()
