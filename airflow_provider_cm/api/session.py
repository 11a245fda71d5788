"""ApiSession: one authenticated, retried, observed JSON call.

Conventions of the API: the vendor's page "Using the API", sections "API endpoint", "Errors" and "Performance timing".
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cm import __version__
from airflow_provider_cm.api.calls import Call, CallOutcome, Check, Verdict
from airflow_provider_cm.api.clocks import Clocks
from airflow_provider_cm.api.echoes import Echoes
from airflow_provider_cm.api.endpoint import join_url, normalise_endpoint
from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConfigurationError,
    OutcomeUnknownError,
    ProtocolError,
    TokenError,
)
from airflow_provider_cm.api.guards import LOAD_TIMEOUT, Guards, is_load, is_reading_post
from airflow_provider_cm.api.request_records import Exchange, RequestRecord, RetryWait
from airflow_provider_cm.api.response_checks import expect_source
from airflow_provider_cm.api.retry import Budget, RetryPolicy, repeat
from airflow_provider_cm.api.transport import ExchangeFailure, Reply, Transport
from airflow_provider_cm.api.verdicts import judge, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_cm.api.auth import Auth, Bearer

_log = logging.getLogger(__name__)

# The vendor's edge rejects the default agents of some libraries, so this one is always named.
USER_AGENT = f"airflow-provider-cm/{__version__}"


class ApiSession:
    """A tenant's API, for any number of threads.

    :param endpoint: the tenant's URL, with or without ``/api``, ``/api/v1`` and slashes at the end.
    :param auth: :class:`DeveloperToken` or :class:`ClientCredentials`.
    :param timeout: seconds to connect, and seconds without a byte while reading.
    :param retry: limits for the attempts and the time of one call.
    :param verify: ``True`` for the usual certificate authorities, ``False`` for no check, or the path of a CA bundle.
        ``None``, the default, is ``True`` unless ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE`` names a bundle.
    :param cert: client certificate: the path of a PEM file, or the paths of certificate and key.
    :param proxies: proxy URLs by scheme; empty for none. ``None``, the default, is what the environment says.
    :param user_agent: value of the ``User-Agent`` header.
    :param observer: called with a :class:`RequestRecord` at the end of every call. A call does not fail if it does.
    :param on_wait: called with a :class:`RetryWait` after every wait of a call. A call does not fail if it does.
    :param guards: the calls that the session refuses.
    :param allow_http: let the token travel over plain http to other machines than this one.
    :param load_timeout: seconds without a byte while the server answers a load of messages, which takes longer.
    :raises ConfigurationError: for an endpoint to which no request can or should be sent.
    """

    def __init__(
        self,
        endpoint: str,
        auth: Auth,
        *,
        timeout: tuple[float, float] = (10, 60),
        retry: RetryPolicy | None = None,
        verify: bool | str | None = None,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        user_agent: str = USER_AGENT,
        observer: Callable[[RequestRecord], None] | None = None,
        on_wait: Callable[[RetryWait], None] | None = None,
        guards: Guards | None = None,
        allow_http: bool = False,
        load_timeout: float = LOAD_TIMEOUT,
    ) -> None:
        try:
            self.endpoint = normalise_endpoint(endpoint, allow_http=allow_http)
        except ConfigurationError:
            del proxies  # a traceback that shows variables must not show the password of one
            raise
        self.retry = retry or RetryPolicy()
        self.clocks = Clocks()
        self._auth = auth
        self._observer = observer
        self._on_wait = on_wait
        self._guards = guards or Guards()
        self._load_timeout = load_timeout
        self._transport = Transport(timeout=timeout, verify=verify, cert=cert, proxies=proxies, user_agent=user_agent)

    def __repr__(self) -> str:
        # A traceback that shows variables asks half-made objects too, and must not fail over them.
        return f"ApiSession({getattr(self, 'endpoint', '?')!r})"

    def request(
        self,
        method: str,
        *segments: str,
        json: object = None,
        params: Mapping[str, object] | None = None,
        version: str = "v1",
    ) -> dict[str, Any]:
        """Call any endpoint of the API and give the JSON object of the response.

        Reads are retried by the retry policy. A write is retried only if it was certainly not carried out (no
        connection, 408, 425, 429); :class:`SourcesApi` settles the other cases.

        :param method: HTTP method.
        :param segments: the path below ``/api/<version>``, one part each, unencoded:
            ``request("GET", "sources", "acme", "inbox")``.
        :param json: the request body.
        :param params: query parameters.
        :param version: ``v1`` by default; other endpoints are below ``_private`` or ``preview``.
        :raises CommsMiningError: one of its subclasses, see :mod:`airflow_provider_cm.api.errors`.
        """
        call = self.prepare(method, *segments, json=json, params=params, version=version)
        outcome = self.run(call, self.budget())
        if outcome.verdict is Verdict.UNKNOWN and not call.safe:
            raise self.unknown(call, "its outcome was not read back", outcome.error, outcome.sent)
        return outcome.unwrap()

    def prepare(
        self,
        method: str,
        *segments: str,
        json: object = None,
        body: bytes | None = None,
        params: Mapping[str, object] | None = None,
        version: str = "v1",
        route: str | None = None,
        permission: str | None = None,
        check: Check | None = None,
        clear: Callable[[str], str] | None = None,
    ) -> Call:
        """Check a call against the session's guards and encode it; parameters as for :meth:`request`.

        :param body: the request body as JSON already, instead of ``json``.
        :param route: the path with placeholders.
        :param permission: what the vendor's page says it needs.
        :param clear: takes what was sent out of what the server says of it; for a load that is done anyway.
        :param check: raises :class:`ProtocolError` for a success that is not an answer to this call.
        :raises ConfigurationError: when a guard forbids it, or a segment cannot be part of a path.
        """
        method = method.upper()
        url, path = join_url(self.endpoint, version, segments, params)
        self._guards.check(method, segments, self._owner_of, version)
        body, loads = body if json is None else _encode(json), is_load(method, segments)
        return Call(
            method,
            url,
            path,
            route or "/".join((segments[0], *("{}" for _ in segments[1:]))),
            body,
            method in {"GET", "HEAD"} or is_reading_post(method, segments, version),
            permission,
            check,
            Echoes(body) if loads and body else clear,
            self._load_timeout if loads else None,
        )

    def budget(self) -> Budget:
        """Return a fresh budget for one call."""
        return Budget(self.retry, self._on_wait)

    def run(self, call: Call, budget: Budget, *, once: bool = False, repeated: bool = False) -> CallOutcome:
        """Carry a call out, repeating what is sure to do no harm.

        :param call: from :meth:`prepare`.
        :param budget: attempts and time; every failed exchange takes from it.
        :param once: repeat nothing.
        :param repeated: the first request is a repetition already, for the observer.
        :return: never raises for what the server or the network did; ``Outcome.error`` has it.
        """
        started = budget.policy.clock()
        exchanges: list[Exchange] = []

        def attempt() -> CallOutcome:
            outcome = self._attempt(call, budget, exchanges)
            if outcome.verdict in {Verdict.NOT_DONE, Verdict.UNKNOWN}:
                budget.failures += 1  # a clear answer is not a failure, such as 404 for a read after a write
            return outcome

        def failure(outcome: CallOutcome) -> CommsMiningError | None:
            harmless = outcome.verdict is Verdict.NOT_DONE or (outcome.verdict is Verdict.UNKNOWN and call.safe)
            return outcome.error if harmless and not once and outcome.error and outcome.error.transient else None

        outcome = repeat(attempt, budget, failure)
        outcome.sent = len(exchanges)
        if outcome.error is not None and outcome.error.path == call.path:  # a token's error counts its own attempts
            outcome.error.attempts = outcome.sent
        self._observe(call, outcome, exchanges, budget.policy.clock() - started, repeated=repeated)
        return outcome

    def unknown(
        self, call: Call, last_seen: str, cause: CommsMiningError | None, attempts: int = 1
    ) -> OutcomeUnknownError:
        """Make the error for a write whose outcome could not be settled.

        :param call: the write.
        :param last_seen: what the last read of the source showed.
        :param cause: how the last exchange ended.
        :param attempts: how often the write was sent.
        """
        error = OutcomeUnknownError(
            f"it is not known whether this was carried out: {last_seen}. Last problem: {cause}. "
            "Look at the source before you repeat a create or a delete.",
            method=call.method,
            path=call.path,
            status=cause.status if cause else None,
            attempts=attempts,
        )
        error.__cause__ = cause
        return error

    def within(self, seconds: float) -> ApiSession:
        """Return a copy of this session with less time for each call; both share connections and token.

        :param seconds: the most that a call may take; the retry policy's time stays where it is less.
        """
        session = copy.copy(self)
        session.retry = replace(self.retry, max_seconds=min(self.retry.max_seconds, seconds))
        return session

    def close(self) -> None:
        """Close the connections of all threads; another call opens them anew."""
        self._transport.close()

    def _owner_of(self, source_id: str) -> str:
        call = self.prepare("GET", "sources", f"id:{source_id}", check=expect_source(source_id=source_id))
        source = self.run(call, self.budget()).unwrap().get("source")
        return str(source.get("owner", "")) if isinstance(source, dict) else ""

    def _attempt(self, call: Call, budget: Budget, exchanges: list[Exchange]) -> CallOutcome:
        """Send once, or twice if the token was refused and there is a new one; add each request to ``exchanges``."""
        try:
            bearer = self._auth.bearer(budget, self._transport)
        except CommsMiningError as error:
            # Nothing of the call was sent. Fetching a token has its own retries, so this is final.
            return CallOutcome(Verdict.REFUSED, error=error)
        except Exception as error:  # noqa: BLE001  # whatever a secrets backend raises
            return CallOutcome(Verdict.NOT_DONE, error=_no_token(error))
        outcome = self._exchange(call, bearer, budget, exchanges)
        if outcome.status != 401:
            return outcome
        try:
            renewed = self._auth.renew(bearer, budget, self._transport)
        except CommsMiningError as error:
            error.method, error.path = error.method or call.method, error.path or call.path
            return replace(outcome, error=error)
        except Exception as error:  # noqa: BLE001  # as above; and a 401 means that the call was not carried out
            return replace(outcome, verdict=Verdict.NOT_DONE, error=_no_token(error))
        return self._exchange(call, renewed, budget, exchanges) if renewed else outcome

    def _exchange(self, call: Call, bearer: Bearer, budget: Budget, exchanges: list[Exchange]) -> CallOutcome:
        clock = budget.policy.clock
        sent_at = clock()
        reply = self._transport.send(
            call.method, call.url, auth=bearer, seconds=budget.remaining(), body=call.body, patience=call.patience
        )
        outcome = self._judged(call, reply)
        outcome.answered_at = clock()
        exchanges.append(Exchange(outcome.status, _name(outcome.error), (outcome.answered_at - sent_at) * 1000))
        return outcome

    def _judged(self, call: Call, reply: Reply | ExchangeFailure) -> CallOutcome:
        try:
            outcome = judge(call, reply, [*self._auth.secrets(), *self._transport.secrets()])
        except Exception as error:  # noqa: BLE001  # after a write, the unexpected is an unknown outcome, not a crash
            _log.debug("unexpected %s in a response", type(error).__name__)
            outcome = unreadable(call, reply, error)
        if isinstance(outcome.error, ProtocolError):
            # A connection that is out of step once stays so for all that follow.
            self._transport.drop()
        return outcome

    def _observe(
        self, call: Call, outcome: CallOutcome, exchanges: list[Exchange], seconds: float, *, repeated: bool
    ) -> None:
        if self._observer is None:
            return
        record = RequestRecord(
            call.method,
            call.path,
            call.route,
            outcome.status,
            len(exchanges),
            seconds * 1000,
            outcome.platform_ms,
            _name(outcome.error),
            tuple(exchanges),
            max(0, len(exchanges) - (not repeated)),
        )
        try:
            self._observer(record)
        except Exception as error:  # noqa: BLE001  # whatever an observer raises, the call has ended as it has
            _log.debug("observer failed with %s; the call goes on", type(error).__name__)


def _no_token(error: Exception) -> TokenError:
    # Not its text, nor its frames, which may hold a secret.
    return TokenError(f"no token could be had ({type(error).__name__}); it may be there later", transient=True)


def _name(error: CommsMiningError | None) -> str | None:
    return type(error).__name__ if error else None


def _encode(body: object) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"json: the request body cannot be written as JSON: {error}") from None
