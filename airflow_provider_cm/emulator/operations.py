"""
How a route is written: a function for an operation of the contract.

::

    @operation("getSourceStatistics")
    def source_statistics(call: Call) -> Response:
        source = ...  # call.path, call.query and call.body are what the contract allows
        return ok(statistics={"num_comments": source.num_comments})

The decorator takes method, path, permissions, parameters and body from ``contract.json``. When the function is called,
the token has the permissions, all parts of the request are valid, and the state's lock is held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Route

from airflow_provider_cm.emulator.contract import Contract, Operation, Parameter, contract_for
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.permissions import PERMISSION_LABELS
from airflow_provider_cm.emulator.settings import EmulatorSettings
from airflow_provider_cm.emulator.tokens import bearer_value

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_cm.emulator.state import State
    from airflow_provider_cm.emulator.tenant import Tenant
    from airflow_provider_cm.emulator.tokens import Grant


@dataclass(frozen=True, slots=True)
class OperationCall:
    """
    One authenticated, valid request.

    :param tenant: the tenant that it goes to.
    :param settings: the settings in force.
    :param grant: the token that it came with.
    :param path: the path parameters by name.
    :param query: the query parameters that were sent, with their types.
    :param body: the JSON body; ``None`` if the operation has none.
    :param data: the body as it was sent.
    """

    request: Request
    state: State
    tenant: Tenant
    settings: EmulatorSettings
    grant: Grant
    path: dict[str, str]
    query: dict[str, Any]
    body: Any
    data: bytes

    @property
    def readable(self) -> Tenant:
        """The tenant as reads show it, which may lag behind."""
        return self.state.readable(self.tenant)


Repair = Callable[[Any, EmulatorSettings], Any]
_routes: dict[str, Route] = {}


class _ProjectConvertor(StringConvertor):
    regex = "(?!id:)[^/]+"


register_url_convertor("project", _ProjectConvertor())


def operation(
    operation_id: str, *, repair: Repair | None = None
) -> Callable[[Callable[[OperationCall], Response]], Callable[[OperationCall], Response]]:
    """
    Register a function as the handler of an operation of the contract.

    :param repair: takes a body that the contract does not allow, and the settings; it returns a valid body, or raises
        an error of its own.
    """
    described = contract_for(EmulatorSettings()).operation(operation_id)

    def register(handler: Callable[[OperationCall], Response]) -> Callable[[OperationCall], Response]:
        async def endpoint(request: Request) -> Response:
            request.scope["emulator.answered"]["operation"] = operation_id
            data = await request.body()
            state: State = request.scope["emulator.state"]
            with state.lock:
                return handler(_call(request, state, operation_id, data, repair))

        # No project is named "id:...", so such a path is an id's.
        route = Route(
            described.path.replace("{owner}", "{owner:project}"),
            endpoint,
            methods=[described.method],
            name=operation_id,
        )
        # Starlette adds HEAD, which the API does not have.
        route.methods = {described.method}
        _routes[operation_id] = route
        return handler

    return register


def registered_routes() -> list[Route]:
    """List the routes of all operations that have a function, those with fixed parts before those with parameters."""
    return sorted(_routes.values(), key=lambda route: [part.startswith("{") for part in route.path.split("/")])


def registered_operations() -> list[str]:
    """List the ids of all operations that have a function."""
    return list(_routes)


def _call(request: Request, state: State, operation_id: str, data: bytes, repair: Repair | None) -> OperationCall:
    settings = state.settings
    if settings.max_body_bytes is not None and len(data) > settings.max_body_bytes:
        raise RefusedRequestError(413, "413 Request Entity Too Large")
    contract = contract_for(settings)
    described = contract.operation(operation_id)
    tenant: Tenant = request.scope["emulator.tenant"]
    grant = state.tokens.authenticate(bearer_value(request.headers.get("authorization")), tenant)
    _check_permissions(described, grant, settings)
    for each in described.path_parameters:
        _check_name(each, request.path_params[each.name], settings)
    query = {each.name: value for each in described.query_parameters if (value := _query(each, request)) is not None}
    body = _body(described, contract, data, (lambda bad: repair(bad, settings)) if repair else None)
    return OperationCall(request, state, tenant, settings, grant, dict(request.path_params), query, body, data)


def _check_permissions(described: Operation, grant: Grant, settings: EmulatorSettings) -> None:
    for permission in described.permissions:
        if permission not in grant.permissions:
            if settings.no_permission == 404:
                # Who hides what is forbidden does not say so in the message.
                raise RefusedRequestError(404, "404 Not Found")
            label = PERMISSION_LABELS.get(permission, permission)
            raise RefusedRequestError(settings.no_permission, f"Permission denied: this needs the permission '{label}'")


def _check_name(parameter: Parameter, value: str, settings: EmulatorSettings) -> None:
    mistake = parameter.validator.error(value)
    if mistake is not None:
        raise RefusedRequestError(settings.invalid_name, f"{mistake} (in {parameter.description})")


def check_name(value: str, operation_id: str, parameter: str, settings: EmulatorSettings) -> None:
    """Refuse a name that could not be a path parameter of an operation."""
    for each in contract_for(settings).operation(operation_id).path_parameters:
        if each.name == parameter:
            _check_name(each, value, settings)


def check_body(body: Any, operation_id: str, settings: EmulatorSettings) -> Any:
    """Refuse an invalid body of an operation; return a valid one without the fields that are ignored."""
    contract = contract_for(settings)
    return _check_body(body, contract.operation(operation_id), contract)


def _body(described: Operation, contract: Contract, data: bytes, repair: Callable[[Any], Any] | None) -> Any:
    if described.request is None or (not data and not described.request_required):
        return None
    return _check_body(parse_json(data), described, contract, repair)


def _check_body(body: Any, described: Operation, contract: Contract, repair: Callable[[Any], Any] | None = None) -> Any:
    if described.request is None:
        return body
    body = contract.without_ignored(body, described.request.schema)
    if described.request.accepts(body):
        return body
    if repair is not None:
        body = repair(body)
    mistake = described.request.error(body)
    if mistake is not None:
        raise RefusedRequestError(400, mistake)
    return body


def _query(parameter: Parameter, request: Request) -> Any:
    texts = request.query_params.getlist(parameter.name)
    if not texts:
        return None
    value = texts if parameter.schema.get("type") == "array" else _typed(texts[-1], parameter.schema.get("type"))
    mistake = parameter.validator.error(value)
    if mistake is not None:
        raise RefusedRequestError(400, f"{mistake} (in query parameter {parameter.name})")
    return value


def _typed(text: str, kind: object) -> object:
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind == "integer" and text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal() and len(text) < 20:
        return int(text)
    return text


def parse_json(body: bytes) -> object:
    """Read a body as strict JSON: 400 for anything else, NaN, invalid UTF-8 and lone surrogates included."""
    try:
        value: object = orjson.loads(body)
    except ValueError:
        raise RefusedRequestError(400, "The request body is not valid JSON") from None
    return value
