"""Users: who the caller is, the public list, and the private API that the vendor's client uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.records import StoredUser, new_id
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.serializers import listed_user_json, timestamp, user_json

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.tokens import Grant


def _of_token(call: OperationCall, grant: Grant) -> StoredUser:
    """Return the user behind a token, who has the same permissions in every project."""
    username = grant.name.partition("#")[0]
    permissions = {project: tuple(sorted(grant.permissions)) for project in call.tenant.projects}
    remaining = call.tenant.users.get(grant.user_id)
    return remaining or StoredUser(grant.user_id, username, f"{username}@example.com", permissions)


def _users(call: OperationCall) -> dict[str, StoredUser]:
    owners = (_of_token(call, grant) for grant in call.state.tokens.owners(call.tenant))
    return {**{user.id: user for user in owners}, **call.tenant.users}


def _find(call: OperationCall) -> StoredUser:
    user_id = call.path["user_id"]
    matches = _users(call).get(user_id)
    if matches is None:
        raise RefusedRequestError(404, f"User '{user_id}' not found")
    return matches


@operation("getCurrentUser")
def current_user(call: OperationCall) -> Response:
    """Return the user of the token, and the permissions."""
    return ok(user=user_json(_of_token(call, call.grant), call.settings))


@operation("refreshUserPermissions")
def refresh_user_permissions(call: OperationCall) -> Response:
    """Read the caller's permissions again; nothing to do here, where they are never stale."""
    del call
    return ok(permissions_refreshed=True)


@operation("getUsersV1")
def list_users_v1(call: OperationCall) -> Response:
    """List users with their last login: now for the caller, never for the others."""
    now = timestamp(call.state.now(), call.settings)
    users = _users(call).values()
    return ok(users=[listed_user_json(user, now if user.id == call.grant.user_id else None) for user in users])


@operation("getAllUsers")
def list_users(call: OperationCall) -> Response:
    """List users with their permissions."""
    return ok(users=[user_json(user, call.settings) for user in _users(call).values()])


@operation("getUser")
def get_user(call: OperationCall) -> Response:
    """Get a user."""
    return ok(user=user_json(_find(call), call.settings))


@operation("createUser")
def create_user(call: OperationCall) -> Response:
    """Create a user, who has no token."""
    sent = call.body["user"]
    if any(user.username == sent["username"] for user in _users(call).values()):
        raise RefusedRequestError(409, f"User '{sent['username']}' already exists")
    user = StoredUser(new_id(), sent["username"], sent["email"], {}, (), call.state.now()).changed(sent)
    call.tenant.users[user.id] = user
    call.state.changed()
    return ok(user=user_json(user, call.settings))


@operation("updateUser")
def update_user(call: OperationCall) -> Response:
    """Change a user's permissions as they are shown; those of a token stay."""
    user = _find(call).changed(call.body["user"])
    call.tenant.users[user.id] = user
    call.state.changed()
    return ok(user=user_json(user, call.settings))


@operation("deleteUser")
def delete_user(call: OperationCall) -> Response:
    """Delete a user that was created here; the owner of a token stays."""
    user = _find(call)
    if any(grant.user_id == user.id for grant in call.state.tokens.owners(call.tenant)):
        raise RefusedRequestError(409, f"User '{user.username}' owns a token of this emulator")
    del call.tenant.users[user.id]
    call.state.changed()
    return ok()
