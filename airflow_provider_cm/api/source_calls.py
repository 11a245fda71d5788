"""The requests of the sources endpoints: paths, permissions, bodies, and the checks of their responses.

Methods, paths, bodies, fields and permissions: the vendor's page "Sources"; ``_kind``, ``email_transform_tag``,
``bucket_id: null`` and the statistics: the vendor's contract of 2025. Names and IDs are checked before a request is
sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ProtocolError
from airflow_provider_cm.api.models import Source
from airflow_provider_cm.api.names import check_project, check_source_name
from airflow_provider_cm.api.response_checks import expect_listing, expect_source, expect_statistics
from airflow_provider_cm.api.source_fields import SETTABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_cm.api.calls import Call, CallOutcome, Check
    from airflow_provider_cm.api.retry import Budget
    from airflow_provider_cm.api.session import ApiSession

READ = "View sources"
WRITE = "Sources admin"
_BY_NAME = "sources/{project}/{name}"
_BY_ID = "sources/id:{id}"


def read_by_name(session: ApiSession, project: str, name: str) -> Call:
    """Prepare the read of a source by its name."""
    check = expect_source(check_project(project), check_source_name(name))
    return _read(session, "sources", project, name, route=_BY_NAME, check=check)


def read_by_id(session: ApiSession, source_id: str, project: str | None = None, name: str | None = None) -> Call:
    """Prepare the read of a source by its ID; the response must have the project and name, if they are given."""
    check = expect_source(project, name, source_id)
    return _read(session, "sources", f"id:{source_id}", route=_BY_ID, check=check)


def read_statistics(
    session: ApiSession, project: str, name: str, comment_filter: Mapping[str, Any] | None = None
) -> Call:
    """Prepare the query for a source's statistics, of the messages that the filter selects."""
    return session.prepare(
        "POST",
        "sources",
        check_project(project),
        check_source_name(name),
        "statistics",
        json={"comment_filter": dict(comment_filter or {})},
        route=f"{_BY_NAME}/statistics",
        permission=READ,
        check=expect_statistics,
    )


def write(session: ApiSession, method: str, project: str, name: str, fields: Mapping[str, object]) -> Call:
    """Prepare a create (``PUT``) or an update (``POST``) with these fields, by their names in Python."""
    return session.prepare(
        method,
        "sources",
        check_project(project),
        check_source_name(name),
        json={"source": {SETTABLE[field]: value for field, value in fields.items()}},
        route=_BY_NAME,
        permission=WRITE,
        check=expect_source(project, name),
    )


def delete_by_id(session: ApiSession, source_id: str) -> Call:
    """Prepare the delete of a source."""
    check = expect_source(source_id=source_id)
    return session.prepare("DELETE", "sources", f"id:{source_id}", route=_BY_ID, permission=WRITE, check=check)


def list_sources(session: ApiSession, project: str | None, budget: Budget) -> list[Source]:
    """List the sources of a project, or of all, within a budget."""
    check = expect_listing(project)
    if project is None:
        call = _read(session, "sources", route="sources", check=check)
    else:
        call = _read(session, "sources", check_project(project), route="sources/{project}", check=check)
    sources = session.run(call, budget).unwrap().get("sources")
    if not isinstance(sources, list):
        raise ProtocolError("the response has no list `sources`", method=call.method, path=call.path)
    return [Source.parse(source) for source in sources]


def source_in(outcome: CallOutcome) -> Source:
    """Read the source of a response, or raise its error."""
    return Source.parse(outcome.unwrap().get("source"))


def _read(session: ApiSession, *segments: str, route: str, check: Check) -> Call:
    return session.prepare("GET", *segments, route=route, permission=READ, check=check)
