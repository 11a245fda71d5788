"""
The admin endpoint under ``/_emulator/``: look at what was sent, and change what the server holds.

It is open on the loopback interface and needs the random admin token, as a bearer token, on any other.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_cm.emulator.answers import install_handlers, ok
from airflow_provider_cm.emulator.errors import ApiError
from airflow_provider_cm.emulator.faults import Fault
from airflow_provider_cm.emulator.settings import Settings
from airflow_provider_cm.emulator.shapes import project_json, source_json
from airflow_provider_cm.emulator.state import State, bearer_value
from airflow_provider_cm.emulator.validation import PROJECT_PATTERN, check_name

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.records import Change, Grant, RecordedRequest, Source, TextFields

ADMIN_PATH = "/_emulator"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MessageCount(_Body):
    """How many messages a source holds."""

    tenant: str = "/"
    project: str
    name: str
    count: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NewProject(_Body):
    """A project to add."""

    tenant: str = "/"
    name: str
    title: str | None = None


class NewToken(_Body):
    """Another value for a token."""

    token: Annotated[str, Field(min_length=1, pattern=r"^[\x21-\x7e]+$")]


async def _state(request: Request) -> State:
    state: State = request.scope["emulator.state"]
    if state.admin_token is not None:
        sent = bearer_value(request.headers.get("authorization")) or ""
        if not secrets.compare_digest(sent.encode(), state.admin_token.encode()):
            raise ApiError(401, "The admin endpoint needs the admin token that the emulator printed")
    return state


AnyState = Annotated[State, Depends(_state)]
router = APIRouter(prefix=ADMIN_PATH)


def build_admin() -> FastAPI:
    """Make the admin application."""
    app = FastAPI(title="Emulator admin", openapi_url=f"{ADMIN_PATH}/openapi.json", docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_handlers(app)
    app.include_router(router)
    return app


@router.get("")
async def overview(state: AnyState) -> Response:
    """Show tenants, settings and the names of tokens."""
    with state.lock:
        tenants = {
            path: {"projects": list(tenant.projects), "sources": len(tenant.sources)}
            for path, tenant in state.tenants.items()
        }
        return ok(tenants=tenants, tokens=_tokens(state), settings=_settings(state))


@router.post("/reset")
async def reset(state: AnyState) -> Response:
    """Return to what the emulator was started with."""
    state.reset()
    return ok()


@router.get("/requests")
async def list_requests(state: AnyState) -> Response:
    """List the requests so far, without secrets."""
    return ok(requests=[_request(each) for each in list(state.requests)])


@router.delete("/requests")
async def clear_requests(state: AnyState) -> Response:
    """Forget the requests so far."""
    state.requests.clear()
    return ok()


@router.get("/changes")
async def list_changes(state: AnyState) -> Response:
    """List the writes that were carried out."""
    with state.lock:
        return ok(changes=[_change(each) for each in state.changes])


@router.get("/faults")
async def list_faults(state: AnyState) -> Response:
    """List the faults in force, with what is left of each."""
    return ok(faults=[each.shown() for each in state.faults.remaining()])


@router.post("/faults")
async def add_fault(state: AnyState, fault: dict[str, Any]) -> Response:
    """Have requests go wrong."""
    try:
        made = Fault.make(**fault)
        state.faults.put(made)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    return ok(fault=made.shown())


@router.delete("/faults")
async def clear_faults(state: AnyState) -> Response:
    """Have nothing go wrong any more."""
    state.faults.clear()
    return ok()


@router.get("/settings")
async def get_settings(state: AnyState) -> Response:
    """Show the settings."""
    return ok(settings=_settings(state))


@router.patch("/settings")
async def change_settings(state: AnyState, changes: dict[str, Any]) -> Response:
    """Change some settings, from the next request on."""
    try:
        state.configure(**changes)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    return ok(settings=_settings(state))


@router.put("/message-count")
async def set_message_count(state: AnyState, body: MessageCount) -> Response:
    """Say how many messages a source holds."""
    with state.lock:
        tenant = state.tenant(body.tenant)
        source = tenant.source(body.project, body.name, state.settings)
        if source is None:
            raise ApiError(404, f"Source '{body.project}/{body.name}' not found")
        tenant.set_comments(source, body.count)
        state.changed()
    return ok()


@router.post("/projects")
async def add_project(state: AnyState, body: NewProject) -> Response:
    """Add a project to a tenant."""
    check_name(body.name, PROJECT_PATTERN, "name", state.settings)
    fields: TextFields = {} if body.title is None else {"title": body.title}
    with state.lock:
        project = state.tenant(body.tenant).add_project(body.name, fields, state.settings)
        state.changed()
    return ok(project=project_json(project, state.settings))


@router.get("/tokens")
async def list_tokens(state: AnyState) -> Response:
    """List the tokens by name."""
    return ok(tokens=_tokens(state))


@router.put("/tokens/{name}")
async def replace_token(state: AnyState, name: str, body: NewToken) -> Response:
    """Give a token another value; the old one is refused from then on."""
    return ok(token=_token(state.replace_token(name, body.token)))


@router.delete("/tokens/{name}")
async def revoke_token(state: AnyState, name: str) -> Response:
    """Make a token invalid."""
    state.revoke(name)
    return ok()


def _settings(state: State) -> dict[str, object]:
    return state.settings.model_dump(mode="json")


def _tokens(state: State) -> list[dict[str, object]]:
    with state.lock:
        return [_token(grant) for grant in state.grants.values()]


def _token(grant: Grant) -> dict[str, object]:
    expires_at = grant.expires_at.isoformat() if grant.expires_at else None
    return {"name": grant.name, "permissions": sorted(grant.permissions), "expires_at": expires_at}


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


def _change(change: Change) -> dict[str, object]:
    def show(source: Source | None) -> dict[str, Any] | None:
        return None if source is None else source_json(source, Settings(), language=True)

    return {
        "at": change.at.isoformat(),
        "tenant": change.tenant,
        "action": change.action,
        "request": change.request,
        "before": show(change.before),
        "after": show(change.after),
    }
