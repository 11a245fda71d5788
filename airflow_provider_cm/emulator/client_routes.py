"""What the vendor's official client asks for beside sources: its user, projects and buckets."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from airflow_provider_cm.emulator import models
from airflow_provider_cm.emulator.answers import ok
from airflow_provider_cm.emulator.calls import (
    AdminCall,
    AnyCall,
    BucketName,
    ProjectName,
    ReadCall,
    RecordId,
    errors,
)
from airflow_provider_cm.emulator.errors import ApiError
from airflow_provider_cm.emulator.shapes import bucket_json, project_json, user_json
from airflow_provider_cm.emulator.validation import (
    BUCKET_PATTERN,
    ID_PATTERN,
    PROJECT_PATTERN,
    bucket_title,
    check_name,
    project_fields,
)

router = APIRouter(tags=["client"])


@router.get("/auth/user", response_model=models.UserAnswer, responses=errors())
async def current_user(call: AnyCall) -> Response:
    """Tell whose token this is and what it allows."""
    with call.state.lock:
        return ok(user=user_json(call.grant, call.tenant.projects, call.settings))


@router.post("/auth/refresh-user-permissions", response_model=models.RefreshAnswer, responses=errors())
async def refresh_user_permissions(call: AnyCall) -> Response:
    """Read the caller's permissions anew; nothing to do here, where they are never stale."""
    return ok(permissions_refreshed=True)


@router.get("/api/_private/projects", response_model=models.ProjectsAnswer, responses=errors())
async def list_projects(call: ReadCall) -> Response:
    """List the tenant's projects."""
    with call.state.lock:
        return ok(projects=[project_json(each, call.settings) for each in call.tenant.projects.values()])


@router.get("/api/_private/projects/{project}", response_model=models.ProjectAnswer, responses=errors(400, 404, 422))
async def get_project(call: ReadCall, project: ProjectName) -> Response:
    """Get a project."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    with call.state.lock:
        found = call.tenant.project(project, call.settings)
    if found is None:
        raise ApiError(404, f"Project '{project}' not found")
    return ok(project=project_json(found, call.settings))


@router.put(
    "/api/_private/projects/{project}",
    response_model=models.ProjectAnswer,
    responses=errors(400, 404, 409, 422),
)
async def create_project(call: AdminCall, project: ProjectName) -> Response:
    """Create a project; visible at once, which the real service doesn't promise."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    fields = project_fields(await call.body(), call.settings, update=False)
    with call.state.lock:
        made = call.tenant.add_project(project, fields, call.settings)
        call.state.changed()
    return ok(project=project_json(made, call.settings))


@router.post("/api/_private/projects/{project}", response_model=models.ProjectAnswer, responses=errors(400, 404, 422))
async def update_project(call: AdminCall, project: ProjectName) -> Response:
    """Update a project."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    fields = project_fields(await call.body(), call.settings, update=True)
    with call.state.lock:
        changed = call.tenant.update_project(project, fields, call.settings)
        call.state.changed()
    return ok(project=project_json(changed, call.settings))


@router.delete("/api/_private/projects/{project}", response_model=models.Ok, responses=errors(400, 404, 409, 422))
async def delete_project(call: AdminCall, project: ProjectName, force: Literal["true", "false"] = "false") -> Response:
    """Delete a project; one that holds something only with ``force=true``."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    with call.state.lock:
        call.tenant.delete_project(project, call.settings, force=force == "true")
        call.state.changed()
    return ok()


@router.get("/api/_private/buckets", response_model=models.BucketsAnswer, responses=errors())
async def list_buckets(call: ReadCall) -> Response:
    """List the tenant's buckets."""
    with call.state.lock:
        return ok(buckets=[bucket_json(each, call.settings) for each in call.tenant.buckets.values()])


@router.get(
    "/api/_private/buckets/id:{bucket_id}",
    response_model=models.BucketAnswer,
    responses=errors(400, 404, 422),
)
async def get_bucket_by_id(call: ReadCall, bucket_id: RecordId) -> Response:
    """Get a bucket by id."""
    check_name(bucket_id, ID_PATTERN, "bucket id", call.settings)
    with call.state.lock:
        found = call.tenant.buckets.get(bucket_id)
    if found is None:
        raise ApiError(404, f"Bucket '{bucket_id}' not found")
    return ok(bucket=bucket_json(found, call.settings))


@router.delete("/api/_private/buckets/id:{bucket_id}", response_model=models.Ok, responses=errors(400, 404, 422))
async def delete_bucket(call: AdminCall, bucket_id: RecordId) -> Response:
    """Delete a bucket."""
    check_name(bucket_id, ID_PATTERN, "bucket id", call.settings)
    with call.state.lock:
        call.tenant.delete_bucket(bucket_id)
        call.state.changed()
    return ok()


@router.get(
    "/api/_private/buckets/{project}/{name}",
    response_model=models.BucketAnswer,
    responses=errors(400, 404, 422),
)
async def get_bucket(call: ReadCall, project: ProjectName, name: BucketName) -> Response:
    """Get a bucket by name."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    check_name(name, BUCKET_PATTERN, "bucket name", call.settings)
    with call.state.lock:
        found = call.tenant.bucket(project, name, call.settings)
    if found is None:
        raise ApiError(404, f"Bucket '{project}/{name}' not found")
    return ok(bucket=bucket_json(found, call.settings))


@router.put(
    "/api/_private/buckets/{project}/{name}",
    response_model=models.BucketAnswer,
    responses=errors(400, 404, 409, 422),
)
async def create_bucket(call: AdminCall, project: ProjectName, name: BucketName) -> Response:
    """Create a bucket."""
    check_name(project, PROJECT_PATTERN, "project", call.settings)
    check_name(name, BUCKET_PATTERN, "bucket name", call.settings)
    title = bucket_title(await call.body(), call.settings)
    with call.state.lock:
        made = call.tenant.add_bucket(project, name, title, call.settings)
        call.state.changed()
    return ok(bucket=bucket_json(made, call.settings))
