"""One action of a plan as one write, and what its failure means for the others."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_cm.api.errors import (
    AuthenticationError,
    CommsMiningError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    TokenError,
)
from airflow_provider_cm.api.models import Source
from airflow_provider_cm.api.retry import RetryPolicy
from airflow_provider_cm.rollout.crew import Gate
from airflow_provider_cm.rollout.judging import ended, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout.actions import Action
    from airflow_provider_cm.rollout.report import Outcome

# A list that is older than this says too little of a source that is about to be deleted for good.
_FRESH = 1.0

_log = logging.getLogger(__name__)
_STOPS = (AuthenticationError, PermissionDeniedError, TokenError)


@dataclass(frozen=True)
class _SharedPolicy(RetryPolicy):
    """A policy whose waits, where the server asked for them, are everybody's."""

    hold: Callable[[float], None] = field(default=lambda _: None, repr=False, compare=False)

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait; a wait that the server asked for closes the gate."""
        if retry_after is not None and retry_after < self.max_seconds:
            self.hold(retry_after)
        return super().delay(failures, retry_after)


class Writer:
    """Carries actions out, in any number of threads.

    :param sources: the tenant.
    :param delete_nonempty: delete what holds messages or has a bucket, too.
    """

    def __init__(self, sources: SourcesApi, *, delete_nonempty: bool) -> None:
        policy = sources.session.retry
        self._policy = policy
        self._gate = gate = Gate(policy)
        # The same session, connections and credentials included; only that it waits together with the others.
        self._sources = copy.copy(sources)
        self._sources.session = copy.copy(sources.session)
        self._sources.session.retry = _SharedPolicy(
            policy.max_attempts,
            policy.max_seconds,
            policy.base,
            policy.cap,
            lambda seconds: policy.sleep(max(seconds, gate.remaining())),
            policy.clock,
            gate.hold,
        )
        self._delete_nonempty = delete_nonempty
        self._stopped: CommsMiningError | None = None
        self._listed_at = policy.clock()

    def listed(self) -> None:
        """Note that the sources have been listed just now."""
        self._listed_at = self._policy.clock()

    def carry_out(self, action: Action, source: Source | None) -> Outcome:
        """Carry an action out, and never raise for what becomes of it.

        :param action: to create, update or delete a source.
        :param source: the source, as it was last seen.
        """
        if self._stopped is None:
            self._gate.wait()
        if self._stopped is not None:
            renewable = isinstance(self._stopped, AuthenticationError | TokenError | RateLimitedError)
            reason = f"not tried, since nothing more would have worked: {self._stopped}"
            return ended(action, "skipped", reason, transient=renewable)
        try:
            if action.kind == "create":
                return self._create(action)
            if action.kind == "update":
                return self._update(action)
            return self._delete(action, cast("Source", source))
        except CommsMiningError as error:
            return self._failed(action, error)
        except Exception as error:  # noqa: BLE001  # the others go on, and the report tells of all
            _log.exception("%s/%s: unexpected", action.project, action.name)
            return ended(action, "failed", f"unexpected {type(error).__name__}: {error}")

    def _create(self, action: Action) -> Outcome:
        source = self._sources.create(action.project, action.name, **_arguments(action))
        if source.confirmed:
            return ended(action, "confirmed", "the response was lost; the source is as wanted", source.id)
        return ended(action, "done", "created", source.id)

    def _update(self, action: Action) -> Outcome:
        source = self._sources.update(action.project, action.name, **_arguments(action))
        if source.id != action.source_id:
            message = f"another source has this name now (id {source.id}), and it was changed instead"
            return ended(action, "failed", message)
        if source.confirmed:
            return ended(action, "confirmed", "the response was lost; the source is as wanted")
        return ended(action, "done", f"changed {', '.join(change.field for change in action.changes)}")

    def _delete(self, action: Action, source: Source) -> Outcome:
        source_id = source.id
        if self._policy.clock() - self._listed_at > _FRESH:
            source = Source.parse({**source.raw, **self._sources.get_by_id(source_id).raw})
            moved = judge(action, source)
            if moved is not None:
                return moved
        if not self._delete_nonempty and (kept := self._reason_to_keep(action, source)):
            return kept
        if self._sources.delete(source_id):
            return ended(action, "done", "deleted")
        return ended(action, "confirmed", "the response was lost; the source is gone")

    def _reason_to_keep(self, action: Action, source: Source) -> Outcome | None:
        remedy = "use delete_nonempty if it is to go all the same"
        if source.bucket_id is not None:
            return ended(action, "skipped", f"kept: bucket {source.bucket_id} is attached to it; {remedy}")
        try:
            count = self._sources.message_count(action.project, action.name)
        except (AuthenticationError, TokenError):
            raise
        except CommsMiningError as error:
            reason = f"kept: whether it holds messages could not be read; {remedy}. {error}"
            return ended(action, "skipped", reason, transient=error.transient)
        return ended(action, "skipped", f"kept: it holds {count} messages; {remedy}") if count else None

    def _failed(self, action: Action, error: CommsMiningError) -> Outcome:
        if isinstance(error, OutcomeUnknownError):
            if isinstance(error.__cause__, _STOPS):
                self._stopped = error.__cause__
            return ended(action, "unknown", str(error), transient=True)
        if isinstance(error, _STOPS):
            self._stopped = error
            renewable = isinstance(error, AuthenticationError | TokenError)
            return ended(action, "failed", str(error), transient=renewable)
        if isinstance(error, RateLimitedError):
            wait = error.retry_after or 0.0
            if wait < self._policy.max_seconds:
                self._gate.hold(wait)
            else:
                self._stopped = error  # the server asks for more patience than this session has
        if isinstance(error, NotFoundError) and action.kind == "delete":
            return ended(action, "unchanged", "it was gone already")
        # Refused at once, so nothing was changed; after an attempt whose response was lost, that cannot be said.
        refused = error.attempts <= 1 and error.method in {"PUT", "POST"}
        if refused and isinstance(error, NotFoundError) and action.kind == "update":
            return ended(action, "stale", f"it has vanished since the plan was made: {error}")
        if refused and isinstance(error, ConflictError) and error.status == 409 and action.kind == "create":
            return ended(action, "stale", f"it has been created since the plan was made: {error}")
        return ended(action, "failed", str(error), transient=error.transient)


def _arguments(action: Action) -> dict[str, Any]:
    arguments: dict[str, Any] = {change.field: change.after for change in action.changes}
    # None means "not sent" to the client, which has a word of its own for detaching.
    if action.kind == "update" and "bucket_id" in arguments:
        arguments["detach_bucket"] = arguments["bucket_id"] is None
    return arguments
