"""Carries out one action of a plan, and decides whether its failure stops the others."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cm.api.errors import (
    AuthenticationError,
    BadRequestError,
    CommsMiningError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    TokenError,
)
from airflow_provider_cm.rollout.planning import difference
from airflow_provider_cm.rollout.preconditions import Ending, cut_off, difference_text, ended, judge, not_begun
from airflow_provider_cm.rollout.rate_limit_pause import RateLimitPause, SharedPauseBudget

if TYPE_CHECKING:
    import threading

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.retry import RetryPolicy
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout.actions import Action

_log = logging.getLogger(__name__)
_STOPS = (AuthenticationError, PermissionDeniedError, TokenError)


class Executor:
    """Carries out actions, in any number of threads.

    :param sources: the tenant.
    :param delete_nonempty: whether to delete sources that hold messages or have a bucket.
    :param stop: once it is set, no further action begins and no call waits.
    """

    def __init__(self, sources: SourcesApi, *, delete_nonempty: bool, stop: threading.Event | None = None) -> None:
        policy = sources.session.retry
        self._policy = policy
        self._pause = RateLimitPause(policy, stop)
        self._sources = self._sharing(sources, policy)
        # Each attempt of a delete needs a read right before it, so the client must not retry by itself.
        self._once = self._sharing(sources, replace(policy, max_attempts=1))
        self._delete_nonempty = delete_nonempty
        self._stopped: CommsMiningError | None = None

    def _sharing(self, sources: SourcesApi, policy: RetryPolicy) -> SourcesApi:
        """Return a copy of the client, with the same connections and credentials, whose calls share the pause."""
        shared = copy.copy(sources)
        shared.session = session = copy.copy(sources.session)
        session.retry = policy = replace(policy, sleep=self._pause.sleep)
        on_wait = session.budget().on_wait
        session.budget = lambda: SharedPauseBudget(policy, on_wait, self._pause)  # type: ignore[method-assign]
        return shared

    def carry_out(self, action: Action, source: Source | None) -> Ending:
        """Carry out an action; an error is its ending and never raises.

        :param action: an action that creates, updates or deletes a source.
        :param source: the source as it was listed; ``None`` if it is missing.
        """
        if self._stopped is None:
            self._pause.wait()
        if self._pause.stopped():
            return Ending(not_begun(action), sent="no")
        if self._stopped is not None:
            renewable = isinstance(self._stopped, AuthenticationError | TokenError | RateLimitedError)
            reason = f"not tried, since nothing more would have worked: {self._stopped}"
            return Ending(ended(action, "skipped", reason, transient=renewable), sent="no")
        try:
            if action.kind == "create":
                return self._create(action)
            if action.kind == "update":
                return self._update(action)
            return self._delete(action, cast("Source", source))
        except CommsMiningError as error:
            return self._failed(action, error)
        except Exception as error:  # noqa: BLE001  # the other actions go on, and the report has all of them
            _log.exception("%s/%s: unexpected", action.project, action.name)
            return Ending(ended(action, "failed", f"unexpected {type(error).__name__}: {error}"))

    def _create(self, action: Action) -> Ending:
        source = self._sources.create(action.project, action.name, **_arguments(action))
        if source.confirmed:
            return Ending(ended(action, "confirmed", "the response was lost; the source is as wanted", source.id))
        return _accepted(action, source, "created")

    def _update(self, action: Action) -> Ending:
        source = self._sources.update(action.project, action.name, **_arguments(action))
        if source.id != action.source_id:
            message = f"another source has this name now (id {source.id}), and it was changed instead"
            return Ending(ended(action, "failed", message))
        if source.confirmed:
            return Ending(ended(action, "confirmed", "the response was lost; the source is as wanted"))
        return _accepted(action, source, f"changed {', '.join(change.field for change in action.changes)}")

    def _delete(self, action: Action, source: Source) -> Ending:
        """Delete a source, with a read right before each attempt."""
        if not self._delete_nonempty and (ending := self._reason_to_keep(action, source)):
            return ending
        budget = self._sources.session.budget()
        doubtful = False
        while True:
            refused = self._look(action, source.id, doubtful=doubtful)
            if refused is not None:
                return refused
            try:
                if self._once.delete(source.id, project=action.project):
                    return Ending(ended(action, "done", "deleted"))
                return Ending(ended(action, "confirmed", "the response was lost; the source is gone"))
            except CommsMiningError as error:
                budget.failures += 1
                doubtful = doubtful or isinstance(error, OutcomeUnknownError)
                seconds = budget.pause(error.retry_after) if error.transient else None
                if seconds is None:
                    if doubtful and not isinstance(error, OutcomeUnknownError):
                        return replace(self._failed(action, error), sent="perhaps")
                    return self._failed(action, error)
                _log.warning("%s; looking at it again in %.1f s", error, seconds)
                budget.wait(seconds, error)

    def _look(self, action: Action, source_id: str, *, doubtful: bool) -> Ending | None:
        """Read a source right before its delete; ``None`` if the delete may go on.

        If the server asks another call to wait meanwhile, the read is repeated after that pause.

        :param action: the delete.
        :param source_id: the source.
        :param doubtful: whether an earlier attempt may have deleted the source.
        """
        for _ in range(self._policy.max_attempts):
            self._pause.wait()
            if self._pause.stopped():
                return Ending(cut_off(action)) if doubtful else Ending(not_begun(action), sent="no")
            try:
                source = self._sources.get_by_id(source_id)
            except NotFoundError as error:
                if doubtful:
                    return Ending(ended(action, "confirmed", "the response was lost; the source is gone"))
                return Ending(ended(action, "unchanged", f"it is gone already: {error}"), sent="no")
            moved = judge(action, source)
            if moved is not None:
                return Ending(moved, sent="perhaps" if doubtful else "no")
            if source.bucket_id is not None and not self._delete_nonempty:
                return _kept(action, f"bucket {source.bucket_id} is attached to it")
            if self._pause.remaining() == 0:
                return None
        reason = "the server asked to wait each time that it had been read, so it was left alone"
        return Ending(ended(action, "failed", reason, transient=True), sent="perhaps" if doubtful else "no")

    def _reason_to_keep(self, action: Action, source: Source) -> Ending | None:
        if source.bucket_id is not None:
            return _kept(action, f"bucket {source.bucket_id} is attached to it")
        try:
            count = self._sources.message_count(action.project, action.name)
        except (AuthenticationError, TokenError):
            raise
        except CommsMiningError as error:
            return _kept(action, "whether it holds messages could not be read", error)
        return _kept(action, f"it holds {count} messages") if count else None

    def _failed(self, action: Action, error: CommsMiningError) -> Ending:
        if isinstance(error, OutcomeUnknownError):
            if isinstance(error.__cause__, _STOPS):
                self._stopped = error.__cause__
            return Ending(ended(action, "unknown", str(error), transient=True))
        transient = error.transient or isinstance(error, AuthenticationError | TokenError)
        outcome = ended(action, "failed", str(error), transient=transient)
        if isinstance(error, _STOPS):
            self._stopped = error
        if isinstance(error, RateLimitedError) and (error.retry_after or 0.0) >= self._policy.max_seconds:
            self._stopped = error  # the server asks for a longer wait than this session allows
        if isinstance(error, ConfigurationError):
            return Ending(outcome, sent="no")
        if isinstance(error, ConflictError) and error.status == 200:
            return Ending(outcome, settled=True)  # the write may have changed another source, whatever the list shows
        # Refused at the first attempt, so nothing was changed. After an attempt whose response was lost, nobody knows.
        refused = isinstance(error, BadRequestError | NotFoundError | ConflictError) and error.status is not None
        return Ending(outcome, sent="refused" if refused and error.attempts <= 1 else "perhaps")


def _accepted(action: Action, source: Source, message: str) -> Ending:
    """Return the ending of a write that the server accepted, by the source in its response."""
    differing, _ = difference(source, action.after)
    if not differing:
        return Ending(ended(action, "done", message, source.id))
    text = difference_text(differing, action.after)
    return Ending(ended(action, "failed", f"the server accepted it, but answered with something else: {text}"))


def _kept(action: Action, reason: str, error: CommsMiningError | None = None) -> Ending:
    message = f"kept: {reason}; use delete_nonempty if it is to go all the same" + (f". {error}" if error else "")
    return Ending(ended(action, "skipped", message, transient=error is not None and error.transient), sent="no")


def _arguments(action: Action) -> dict[str, Any]:
    arguments: dict[str, Any] = {change.field: change.after for change in action.changes}
    # To the client, None means "not sent"; an argument of its own detaches a bucket.
    if action.kind == "update" and "bucket_id" in arguments:
        arguments["detach_bucket"] = arguments["bucket_id"] is None
    return arguments
