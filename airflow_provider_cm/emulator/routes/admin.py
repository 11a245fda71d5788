"""
The admin endpoint under ``/_emulator/``: look at what was sent, and change what the server holds.

It is open on the loopback interface and needs the random admin token, as a bearer token, on any other.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import Route

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.faults import Fault
from airflow_provider_cm.emulator.operations import check_name, parse_json
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.responses import application, ok
from airflow_provider_cm.emulator.serializers import project_json, source_json
from airflow_provider_cm.emulator.settings import EmulatorSettings, explain
from airflow_provider_cm.emulator.tokens import Grant, bearer_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_cm.emulator.records import ProjectFields, SourceChange, StoredSource
    from airflow_provider_cm.emulator.request_log import RecordedRequest
    from airflow_provider_cm.emulator.state import State

ADMIN_PATH = "/_emulator"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MessageCount(_Body):
    """How many messages a source holds."""

    tenant: str = "/"
    project: str
    name: str
    count: Annotated[int, Field(ge=0)]


class NewProject(_Body):
    """A project to add."""

    tenant: str = "/"
    name: str
    title: str | None = None


_TokenValue = Annotated[str, Field(min_length=1, pattern=r"^[\x21-\x7e]+$")]


class TokenValue(_Body):
    """Another value for a token."""

    token: _TokenValue


class NewToken(_Body):
    """A token that one tenant knows, and no other."""

    tenant: str
    name: Annotated[str, Field(min_length=1)]
    role: Literal["admin", "loader", "viewer", "none"] = "admin"
    token: _TokenValue | None = None


_Model = TypeVar("_Model", bound=_Body)
_routes: list[Route] = []


class AdminCall:
    """
    One request to the admin endpoint.

    :param data: the body as it was sent, whatever the content type: ``curl -d`` names a form.
    """

    def __init__(self, request: Request, state: State, data: bytes) -> None:
        self.state = state
        self.path: dict[str, str] = request.path_params
        self._data = data

    def body(self, model: type[_Model], example: str) -> _Model:
        """Read the body as JSON; 400 that shows an example if it is anything else."""
        try:
            return model.model_validate(self.json_object(example))
        except ValidationError as error:
            raise RefusedRequestError(400, f"{explain(error)}; send JSON such as {example}") from None

    def json_object(self, example: str) -> dict[str, Any]:
        """Read the body as a JSON object; 400 that shows an example if it is anything else."""
        try:
            value = parse_json(self._data)
        except RefusedRequestError as error:
            raise RefusedRequestError(400, f"{error.message}; send JSON such as {example}") from None
        if not isinstance(value, dict):
            raise RefusedRequestError(400, f"The request body is not a JSON object; send JSON such as {example}")
        return value


def _route(methods: str, path: str) -> Callable[[Callable[[AdminCall], Response]], Callable[[AdminCall], Response]]:
    def register(handler: Callable[[AdminCall], Response]) -> Callable[[AdminCall], Response]:
        async def endpoint(request: Request) -> Response:
            state: State = request.scope["emulator.state"]
            _authenticate(request, state)
            data = await request.body()
            with state.lock:
                return handler(AdminCall(request, state, data))

        route = Route(ADMIN_PATH + path, endpoint)
        route.methods = set(methods.split())
        _routes.append(route)
        return handler

    return register


def _authenticate(request: Request, state: State) -> None:
    if state.admin_token is not None:
        sent = bearer_value(request.headers.get("authorization")) or ""
        if not secrets.compare_digest(sent.encode(), state.admin_token.encode()):
            raise RefusedRequestError(401, "The admin endpoint needs the admin token that the emulator printed")


def build_admin() -> Starlette:
    """Make the admin application."""
    return application(_routes)


@_route("GET", "")
def overview(call: AdminCall) -> Response:
    """Show tenants, settings and the names of tokens."""
    state = call.state
    tenants = {
        path: {"projects": list(tenant.projects), "sources": len(tenant.sources)}
        for path, tenant in state.tenants.items()
    }
    return ok(tenants=tenants, tokens=_tokens(state), settings=_settings(state))


@_route("POST", "/reset")
def reset(call: AdminCall) -> Response:
    """Return to what the emulator was started with."""
    call.state.reset()
    return ok()


@_route("GET", "/requests")
def list_requests(call: AdminCall) -> Response:
    """List the requests so far, without secrets."""
    return ok(requests=[_request(each) for each in call.state.requests])


@_route("DELETE", "/requests")
def clear_requests(call: AdminCall) -> Response:
    """Forget the requests so far."""
    call.state.requests.clear()
    return ok()


@_route("GET", "/changes")
def list_changes(call: AdminCall) -> Response:
    """List the writes that were carried out."""
    return ok(changes=[_change(each) for each in call.state.changes])


@_route("GET", "/faults")
def list_faults(call: AdminCall) -> Response:
    """List the faults in force, with the rest of their ``skip`` and ``times``."""
    return ok(faults=[each.shown() for each in call.state.faults.remaining()])


@_route("POST", "/faults")
def add_fault(call: AdminCall) -> Response:
    """Make requests fail."""
    values = call.json_object('{"kind": "503", "method": "PUT", "path": "*/sources/*", "times": 2}')
    try:
        made = Fault.make(**values)
        call.state.faults.put(made)
    except ValueError as error:
        raise RefusedRequestError(400, str(error)) from None
    return ok(fault=made.shown())


@_route("DELETE", "/faults")
def clear_faults(call: AdminCall) -> Response:
    """Remove all faults."""
    call.state.faults.clear()
    return ok()


@_route("GET", "/settings")
def get_settings(call: AdminCall) -> Response:
    """Show the settings."""
    return ok(settings=_settings(call.state))


# "curl -d" sends POST.
@_route("PATCH POST", "/settings")
def change_settings(call: AdminCall) -> Response:
    """Change some settings, from the next request on."""
    changes = call.json_object('{"duplicate_put": "upsert"}')
    try:
        call.state.configure(**changes)
    except ValueError as error:
        raise RefusedRequestError(400, str(error)) from None
    return ok(settings=_settings(call.state))


@_route("PUT POST", "/message-count")
def set_message_count(call: AdminCall) -> Response:
    """Set how many messages a source holds."""
    body = call.body(MessageCount, '{"tenant": "/", "project": "acme-dev", "name": "inbox", "count": 5}')
    tenant = call.state.tenant(body.tenant)
    source = tenant.source(body.project, body.name, call.state.settings)
    if source is None:
        raise RefusedRequestError(404, f"Source '{body.project}/{body.name}' not found")
    call.state.set_message_count(body.tenant, source, body.count)
    return ok()


@_route("GET", "/bills")
def list_bills(call: AdminCall) -> Response:
    """Return the bill of each tenant."""
    bills = {path: call.state.messages.bill(path) for path in call.state.tenants}
    return ok(bills={path: {**asdict(bill), "ai_units": bill.ai_units} for path, bill in bills.items()})


@_route("DELETE", "/bills")
def clear_bills(call: AdminCall) -> Response:
    """Reset all bills."""
    call.state.messages.clear_bills()
    return ok()


@_route("POST", "/projects")
def add_project(call: AdminCall) -> Response:
    """Add a project to a tenant."""
    body = call.body(NewProject, '{"tenant": "/", "name": "mine"}')
    check_name(body.name, "createProject", "name", call.state.settings)
    fields: ProjectFields = {} if body.title is None else {"title": body.title}
    project = call.state.tenant(body.tenant).add_project(body.name, fields, call.state.settings)
    call.state.changed()
    return ok(project=project_json(project, call.state.settings))


@_route("GET", "/tokens")
def list_tokens(call: AdminCall) -> Response:
    """List the tokens by name."""
    return ok(tokens=_tokens(call.state))


@_route("POST", "/tokens")
def add_token(call: AdminCall) -> Response:
    """Add a token that one tenant knows; its value is in this response only."""
    body = call.body(NewToken, '{"tenant": "/acme/dev/reinfer_", "name": "dev-only", "role": "viewer"}')
    call.state.tenant(body.tenant)
    value = body.token or secrets.token_urlsafe(24)
    grant = call.state.tokens.add(body.name, value, ROLES[body.role], tenant=body.tenant)
    return ok(token={**_token(grant), "value": value})


@_route("PUT", "/tokens/{name}")
def replace_token(call: AdminCall) -> Response:
    """Replace the value of a token; the old one is refused from then on."""
    body = call.body(TokenValue, '{"token": "<new value>"}')
    return ok(token=_token(call.state.tokens.replace(call.path["name"], body.token)))


@_route("DELETE", "/tokens/{name}")
def revoke_token(call: AdminCall) -> Response:
    """Make a token invalid."""
    call.state.tokens.revoke(call.path["name"])
    return ok()


def _settings(state: State) -> dict[str, object]:
    return state.settings.model_dump(mode="json")


def _tokens(state: State) -> list[dict[str, object]]:
    return [_token(grant) for grant in state.tokens.grants.values()]


def _token(grant: Grant) -> dict[str, object]:
    expires_at = grant.expires_at.isoformat() if grant.expires_at else None
    return {
        "name": grant.name,
        "permissions": sorted(grant.permissions),
        "expires_at": expires_at,
        "tenant": grant.tenant,
        "organization": grant.organization,
    }


def _request(request: RecordedRequest) -> dict[str, object]:
    headers = dict(request.headers)
    if "authorization" in headers:
        headers["authorization"] = request.token or "(unknown)"
    return {
        "method": request.method,
        "path": request.path,
        "headers": headers,
        "body": _without_secret(request),
        "status": request.status,
        "tenant": request.tenant,
        "at": request.at.isoformat(),
        "number": request.number,
        "fault": None if request.fault is None else str(request.fault),
    }


def _without_secret(request: RecordedRequest) -> str:
    text = request.body.decode(errors="replace")
    if "client_secret" not in text:
        return text
    return urlencode([(key, "***" if key == "client_secret" else value) for key, value in parse_qsl(text)])


def _change(change: SourceChange) -> dict[str, object]:
    def show(source: StoredSource | None) -> dict[str, Any] | None:
        return None if source is None else source_json(source, EmulatorSettings(), language=True)

    return {
        "at": change.at.isoformat(),
        "tenant": change.tenant,
        "action": change.action,
        "request": change.request,
        "before": show(change.before),
        "after": show(change.after),
    }
