"""Whether a source holds what was created: its messages are counted before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import CommsMiningError, PermissionDeniedError
from airflow_provider_cm.loading.report import LoadError

if TYPE_CHECKING:
    from airflow_provider_cm.loading.sending import Target

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


def count_messages(target: Target) -> int:
    """Count the messages of a source.

    :param target: the source.
    :raises LoadError: when they cannot be counted.
    """
    try:
        return target.messages.count(target.project, target.source_name)
    except CommsMiningError as error:
        hint = " verify=False loads without counting." if isinstance(error, PermissionDeniedError) else ""
        failure = LoadError(
            f"verify: the messages of the source could not be counted: {error}{hint}",
            transient=error.transient,
            status=error.status,
            api_message=error.api_message,
            retry_after=error.retry_after,
        )
        raise failure from error


def wait_for_messages(target: Target, before: int, new: int, least: int) -> None:
    """Wait until a source holds the messages of a load, for as long as the session lets a call take.

    Others who load at the same time can only make the number larger, so "at least" is what is proven.

    :param target: the source.
    :param before: how many messages it had.
    :param new: how many were created.
    :param least: how many it must hold.
    :raises LoadError: when it holds fewer at the end.
    """
    policy = target.messages.session.retry
    until, pause = policy.clock() + policy.max_seconds, _FIRST_PAUSE
    while (count := count_messages(target)) < least:
        if policy.clock() + pause > until:
            raise LoadError(
                f"verify: the source had {before:,} messages, {new:,} were created, and it has {count:,} after "
                f"{policy.max_seconds:g} s instead of {least:,} or more: messages are missing, or somebody deletes "
                "some at the same time, or the server counts late. Loading again costs nothing"
            )
        policy.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
