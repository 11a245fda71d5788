"""Sources as Airflow assets: their URIs, and the asset events of tasks.

A source's asset has the URI ``comms-mining://<host>/<path of the endpoint>/<project>/<source>``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import airflow
from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_cm.api.endpoint import normalise_endpoint
from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.api.names import check_project, check_source_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.sdk import AssetWatcher

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

SCHEME = "comms-mining"
_DEFAULT_CONNECTION = "comms_mining_default"
_EXPECTED = f"expected {SCHEME}://<host>/<path of the endpoint>/<project>/<source>"
_PATH_CHARACTERS = "!$&'()*+,;=:@"  # what RFC 3986 allows in a segment beside letters, digits and -._~


def source_uri(endpoint: str, project: str, source_name: str) -> str:
    """Return the URI of a source's asset.

    :param endpoint: the tenant's API endpoint, such as ``https://cloud.uipath.com/acme/dev/reinfer_``.
    :param project: the project.
    :param source_name: the source's name.
    :return: the URI, such as ``comms-mining://cloud.uipath.com/acme/dev/reinfer_/acme-dev/inbox``.
    :raises ConfigurationError: for an invalid endpoint.
    :raises ValueError: for a name that cannot be part of a path.
    """
    # The connection decides whether plain http is allowed; an asset's URI carries no credentials.
    parts = urlsplit(normalise_endpoint(endpoint, allow_http=True))
    below = "/".join(quote(segment, safe="") for segment in (project, source_name))
    return sanitize_uri(SplitResult(SCHEME, parts.netloc, f"{parts.path}/{below}", "", "")).geturl()


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check the URI of a source's asset, and normalize it; Airflow calls this for each one.

    :param uri: the URI, split.
    :return: the same with the host in lower case, and percent-encoded only where necessary.
    :raises ValueError: for a URI that is not a source's; the message says why.
    """
    shown = printable(uri.path, 200)
    if "@" in uri.netloc:
        raise ValueError(f"The URI of a source has no credentials; remove what stands before the '@'. {_EXPECTED}")
    if uri.query or uri.fragment:
        raise ValueError(f"The URI of a source has no query and no fragment; remove what follows {shown}. {_EXPECTED}")
    try:
        host, port = uri.hostname, uri.port
        segments = [unquote(segment, errors="strict") for segment in uri.path.split("/")[1:]]
    except ValueError:
        raise ValueError(f"The port or the percent-encoding of this URI is wrong: {shown}. {_EXPECTED}") from None
    if not host:
        raise ValueError(f"This URI of a source names no host: {shown}. {_EXPECTED}")
    # A slash within a segment stays encoded, but readers of the URI may decode it before they resolve "..".
    if any({"", ".", ".."} & set(segment.split("/")) for segment in segments):
        raise ValueError(f"This URI of a source has an empty, '.' or '..' part: {shown}. {_EXPECTED}")
    if len(segments) < 2:  # project and source
        raise ValueError(f"This URI names no project and source: {shown}. {_EXPECTED}")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    path = "/".join(quote(segment, safe=_PATH_CHARACTERS) for segment in segments)
    return SplitResult(SCHEME, netloc, f"/{path}", "", "")


def source_asset(
    project: str,
    source_name: str,
    *,
    comms_mining_conn_id: str | None = None,
    endpoint: str | None = None,
    name: str | None = None,
    watchers: Sequence[AssetWatcher] | None = None,
) -> Asset:
    """Make the asset of a source, for a DAG's ``schedule`` or a task's ``outlets``.

    With a connection, this looks the connection up each time that the DAG file is parsed: in an environment variable of
    the DAG processor, in a secrets backend (a request), or through the DAG processor in Airflow's database. A missing
    connection is an import error of the DAG. With ``endpoint`` there is no lookup.

    :param project: the project. An asset belongs to the DAG, not to a run of it, so this is no template.
    :param source_name: the source's name; no template either.
    :param comms_mining_conn_id: the connection, ``comms_mining_default`` by default.
    :param endpoint: the tenant's API endpoint, instead of the connection.
    :param name: the asset's name; its URI by default. Airflow compares name and URI, so only an asset with the URI as
        its name is the same as ``Asset(uri)``, and as those that an alias gets.
    :param watchers: the asset's watchers; none by default.
    :raises ConfigurationError: for names that no source can have, for an invalid endpoint, or for both an endpoint and
        a connection.
    :raises AirflowNotFoundException: if there is no such connection.
    """
    check_project(project)
    check_source_name(source_name)
    if endpoint is None:
        endpoint = _endpoint_of(comms_mining_conn_id or _DEFAULT_CONNECTION)
    elif comms_mining_conn_id is not None:
        raise ConfigurationError("endpoint, comms_mining_conn_id: give one of the two")
    uri = source_uri(endpoint, project, source_name)
    return Asset(name=name or uri, uri=uri, watchers=list(watchers or ()))


def write_outlet_events(
    operator: Any,
    context: Any,
    hook: CommsMiningHook,
    extra: Mapping[str, Any],
    sources: Iterable[tuple[str, str, Mapping[str, Any]]] = (),
) -> None:
    """Describe a task's run in its asset events. Airflow emits them when the task succeeds.

    Each asset among the task's outlets gets ``extra``. Each asset alias gets the assets of the sources, so that a
    source can start a DAG although nobody knew its name when the DAG was parsed. On Airflow 3.0, lists and objects in
    these events are JSON text.

    :param operator: the task, with its outlets.
    :param context: the task's context; without outlet events in it, nothing is written.
    :param hook: the task's hook, which knows the endpoint. It sends no request.
    :param extra: JSON values for every event.
    :param sources: project, name and further JSON values of each source that an alias gets.
    :raises ConfigurationError: if a setting of the connection is wrong.
    """
    events = context.get("outlet_events")
    if events is None:
        return
    sources = list(sources)
    for outlet in operator.outlets:
        try:
            event = events[outlet]
        except TypeError:  # outlets can hold other things than assets
            continue
        if not isinstance(outlet, AssetAlias):
            event.extra = {**event.extra, **extra}
            continue
        for project, source_name, more in sources:
            uri = source_uri(hook.get_conn().endpoint, project, source_name)
            event.add(Asset(name=uri, uri=uri), extra=_for_alias({**extra, **more}))


def write_partition(operator: Any, context: Any, key: str) -> None:
    """Return the asset events of a task a partition's key, from Airflow 3.2 on; before, there is none to give.

    Events of an alias have none.

    :param operator: the task, with its outlets.
    :param context: the task's context; without outlet events in it, nothing is written.
    :param key: the key.
    """
    events = context.get("outlet_events")
    for outlet in operator.outlets if events is not None else ():
        if isinstance(outlet, Asset) and hasattr(events[outlet], "add_partitions"):
            events[outlet].add_partitions(key)


def _for_alias(extra: dict[str, Any]) -> dict[str, Any]:
    # Airflow 3.0 hashes the values. If one has no hash, it fails the task after its work is done.
    if tuple(int(part) for part in airflow.__version__.split(".")[:2]) >= (3, 1):
        return extra
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for key, value in extra.items()
    }


def _endpoint_of(conn_id: str) -> str:
    from airflow.providers.common.compat.sdk import BaseHook

    from airflow_provider_cm.hooks.connection_settings import parse_endpoint

    return parse_endpoint(BaseHook.get_connection(conn_id))
