"""CommsMiningHook: a client of the API with the settings of an Airflow connection."""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from airflow.providers.common.compat.sdk import BaseHook, mask_secret

from airflow_provider_cm import metrics
from airflow_provider_cm.api.auth import Auth, DeveloperToken
from airflow_provider_cm.api.client_credentials import DEFAULT_SCOPE, ClientCredentials
from airflow_provider_cm.api.errors import AuthenticationError, CommsMiningError, ConfigurationError
from airflow_provider_cm.api.messages import MessagesApi
from airflow_provider_cm.api.redaction import NoFrames, Sealed
from airflow_provider_cm.api.retry import RetryPolicy
from airflow_provider_cm.api.session import ApiSession
from airflow_provider_cm.api.sources import SourcesApi
from airflow_provider_cm.get_provider_info import get_provider_info
from airflow_provider_cm.hooks.connection_settings import ConnectionLike, ConnectionSettings, parse_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.request_records import RequestRecord


# Airflow's API server tests a connection under a random id of this form (airflow.utils.strings.get_random_string).
_MADE_UP = re.compile(r"(?=.*[A-Z0-9])[A-Za-z0-9]{8}")
# Calls that a task makes by the thousands, and reports on itself.
_MANY = frozenset(
    f"sources/{{project}}/{{name}}/{call}" for call in ("sync", "sync-raw-emails", "comments", "comments/{id}")
)


class CommsMiningHook(BaseHook):
    """Talk to UiPath Communications Mining with the settings of an Airflow connection.

    The connection is read on first use, and the client is then reused: it is safe for any number of threads, and keeps
    its network connections. Each call leaves one line in the log (at DEBUG where a task makes thousands), and metrics
    (docs/metrics.md). The fields of the connection are described in docs/connections.md, and checked by
    :mod:`airflow_provider_cm.hooks.connection_settings`.

    :param comms_mining_conn_id: the connection, ``comms_mining_default`` by default.
    :param request_timeout: seconds without a byte after which a request has failed; the connection's ``read_timeout``
        by default.
    :param max_attempts: how often each call is tried; the connection's ``max_attempts`` by default.
    """

    conn_name_attr = "comms_mining_conn_id"
    default_conn_name = "comms_mining_default"
    conn_type = "comms_mining"
    hook_name = "UiPath Communications Mining"

    def __init__(
        self,
        comms_mining_conn_id: str = default_conn_name,
        *,
        request_timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> None:
        super().__init__()
        self.comms_mining_conn_id = comms_mining_conn_id
        self._connection: ConnectionLike | None = None
        self._request_timeout = request_timeout
        self._max_attempts = max_attempts
        self._session: ApiSession | None = None
        self._ui_url: str | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"CommsMiningHook({self.comms_mining_conn_id!r})"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the connection form to Airflow 3.0 and 3.1.

        Later versions read them from the provider's metadata, which is the only place where they are written.
        """
        (connection,) = get_provider_info()["connection-types"]
        return {name.replace("-", "_"): value for name, value in connection["ui-field-behaviour"].items()}

    @classmethod
    def from_connection(cls, connection: ConnectionLike, *, max_attempts: int | None = None) -> CommsMiningHook:
        """Make a hook from a connection that was looked up already, as asynchronous code must do itself.

        Such a hook does not look the connection up again, so it does not notice a replaced developer token.

        :param connection: an Airflow connection.
        :param max_attempts: overrides the connection's setting.
        """
        hook = cls(connection.conn_id, max_attempts=max_attempts)
        hook._connection = connection
        return hook

    def get_conn(self) -> ApiSession:
        """Return the client of the API.

        :raises ConfigurationError: when a setting of the connection is wrong, naming it.
        """
        if self._session is not None:
            return self._session  # without the lock, which might be held by another thread when a process forks
        with self._lock:
            if self._session is None:
                looked_up = self._connection is None
                settings = self._settings()
                self._ui_url = settings.ui_url  # before the session, whose being there means that all is
                self._session = self._make_session(settings, looked_up=looked_up)
            return self._session

    @property
    def sources(self) -> SourcesApi:
        """The sources of the connection's tenant."""
        return SourcesApi(self.get_conn())

    @property
    def messages(self) -> MessagesApi:
        """The messages of the tenant's sources; to load many, see :func:`airflow_provider_cm.loading.load`."""
        return MessagesApi(self.get_conn())

    def request(
        self,
        method: str,
        *segments: str,
        json: object = None,
        params: Mapping[str, object] | None = None,
        version: str = "v1",
    ) -> dict[str, Any]:
        """Call any endpoint of the API: ``hook.request("GET", "datasets", "acme")``.

        Parameters, result and errors are those of :meth:`airflow_provider_cm.api.ApiSession.request`.
        """
        return self.get_conn().request(method, *segments, json=json, params=params, version=version)

    def project_url(self, project: str) -> str | None:
        """Return the address of a project's page in the web interface. It sends no request.

        ``<endpoint>/projects/<project>`` appears in public code, and is not documented by the vendor; the connection's
        ``ui_url`` takes the endpoint's place.

        :param project: the project.
        :return: an https address; ``None`` where the web interface has no https, or no path can hold the name.
        :raises ConfigurationError: when a setting of the connection is wrong, naming it.
        """
        endpoint = self.get_conn().endpoint
        base = (self._ui_url or endpoint).rstrip("/")
        if urlsplit(base).scheme != "https" or project in {"", ".", ".."}:
            return None
        return f"{base}/projects/{quote(project, safe='')}"

    def test_connection(self) -> tuple[bool, str]:
        """List the sources that are visible, which proves the settings, the credentials and a permission.

        It makes one attempt, whatever the connection's retry settings, because somebody is waiting for the result.

        :return: whether it worked, and a message for Airflow's "Test" button.
        """
        try:
            sources = self._for_a_test().sources.list()
        except CommsMiningError as error:
            return False, self._named(str(error))
        if not sources:
            return True, (
                "Connected: the credentials are valid, but 0 sources are visible. Either there are none yet, or the "
                "permission 'View sources' is missing on their projects."
            )
        projects = {source.project for source in sources}
        return True, f"Connected: {_counted(len(projects), 'project')}, {_counted(len(sources), 'source')} visible."

    def _for_a_test(self) -> CommsMiningHook:
        hook = type(self)(self.comms_mining_conn_id, max_attempts=1)
        hook._connection = self._connection
        return hook

    def _named(self, problem: str) -> str:
        """Say whose problem it is, but for the id that Airflow makes up for a test in the web interface."""
        connection = f"connection '{self.comms_mining_conn_id}'"
        problem = problem.removeprefix(f"{connection}: ")
        made_up = _MADE_UP.fullmatch(self.comms_mining_conn_id)
        return f"{'this connection' if made_up else connection}: {problem}"

    def _settings(self) -> ConnectionSettings:
        # No variable holds the connection: its repr shows the password, in a traceback too.
        with NoFrames():
            return parse_connection(self._connection or self.get_connection(self.comms_mining_conn_id))

    def _make_session(self, settings: ConnectionSettings, *, looked_up: bool) -> ApiSession:
        if settings.proxy:
            _mask_proxy(settings.proxy)
        default = RetryPolicy()
        connect_timeout, read_timeout = settings.timeout
        return ApiSession(
            settings.endpoint,
            self._auth(settings, looked_up=looked_up),
            timeout=(connect_timeout, self._request_timeout or read_timeout),
            load_timeout=self._request_timeout or settings.load_timeout,
            retry=RetryPolicy(
                max_attempts=self._max_attempts or settings.max_attempts or default.max_attempts,
                max_seconds=settings.max_retry_seconds or default.max_seconds,
            ),
            verify=settings.verify,
            cert=settings.client_cert,
            proxies={"http": settings.proxy, "https": settings.proxy} if settings.proxy else None,
            observer=self._observe,
            on_wait=metrics.call_waited,
            guards=settings.guards,
            allow_http=settings.allow_http,
        )

    def _auth(self, settings: ConnectionSettings, *, looked_up: bool) -> Auth:
        try:
            if settings.app_id is not None and settings.identity_url is not None:
                return ClientCredentials(
                    settings.identity_url,
                    settings.app_id,
                    settings.secret,
                    settings.scope or DEFAULT_SCOPE,
                    on_token=mask_secret,
                    on_renewal=partial(metrics.token_renewed, "client_credentials"),
                    allow_http=settings.allow_http,
                )
            return DeveloperToken(
                settings.secret,
                reload=partial(self._reload_token, settings) if looked_up else None,
                on_renewal=partial(metrics.token_renewed, "developer_token"),
            )
        except ConfigurationError as error:
            problem = str(error)
        raise ConfigurationError(f"connection '{self.comms_mining_conn_id}': password: {problem}")

    def _reload_token(self, former: ConnectionSettings) -> str:
        """Return the developer token that is in the connection now, if it is still the same connection otherwise.

        :param former: the settings that the session was made with.
        :raises AuthenticationError: when the new token is meant for another place, or to be used in another way.
        """
        settings = self._settings()
        changed = settings.changed_since(former)
        if not changed:
            return settings.secret
        raise AuthenticationError(
            f"401 Unauthorized: the token was not accepted, and connection '{self.comms_mining_conn_id}' now leads "
            f"elsewhere or has other rules ({', '.join(changed)} changed), so its new credentials were not sent where "
            "the former ones went. Start the task again, so that it reads all of the connection.",
            status=401,
        )

    def _observe(self, record: RequestRecord) -> None:
        if record.route in _MANY and record.error is None and record.attempts == 1:
            self.log.debug("%s", record)
        else:
            self.log.info("%s", record)
        metrics.call_ended(record)


def _mask_proxy(url: str) -> None:
    with NoFrames():
        password = Sealed(urlsplit(url).password or "")
        for secret in {url, password, Sealed(unquote(password))} - {""}:
            mask_secret(secret)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
