"""The settings of an Airflow connection, checked field by field.

A setting that is wrong, misspelled or contradicts another one fails here, before any request; the error names the field
and what it should be, and never shows a secret.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.endpoint import check_url, normalise_endpoint
from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.guards import LOAD_TIMEOUT, Guards
from airflow_provider_cm.api.redaction import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

EXTRAS = (
    "organization",
    "tenant",
    "identity_url",
    "scope",
    "read_only",
    "allow_delete",
    "allow_load",
    "allowed_projects",
    "connect_timeout",
    "read_timeout",
    "max_attempts",
    "max_retry_seconds",
    "verify",
    "client_cert",
    "proxy",
    "allow_http",
    "ui_url",
)


class ConnectionLike(Protocol):
    """The fields of an Airflow connection that are read here, whichever class of Airflow's it is."""

    conn_id: Any
    host: Any
    login: Any
    password: Any
    schema: Any
    port: Any
    extra: Any


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """A connection's settings, ready for use.

    :param endpoint: normalised endpoint.
    :param secret: developer token or App Secret.
    :param app_id: App ID of an external application; ``None`` for a developer token.
    :param identity_url: token endpoint, for an external application.
    :param scope: scopes, for an external application; ``None`` for the default.
    :param timeout: seconds to connect, and seconds without a byte.
    :param load_timeout: seconds without a byte while a load of messages is answered.
    :param max_attempts: ``None`` for the default.
    :param max_retry_seconds: ``None`` for the default.
    :param verify: see :class:`airflow_provider_cm.api.ApiSession`.
    :param client_cert: the same.
    :param proxy: URL of a proxy, which can hold a password.
    :param allow_http: plain http is accepted to any host.
    :param ui_url: where the web interface is, if not at the endpoint.
    :param guards: the calls that the connection refuses.
    """

    endpoint: str
    secret: str = field(repr=False)
    app_id: str | None
    identity_url: str | None
    scope: str | None
    timeout: tuple[float, float]
    load_timeout: float
    max_attempts: int | None
    max_retry_seconds: float | None
    verify: bool | str | None
    client_cert: str | tuple[str, str] | None
    proxy: str | None = field(repr=False)
    allow_http: bool
    ui_url: str | None
    guards: Guards

    def changed_since(self, former: ConnectionSettings) -> list[str]:
        """Name the fields that differ, of those that say where credentials go and what may be done with them.

        :param former: settings of the same connection at an earlier time.
        """
        return [name for field, name in _BINDING.items() if getattr(self, field) != getattr(former, field)]


_BINDING = {
    "endpoint": "host",
    "app_id": "login",
    "identity_url": "identity_url",
    "scope": "scope",
    "verify": "verify",
    "client_cert": "client_cert",
    "proxy": "proxy",
    "allow_http": "allow_http",
    "guards": "the guards",
}


@dataclass(frozen=True, slots=True)
class _Fields:
    """A connection's fields; Airflow's own class shows the password in its repr, and a traceback shows variables."""

    conn_id: str
    host: str = field(repr=False)
    login: str = field(repr=False)
    password: Sealed = field(repr=False)
    schema: object = field(repr=False)
    port: object = field(repr=False)
    extra: object = field(repr=False)

    @classmethod
    def of(cls, connection: ConnectionLike) -> _Fields:
        """Take the fields out of a connection, as they are."""
        return cls(
            str(connection.conn_id),
            (connection.host or "").strip(),
            (connection.login or "").strip(),
            Sealed(connection.password or ""),
            connection.schema,
            connection.port,
            Sealed(connection.extra) if isinstance(connection.extra, str) else connection.extra,
        )


def parse_connection(connection: ConnectionLike) -> ConnectionSettings:
    """Read a connection.

    :param connection: an Airflow connection.
    :raises ConfigurationError: naming the connection, the field, and what it should be.
    """
    fields = _Fields.of(connection)
    del connection  # see _Fields
    return _read(fields, _parse)


def parse_endpoint(connection: ConnectionLike) -> str:
    """Read only where a connection leads.

    The rest is not judged, since it may be right on the workers only: the path of a CA bundle, for one.

    :param connection: an Airflow connection.
    :return: the normalised endpoint.
    :raises ConfigurationError: naming the connection, the field, and what it should be.
    """
    fields = _Fields.of(connection)
    del connection  # see _Fields
    return _read(fields, _parse_endpoint)


def _read(fields: _Fields, parse: Callable[[_Fields, dict[str, Any]], T]) -> T:
    try:
        return parse(fields, _extra(fields.extra))
    except ConfigurationError as error:
        problem = str(error)
    # Outside of the handler, so that the error has no frames whose variables hold the fields.
    raise ConfigurationError(f"connection '{fields.conn_id}': {problem}")


def _parse_endpoint(fields: _Fields, extra: Mapping[str, Any]) -> str:
    if fields.port:
        raise ConfigurationError("port: write it into the host, e.g. https://cm.example.com:8443, and leave port empty")
    if fields.schema:
        raise ConfigurationError("schema: it is not used; write https:// into the host, and leave schema empty")
    return _endpoint(fields.host, extra, _take(extra, "allow_http", arguments.boolean) or False)


def _parse(fields: _Fields, extra: Mapping[str, Any]) -> ConnectionSettings:
    endpoint = _parse_endpoint(fields, extra)
    allow_http = _take(extra, "allow_http", arguments.boolean) or False
    app_id = fields.login or None
    if not fields.password:
        what = "the App Secret of the application in login" if app_id else "the developer API token"
        raise ConfigurationError(f"password: it is empty; put {what} there")
    identity_url, scope = _identity(extra, app_id, endpoint, allow_http)
    read_timeout = _take(extra, "read_timeout", arguments.seconds)
    return ConnectionSettings(
        endpoint=endpoint,
        secret=fields.password,
        app_id=app_id,
        identity_url=identity_url,
        scope=scope,
        timeout=(_take(extra, "connect_timeout", arguments.seconds) or 10.0, read_timeout or 60.0),
        load_timeout=read_timeout or LOAD_TIMEOUT,
        max_attempts=_take(extra, "max_attempts", lambda value, name: arguments.integer(value, name, minimum=1)),
        max_retry_seconds=_take(extra, "max_retry_seconds", arguments.seconds),
        verify=_take(extra, "verify", _verify),
        client_cert=_take(extra, "client_cert", _client_cert),
        proxy=_take(extra, "proxy", _proxy),
        allow_http=allow_http,
        ui_url=_take(extra, "ui_url", lambda value, name: check_url(arguments.text(value, name), name)),
        guards=Guards(
            read_only=_take(extra, "read_only", arguments.boolean) or False,
            allow_delete=_take(extra, "allow_delete", arguments.boolean) is not False,
            allow_load=_take(extra, "allow_load", arguments.boolean) is not False,
            allowed_projects=_take(extra, "allowed_projects", _patterns),
        ),
    )


def _extra(extra: object) -> dict[str, Any]:
    """Read the extra without Airflow's help, which takes broken JSON for an empty extra: guards would be gone."""
    if extra is None or (isinstance(extra, str) and not extra.strip()):
        return {}
    try:
        fields = json.loads(extra) if isinstance(extra, str | bytes) else extra
    except (ValueError, RecursionError):
        raise ConfigurationError("extra: it is not valid JSON; expected an object such as {}") from None
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ConfigurationError("extra: it is not a JSON object; expected one such as {}")
    for name in fields:
        if name not in EXTRAS:
            close = difflib.get_close_matches(str(name), EXTRAS, n=1)
            meant = f"did you mean `{close[0]}`? " if close else ""
            raise ConfigurationError(
                f"extra: there is no field `{printable(str(name), 60)}`; {meant}The fields are {', '.join(EXTRAS)}"
            )
    if isinstance(fields.get("proxy"), str):
        fields = {**fields, "proxy": Sealed(fields["proxy"])}
    # A form leaves empty text where nothing was typed.
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _take(extra: Mapping[str, Any], name: str, parse: Callable[[Any, str], T]) -> T | None:
    return parse(extra[name], name) if name in extra else None


def _endpoint(host: str, extra: Mapping[str, Any], allow_http: bool) -> str:
    organization = _take(extra, "organization", arguments.identifier)
    tenant = _take(extra, "tenant", arguments.identifier)
    if not host:
        raise ConfigurationError(
            "host: it is empty; put the endpoint there, e.g. https://cloud.uipath.com/<organization>/<tenant>/reinfer_ "
            "or https://<domain>.reinfer.io"
        )
    if bool(organization) != bool(tenant):
        raise ConfigurationError("organization and tenant: give both of them, or write both into the host")
    if not (organization and tenant):
        return _normalise(host, allow_http)
    url = host.rstrip("/") if "://" in host else f"https://{host.rstrip('/')}"
    below = f"/{quote(organization, safe='')}/{quote(tenant, safe='')}/reinfer_"
    if not urlsplit(url).path.strip("/"):
        return _normalise(url + below, allow_http)
    endpoint = _normalise(url, allow_http)
    if not endpoint.endswith(below):
        raise ConfigurationError(
            f"organization and tenant: they contradict the path in the host, which is {urlsplit(endpoint).path}; "
            "give them in one place"
        )
    return endpoint


def _normalise(url: str, allow_http: bool) -> str:
    try:
        return normalise_endpoint(url, allow_http=allow_http)
    except ConfigurationError as error:
        problem = str(error)
    # The user finds it in the connection's field `host`.
    raise ConfigurationError(f"host: {problem.removeprefix('endpoint: ')}")


def _identity(
    extra: Mapping[str, Any], app_id: str | None, endpoint: str, allow_http: bool
) -> tuple[str | None, str | None]:
    identity_url = _take(extra, "identity_url", arguments.text)
    scope = _take(extra, "scope", arguments.text)
    if app_id is None:
        for name, value in (("identity_url", identity_url), ("scope", scope)):
            if value:
                raise ConfigurationError(
                    f"{name}: it belongs to an external application; put the App ID into login, or leave {name} out"
                )
        return None, None
    if identity_url:
        return check_url(identity_url, "identity_url", allow_http=allow_http), scope
    parts = urlsplit(endpoint)
    segments = parts.path.split("/")[1:]
    if len(segments) != 3 or segments[-1] != "reinfer_":
        raise ConfigurationError(
            "identity_url: give the token endpoint; it can be derived only from an endpoint such as "
            "https://cloud.uipath.com/<organization>/<tenant>/reinfer_ (to use a developer token, leave login empty)"
        )
    return f"{parts.scheme}://{parts.netloc}/{segments[0]}/identity_/connect/token", scope


def _verify(value: object, name: str) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in {"true", "false"}):
        return arguments.boolean(value, name)
    path = arguments.text(value, name)
    if not Path(path).exists():
        raise ConfigurationError(
            f"{name}: there is no file '{printable(path)}' on this machine; give true, false, or a CA bundle's path"
        )
    return path


def _client_cert(value: object, name: str) -> str | tuple[str, str]:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or len(paths) not in {1, 2} or not all(isinstance(path, str) for path in paths):
        raise ConfigurationError(f"{name}: give the path of a PEM file, or a list of two paths: certificate and key")
    for path in paths:
        if not Path(path).is_file():
            raise ConfigurationError(f"{name}: there is no file '{printable(path)}' on this machine")
    return paths[0] if len(paths) == 1 else (paths[0], paths[1])


def _proxy(value: object, name: str) -> str:
    if not _is_proxy_url(value):
        del value  # it can hold a password, which a traceback that shows variables must not show
        raise ConfigurationError(f"{name}: it is not a URL such as http://user:password@proxy.example.com:3128")
    return Sealed(value)


def _is_proxy_url(value: object) -> bool:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _patterns(value: object, name: str) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    patterns = tuple(pattern.strip() for pattern in arguments.text_list(listed, name))
    if not patterns:
        # Whoever wrote an empty list may have meant none as well as all, so it is neither.
        raise ConfigurationError(f"{name}: the list is empty; to allow no project set read_only, for all leave it out")
    if not all(patterns):
        raise ConfigurationError(f"{name}: one of its patterns is empty; give names or patterns such as acme-dev*")
    return patterns
