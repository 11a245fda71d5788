"""Buckets, their statistics, and the sync states of the connectors that fill them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.serializers import bucket_json

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.records import StoredBucket


def _find_by_name(call: OperationCall) -> StoredBucket:
    owner, name = call.path["owner"], call.path["bucket_name"]
    matches = call.tenant.bucket(owner, name, call.settings)
    if matches is None:
        raise RefusedRequestError(404, f"Bucket '{owner}/{name}' not found")
    return matches


def _find_by_id(call: OperationCall) -> StoredBucket:
    bucket_id = call.path["bucket_id"]
    matches = call.tenant.buckets.get(bucket_id)
    if matches is None:
        raise RefusedRequestError(404, f"Bucket '{bucket_id}' not found")
    return matches


@operation("getAllBuckets")
def list_buckets(call: OperationCall) -> Response:
    """List buckets."""
    return ok(buckets=[bucket_json(each, call.settings) for each in call.tenant.buckets.values()])


@operation("getAllBucketsInProject")
def list_project_buckets(call: OperationCall) -> Response:
    """List the buckets of a project."""
    project = call.tenant.existing_project(call.path["owner"], call.settings)
    matches = [each for each in call.tenant.buckets.values() if each.owner == project.name]
    return ok(buckets=[bucket_json(each, call.settings) for each in matches])


@operation("getBucket")
def get_bucket(call: OperationCall) -> Response:
    """Get a bucket by name."""
    return ok(bucket=bucket_json(_find_by_name(call), call.settings))


@operation("getBucketById")
def get_bucket_by_id(call: OperationCall) -> Response:
    """Get a bucket by id."""
    return ok(bucket=bucket_json(_find_by_id(call), call.settings))


@operation("createBucket")
def create_bucket(call: OperationCall) -> Response:
    """Create a bucket."""
    title = call.body["bucket"].get("title")
    made = call.tenant.add_bucket(call.path["owner"], call.path["bucket_name"], title, call.settings)
    call.state.changed()
    return ok(bucket=bucket_json(made, call.settings))


@operation("updateBucket")
def update_bucket(call: OperationCall) -> Response:
    """Change the title of a bucket."""
    changed = call.tenant.update_bucket(_find_by_name(call), call.body["bucket"].get("title"))
    call.state.changed()
    return ok(bucket=bucket_json(changed, call.settings))


@operation("deleteBucket")
def delete_bucket(call: OperationCall) -> Response:
    """Delete a bucket."""
    call.tenant.delete_bucket(call.path["bucket_id"])
    call.state.changed()
    return ok()


@operation("getBucketStatistics")
def bucket_statistics(call: OperationCall) -> Response:
    """Count the emails of a bucket: none, since the emulator takes no emails in buckets."""
    _find_by_name(call)
    return ok(statistics={"count": {"kind": "exact", "value": 0}})


@operation("getKeyedSyncStates")
def keyed_sync_states(call: OperationCall) -> Response:
    """List where connectors have got to: there are none."""
    _find_by_id(call)
    return ok(keyed_sync_states=[])


@operation("queryKeyedSyncStateIds")
def keyed_sync_state_ids(call: OperationCall) -> Response:
    """List the ids of the keyed sync states: there are none."""
    _find_by_id(call)
    return ok(keyed_sync_state_ids=[])
