"""What an administrator forbids on a connection is not sent, whichever way it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import ConfigurationError, Guards, NotFoundError, SourcesApi
from tests.unit.api.server import Request, Step, error, ok
from tests.unit.api.support import fails, session_to, source, sources_of

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serve

ID = "18ba5ce699f8da1f"
Call = Callable[[SourcesApi], object]


def _raw(*args: str, **kwargs: Any) -> Call:
    return lambda api: api.session.request(*args, **kwargs)


READS: dict[str, Call] = {
    "list": lambda api: api.list("prod"),
    "get": lambda api: api.get("prod", "x"),
    "by id": lambda api: api.get_by_id(ID),
    "statistics": lambda api: api.message_count("prod", "x"),
    "statistics by request": _raw("POST", "sources", "prod", "x", "statistics", json={}),
    "statistics as one segment": _raw("POST", "sources", "prod/x", "statistics", json={}),
    "another endpoint": _raw("get", "datasets", "prod", "d"),
}
WRITES: dict[str, Call] = {
    "create": lambda api: api.create("prod", "x"),
    "update": lambda api: api.update("prod", "x", title="t"),
    "delete": lambda api: api.delete(ID),
    "put by request": _raw("put", "sources", "prod", "x"),
    "one segment": _raw("PUT", "sources", "prod/x"),
    "everything in one segment": _raw("PUT", "sources/prod/x"),
    "leading slash": _raw("PUT", "/sources", "prod", "x"),
    "project": _raw("PUT", "projects", "prod"),
    "delete a project": _raw("DELETE", "projects", "prod"),
    "another endpoint": _raw("POST", "datasets", "prod", "d", json={}),
    "another version": _raw("POST", "sources", "prod", "x", version="_private"),
    "named like the query": _raw("PUT", "sources", "prod", "x", "statistics"),
    "deeper than the query": _raw("POST", "sources", "prod", "x", "statistics", "reset"),
    "a method of tomorrow": _raw("PATCH", "sources", "prod", "x"),
}


def _knows(owner: str) -> Callable[[Request], Step]:
    def answer(request: Request) -> Step:
        if request.target.endswith("statistics"):
            return ok(statistics={"num_comments": 1})
        return ok(source=source(owner=owner, name="x", created_at="2999-01-01T00:00:00Z"), sources=[])

    return answer


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_is_always_allowed(serve: Serve, read: Call) -> None:
    server = serve(handler=_knows("prod"))
    read(sources_of(server, guards=Guards(read_only=True, allow_delete=False, allowed_projects=())))
    assert len(server.requests) == 1


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_read_only_connection_writes_nothing(serve: Serve, write: Call) -> None:
    server = serve()
    with fails(ConfigurationError) as caught:
        write(sources_of(server, guards=Guards(read_only=True)))
    assert "`read_only`" in caught.text
    assert "was not sent" in caught.text
    assert server.requests == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_outside_of_the_allowed_projects_is_not_sent(serve: Serve, write: Call) -> None:
    server = serve(handler=_knows("prod"))
    with fails(ConfigurationError) as caught:
        write(sources_of(server, guards=Guards(allowed_projects=("dev", "test-*"))))
    assert "'prod'" in caught.text
    assert "`allowed_projects` (dev, test-*)" in caught.text
    # the owner of an id is read, and nothing else
    assert server.methods == (["GET"] if write is WRITES["delete"] else [])


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_inside_of_the_allowed_projects_is_sent(serve: Serve, write: Call) -> None:
    server = serve(handler=_knows("prod"))
    write(sources_of(server, guards=Guards(allowed_projects=("dev", "pr?d"))))
    assert server.methods[-1] != "GET"


def test_by_id_the_owner_is_read_first(serve: Serve) -> None:
    server = serve(handler=_knows("dev"))
    sources_of(server, guards=Guards(allowed_projects=("dev",))).delete(ID)
    assert server.log == [f"GET /api/v1/sources/id:{ID}", f"DELETE /api/v1/sources/id:{ID}"]


@pytest.mark.parametrize("payload", [{}, {"source": None}, {"source": {"owner": None}}, {"source": {"owner": ""}}])
def test_an_owner_that_cannot_be_read_is_not_an_allowed_one(serve: Serve, payload: dict[str, Any]) -> None:
    server = serve(ok(**payload))
    with fails(ConfigurationError):
        sources_of(server, guards=Guards(allowed_projects=("dev",))).delete(ID)


def test_a_source_that_is_not_there_is_not_deleted(serve: Serve) -> None:
    server = serve(error(404))
    with fails(NotFoundError):
        sources_of(server, guards=Guards(allowed_projects=("dev",))).delete(ID)


@pytest.mark.parametrize(
    "path",
    [("sources",), ("/",), ("//", "/"), ("Sources", f"id:{ID}"), ("datasets", "id:1"), ("user",), ("sources", "id:/x")],
)
def test_a_write_that_does_not_tell_its_project_is_not_sent(serve: Serve, path: tuple[str, ...]) -> None:
    server = serve()
    with fails(ConfigurationError) as caught:
        session_to(server, guards=Guards(allowed_projects=("*",))).request("POST", *path)
    assert "does not tell which project" in caught.text or "segments" in caught.text


def test_a_path_that_climbs_out_of_an_allowed_project_is_not_sent(serve: Serve) -> None:
    server = serve()
    with fails(ConfigurationError):
        session_to(server, guards=Guards(allowed_projects=("dev",))).request("PUT", "sources", "dev/../prod/x")


def test_names_of_projects_are_compared_with_their_case(serve: Serve) -> None:
    with fails(ConfigurationError):
        sources_of(serve(), guards=Guards(allowed_projects=("Prod",))).create("prod", "x")


@pytest.mark.parametrize("write", [WRITES["delete"], WRITES["delete a project"], _raw("delete", "sources", f"id:{ID}")])
def test_deletes_can_be_forbidden_alone(serve: Serve, write: Call) -> None:
    server = serve(handler=_knows("prod"))
    api = sources_of(server, guards=Guards(allow_delete=False))
    with fails(ConfigurationError) as caught:
        write(api)
    assert "`allow_delete`" in caught.text
    assert server.requests == []
    api.create("prod", "x")
    assert server.methods == ["PUT"]


def test_without_guards_everything_is_sent(serve: Serve) -> None:
    server = serve(handler=_knows("prod"))
    for write in WRITES.values():
        write(sources_of(server))
    assert len(server.requests) == len(WRITES)
