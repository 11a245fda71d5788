"""A client for the sources API, usable in a plain script: it never imports Airflow.

.. code-block:: python

    from airflow_provider_cm.api import ApiSession, DeveloperToken, SourcesApi

    session = ApiSession("https://cloud.uipath.com/acme/dev/reinfer_", DeveloperToken("..."))
    for source in SourcesApi(session).list("acme-dev"):
        print(source.name, source.title)

Names are loaded on first use, so that reading an error class does not cost the import of ``requests``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_cm.api.auth import DeveloperToken
    from airflow_provider_cm.api.client_credentials import ClientCredentials
    from airflow_provider_cm.api.endpoint import normalise_endpoint
    from airflow_provider_cm.api.errors import (
        ApiError,
        AuthenticationError,
        BadRequestError,
        CommsMiningError,
        ConfigurationError,
        ConflictError,
        NotFoundError,
        NotShownError,
        OutcomeUnknownError,
        PermissionDeniedError,
        ProtocolError,
        RateLimitedError,
        ServerError,
        TokenError,
        TransportError,
    )
    from airflow_provider_cm.api.guards import Guards
    from airflow_provider_cm.api.messages import MessagesApi, SyncResult
    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.request_records import Exchange, RequestRecord, RetryWait
    from airflow_provider_cm.api.retry import RetryPolicy
    from airflow_provider_cm.api.session import ApiSession
    from airflow_provider_cm.api.sources import SourcesApi

_HOME = {
    "ApiError": "errors",
    "ApiSession": "session",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "ClientCredentials": "client_credentials",
    "CommsMiningError": "errors",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "DeveloperToken": "auth",
    "Exchange": "request_records",
    "Guards": "guards",
    "MessagesApi": "messages",
    "NotFoundError": "errors",
    "OutcomeUnknownError": "errors",
    "PermissionDeniedError": "errors",
    "NotShownError": "errors",
    "ProtocolError": "errors",
    "RateLimitedError": "errors",
    "RequestRecord": "request_records",
    "RetryPolicy": "retry",
    "RetryWait": "request_records",
    "ServerError": "errors",
    "Source": "models",
    "SourcesApi": "sources",
    "SyncResult": "messages",
    "TokenError": "errors",
    "TransportError": "errors",
    "normalise_endpoint": "endpoint",
}

__all__ = [
    "ApiError",
    "ApiSession",
    "AuthenticationError",
    "BadRequestError",
    "ClientCredentials",
    "CommsMiningError",
    "ConfigurationError",
    "ConflictError",
    "DeveloperToken",
    "Exchange",
    "Guards",
    "MessagesApi",
    "NotFoundError",
    "NotShownError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitedError",
    "RequestRecord",
    "RetryPolicy",
    "RetryWait",
    "ServerError",
    "Source",
    "SourcesApi",
    "SyncResult",
    "TokenError",
    "TransportError",
    "normalise_endpoint",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
