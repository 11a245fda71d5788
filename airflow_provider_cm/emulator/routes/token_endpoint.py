"""The identity server's token endpoint: client credentials for an access token (RFC 6749)."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

from airflow_provider_cm.emulator.responses import JsonResponse
from airflow_provider_cm.emulator.tokens import SCOPES

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_cm.emulator.state import State

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


async def token(request: Request, state: State, organization: str | None) -> Response:
    """
    Mint a token for an external application.

    The body is a form with ``grant_type=client_credentials``, ``client_id``, ``client_secret`` and ``scope``;
    the client may also authenticate with HTTP Basic. Without a scope, all scopes are granted.

    :param organization: the organization in the path, whose tenants alone know the token then.
    """
    if request.method != "POST":
        return JsonResponse({"error": "invalid_request"}, 405, {"Allow": "POST"})
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return _error("invalid_request")
    try:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    except ValueError:
        return _error("invalid_request")
    grant_type = form.get("grant_type")
    if not grant_type:
        return _error("invalid_request")
    if grant_type != "client_credentials":
        return _error("unsupported_grant_type")
    client_id, secret = _client(request, form)
    with state.lock:
        application = state.tokens.applications.get(client_id)
        if application is None or not secrets.compare_digest(application.secret.encode(), secret.encode()):
            # RFC 6749 wants the challenge with a 401.
            challenge = {"WWW-Authenticate": "Basic"} if state.settings.invalid_client == 401 else {}
            return _error("invalid_client", state.settings.invalid_client, challenge)
        scopes = form.get("scope", "").split() or list(SCOPES)
        if not set(scopes) <= set(SCOPES):
            return _error("invalid_scope")
        grant = state.tokens.mint(client_id, scopes, state.settings.token_lifetime, organization)
        answer = {
            "access_token": grant.value,
            "expires_in": state.settings.token_lifetime,
            "token_type": "Bearer",
            "scope": " ".join(scopes),
        }
    return JsonResponse(answer, headers=_NO_STORE)


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return "", ""
        return unquote_plus(client_id), unquote_plus(secret)
    return form.get("client_id", ""), form.get("client_secret", "")


def _error(code: str, status: int = 400, headers: dict[str, str] | None = None) -> Response:
    return JsonResponse({"error": code}, status, {**_NO_STORE, **(headers or {})})
