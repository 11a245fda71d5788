"""The argument ``if_exists`` of CreateSourceOperator: what to do if there is a source of this name already."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api.errors import ConflictError
from airflow_provider_cm.api.models import Source, describe_differences
from airflow_provider_cm.api.source_fields import CREATE_ONLY

if TYPE_CHECKING:
    from airflow_provider_cm.api.sources import SourcesApi

_log = logging.getLogger(__name__)


def adopt(sources: SourcesApi, existing: Source, wanted: dict[str, Any], if_exists: str) -> tuple[Source, str]:
    """Use an existing source in place of the one to create, as far as ``if_exists`` allows it.

    :param sources: the client.
    :param existing: the source.
    :param wanted: the values that the DAG gives, by their names in :data:`airflow_provider_cm.api.models.SETTABLE`.
    :param if_exists: ``match``, ``update``, ``ignore``, ``skip`` or ``fail``.
    :return: the source as it is then, and ``ALTER`` if it was updated, else an empty text.
    :raises ConflictError: if it must not be used; the message has the differences.
    :raises AirflowSkipException: for ``skip``.
    """
    where = f"source {existing.project}/{existing.name} (id {existing.id})"
    if if_exists == "fail":
        raise ConflictError(f"{where} exists already; to accept it, set if_exists to match, update or ignore")
    if if_exists == "skip":
        raise AirflowSkipException(f"{where} exists already")
    if if_exists == "ignore":
        _log.info("Found %s, taken as it is", where)
        return existing, ""
    differences, unknown = existing.compare(wanted)
    if unknown:
        # A read by name does not show every field on every server; a read by id may show more.
        existing = sources.get_by_id(existing.id)
        differences, unknown = existing.compare(wanted)
    if not differences and not unknown:
        _log.info("Found %s, which has every value that the task gives", where)
        return existing, ""
    if if_exists == "match":
        problems = []
        if differences:
            problems.append(f"it differs: {describe_differences(differences)}")
        if unknown:
            problems.append(f"the server does not show its {', '.join(unknown)} to compare")
        raise ConflictError(
            f"{where} exists already, and {'; '.join(problems)}. To change it, set if_exists to update; to take it as "
            "it is, to ignore",
            differences=differences,
        )
    _check_changeable(where, differences, unknown)
    changes = {name: wanted[name] for name in (*differences, *unknown)}
    _log.info("Updating source %s/%s: %s", existing.project, existing.name, ", ".join(sorted(changes)))
    return sources.update(existing.project, existing.name, **changes), "ALTER"


def _check_changeable(where: str, differences: dict[str, tuple[object, object]], unknown: list[str]) -> None:
    fixed = {name: pair for name, pair in differences.items() if name in CREATE_ONLY}
    if fixed:
        raise ConflictError(
            f"{where} exists, and its {describe_differences(fixed)}, which an update does not send; choose another "
            "name, or delete the source and its messages first",
            differences=fixed,
        )
    hidden = [name for name in unknown if name in CREATE_ONLY]
    if hidden:
        raise ConflictError(
            f"{where} exists, and the server does not show its {' and '.join(hidden)}, which an update does "
            f"not send; leave {' and '.join(hidden)} out to update the rest"
        )
