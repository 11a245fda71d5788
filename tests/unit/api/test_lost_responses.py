"""Writes whose response got lost, against a server that remembers what it really did."""

from __future__ import annotations

import itertools
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import (
    BadRequestError,
    CommsMiningError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    RequestRecord,
    SourcesApi,
)
from airflow_provider_cm.api.lost_responses import LAG
from tests.unit.api.server import CLOSE, RESET, RESET_UNREAD, Answer, Request, Server, Step, error, html, ok
from tests.unit.api.support import Clock, fails, source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.api.conftest import Serve

ID = "18ba5ce699f8da1f"
CUT = Answer(200, b'{"status": "ok", "source": {', stated_length=500)


class Fake:
    """A stateful server: ``trouble`` holds, for each write in turn, what happens instead of its answer.

    A trouble is (whether the server acts, what it sends); ``None`` means that nothing goes wrong.
    """

    def __init__(self, clock: Clock, *trouble: tuple[bool, Step] | None, duplicate: int = 409) -> None:
        self.clock = clock
        self.trouble = list(trouble)
        self.read_trouble: list[Step | None] = []
        self.duplicate = duplicate
        self.there: dict[str, Any] | None = None
        self.hidden: set[str] = set()
        self.hidden_by_id: set[str] = set()
        self.acted = 0
        self.server: Server | None = None

    def existing(self, seconds_ago: float = 86400, **fields: Any) -> Fake:
        created = (self.clock.wall() - timedelta(seconds=seconds_ago)).isoformat()
        self.there = source(id="0123456789abcdef", **{"created_at": created, "updated_at": created, **fields})
        return self

    def __call__(self, request: Request) -> Step:
        if request.method == "GET":
            wrong = self.read_trouble.pop(0) if self.read_trouble else None
            hidden = self.hidden_by_id if "id:" in request.target else self.hidden
            return wrong or (
                self._show(hidden) if "/example" in request.target or hidden is self.hidden_by_id else self._list()
            )
        acts, step = (self.trouble.pop(0) if self.trouble else None) or (True, None)
        answer = self._write(request) if acts else error(500)
        return step or answer

    def _show(self, hidden: set[str]) -> Answer:
        if self.there is None:
            return error(404, "not here", self.clock.date())
        shown = {key: value for key, value in self.there.items() if key not in hidden}
        return ok(self.clock.date(), source=shown)

    def _list(self) -> Answer:
        return ok(self.clock.date(), sources=[self.there] if self.there else [])

    def _write(self, request: Request) -> Answer:
        if request.method == "PUT" and self.there is None:
            now = self.clock.wall().isoformat()
            self.there = source(id=ID, created_at=now, updated_at=now, title="", description="")
        elif request.method == "PUT" and self.duplicate != 200:
            return error(self.duplicate, "it exists", self.clock.date())
        if self.there is None:
            return error(404, "not here", self.clock.date())
        self.acted += 1
        if request.method == "DELETE":
            self.there = None
            return ok(self.clock.date())
        if self.acted > 1 or self.there["id"] != ID:
            self.there["updated_at"] = self.clock.wall().isoformat()
        self.there.update(request.json()["source"])
        return ok(self.clock.date(), source=self.there)


def start(serve: Serve, fake: Fake, **policy: Any) -> tuple[Server, SourcesApi]:
    server = serve(handler=fake)
    return server, sources_of(server, retry=fake.clock.policy(**policy))


def assert_looked_between_writes(methods: list[str]) -> None:
    """No two writes in a row: each one but the first follows a read."""
    assert not [pair for pair in itertools.pairwise(methods) if "GET" not in pair], methods


LOST = {
    "reset": RESET,
    "closed": CLOSE,
    "cut off body": CUT,
    "empty body": Answer(200, b""),
    "gateway page": html(502),
    "vendor's 500": error(500),
    "504": error(504),
    "success without its source": ok(),
    "page with 200": html(200),
}


# --- create


@pytest.mark.parametrize("step", LOST.values(), ids=LOST)
def test_a_create_that_was_carried_out_before_the_cut_is_confirmed_and_not_repeated(serve: Serve, step: Step) -> None:
    fake = Fake(Clock(), (True, step))
    server, api = start(serve, fake)
    made = api.create("acme", "example", title="T", sensitive_properties=["string:b", "string:a"])
    assert (made.confirmed, made.id, made.title) == (True, ID, "T")
    assert server.methods == ["PUT", "GET"]
    assert fake.acted == 1


@pytest.mark.parametrize("step", LOST.values(), ids=LOST)
def test_a_create_that_was_cut_before_it_acted_is_repeated_after_a_look(serve: Serve, step: Step) -> None:
    fake = Fake(Clock(), (False, step))
    server, api = start(serve, fake)
    made = api.create("acme", "example", title="T")
    assert (made.confirmed, made.id, made.title) == (False, ID, "T")
    assert server.methods == ["PUT", "GET", "PUT"]
    assert fake.acted == 1


def test_a_reset_before_the_request_was_read_is_in_doubt_too(serve: Serve) -> None:
    server = serve(RESET_UNREAD, error(404), ok(source=source()))
    assert sources_of(server).create("acme", "example").id == ID
    assert server.methods == ["GET", "PUT"]


def test_a_lost_create_that_finds_other_values_is_a_conflict_that_lists_them(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET)).existing(0, title="theirs", should_translate=True)
    server, api = start(serve, fake)
    with fails(ConflictError) as caught:
        api.create("acme", "example", title="mine", should_translate=True, language="Multilingual")
    assert caught.error.differences == {"title": ("theirs", "mine"), "language": ("en", "Multilingual")}
    assert "title is 'theirs', not 'mine'" in caught.text
    assert "0123456789abcdef" in caught.text
    assert server.methods == ["PUT", "GET", "GET"]
    assert fake.clock.slept[-1] == LAG


def test_a_lost_create_does_not_claim_a_source_that_was_there_before(serve: Serve) -> None:
    """Nobody has changed it since, so that only the answer's ``Date`` says so, which may be another machine's clock."""
    fake = Fake(Clock(), (False, RESET)).existing(30, title="T")
    server, api = start(serve, fake)
    with fails(OutcomeUnknownError) as caught:
        api.create("acme", "example", title="T")
    assert "existed since 2026-11-22T11:59:30" in caught.text
    assert server.methods == ["PUT", "GET"]


def test_a_source_that_a_look_did_not_find_was_not_there_before(serve: Serve) -> None:
    """Whatever the clock of the gateway says: it is an hour ahead."""
    clock = Clock()
    ahead = {"Date": format_datetime(clock.wall() + timedelta(hours=1), usegmt=True)}
    now = clock.wall().isoformat()
    there = ok(ahead, source=source(created_at=now, updated_at=now))
    server = serve(RESET, error(404, headers=ahead), error(409, headers=ahead), there)
    assert sources_of(server, retry=clock.policy()).create("acme", "example").confirmed is True


def test_before_is_judged_by_the_first_attempt_not_by_the_last(serve: Serve) -> None:
    """The second PUT acts minutes after the first; what it made is younger than the call and therefore its own."""
    wait = {"Retry-After": "100"}
    fake = Fake(Clock(), (False, error(503, headers=wait)), (True, error(503, headers=wait)))
    server, api = start(serve, fake)
    assert api.create("acme", "example", title="T").confirmed is True
    assert server.methods == ["PUT", "GET", "PUT", "GET"]


def test_the_age_of_a_source_is_judged_by_the_servers_clock(serve: Serve) -> None:
    """The server lives in 2026-11-22 12:00 whatever the time is here; a second of difference is forgiven."""
    fake = Fake(Clock(), (False, RESET)).existing(1, title="T")
    _, api = start(serve, fake)
    assert api.create("acme", "example", title="T").confirmed is True


def test_a_put_that_answers_with_an_old_source_is_reported_as_an_upsert(serve: Serve) -> None:
    fake = Fake(Clock(), duplicate=200).existing(3600, title="theirs")
    server, api = start(serve, fake)
    with fails(ConflictError) as caught:
        api.create("acme", "example", title="mine")
    assert "upsert" in caught.text
    assert "2026-11-22T11:00:00" in caught.text
    assert (caught.error.method, caught.error.path, caught.error.status) == ("PUT", "sources/acme/example", 200)
    assert server.methods == ["PUT"]


@pytest.mark.parametrize("status", [409, 400, 422])
def test_a_repeated_create_that_finds_its_own_source_is_a_success(serve: Serve, status: int) -> None:
    """The first PUT arrives late: the look does not see its source yet, the second PUT is refused because of it."""
    fake = Fake(Clock(), (True, RESET), duplicate=status)
    fake.read_trouble = [error(404, "not yet", fake.clock.date())]
    server, api = start(serve, fake)
    made = api.create("acme", "example", title="T")
    assert (made.confirmed, made.title) == (True, "T")
    assert server.methods == ["PUT", "GET", "PUT", "GET"]
    assert fake.acted == 1


@pytest.mark.parametrize("status", [409, 400, 422])
def test_a_repeated_create_that_meets_a_rivals_source_is_a_conflict(serve: Serve, status: int) -> None:
    fake = Fake(Clock(), (False, RESET), duplicate=status).existing(0, title="theirs")
    fake.read_trouble = [error(404, "not yet", fake.clock.date())]
    server, api = start(serve, fake)
    with fails(ConflictError) as caught:
        api.create("acme", "example", title="mine")
    assert caught.error.differences == {"title": ("theirs", "mine")}
    assert server.methods == ["PUT", "GET", "PUT", "GET", "GET"]


def test_a_repeated_create_that_is_refused_for_its_values_says_so(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET), (False, error(422, "language: no such")))
    server, api = start(serve, fake)
    with fails(BadRequestError) as caught:
        api.create("acme", "example", language="xx")
    assert "language: no such" in caught.text
    assert server.methods == ["PUT", "GET", "PUT", "GET", "GET"]


@pytest.mark.parametrize(
    ("status", "kind"), [(409, ConflictError), (400, BadRequestError), (422, BadRequestError), (404, NotFoundError)]
)
def test_a_first_refusal_is_what_it_says(serve: Serve, status: int, kind: type[CommsMiningError]) -> None:
    """Even if a source with the very same values is there."""
    fake = Fake(Clock(), (False, error(status, "their words"))).existing(0, title="T")
    server, api = start(serve, fake)
    with fails(kind) as caught:
        api.create("acme", "example", title="T")
    assert "their words" in caught.text
    assert server.methods == ["PUT"]


def test_a_refusal_after_a_wait_for_the_rate_limit_is_a_first_refusal(serve: Serve) -> None:
    """429 says that nothing was done, so that there is no doubt to settle."""
    server = serve(error(429), error(409))
    with fails(ConflictError):
        sources_of(server).create("acme", "example")
    assert server.methods == ["PUT", "PUT"]


def test_a_field_that_the_read_by_name_omits_is_read_by_id(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.hidden = {"language", "_kind"}
    server, api = start(serve, fake)
    made = api.create("acme", "example", language="Multilingual", kind="call")
    assert (made.confirmed, made.language, made.kind) == (True, "Multilingual", "call")
    assert server.log[1:] == ["GET /api/v1/sources/acme/example", f"GET /api/v1/sources/id:{ID}"]


def test_a_conflict_that_only_the_read_by_id_shows_is_found(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET)).existing(0, language="en")
    fake.hidden = {"language"}
    _, api = start(serve, fake)
    with fails(ConflictError) as caught:
        api.create("acme", "example", language="Multilingual")
    assert caught.error.differences == {"language": ("en", "Multilingual")}


def test_a_create_whose_field_is_never_shown_stays_unknown(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.hidden = fake.hidden_by_id = {"_kind"}
    server, api = start(serve, fake)
    with fails(OutcomeUnknownError) as caught:
        api.create("acme", "example", kind="call")
    assert "does not show its kind" in caught.text
    assert caught.error.__cause__ is not None
    assert server.methods == ["PUT", "GET", "GET"]


def test_a_bucket_that_the_server_does_not_show_leaves_a_create_unknown(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.hidden = fake.hidden_by_id = {"bucket_id"}
    server, api = start(serve, fake)
    with fails(OutcomeUnknownError) as caught:
        api.create("acme", "example", bucket_id="1f2e3d4c5b6a7980")
    assert "the server does not show its bucket_id" in caught.text
    assert server.methods == ["PUT", "GET", "GET"]


def test_a_complete_response_without_a_bucket_shows_that_there_is_none(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET)).existing(0, _kind="call")
    server, api = start(serve, fake)
    with fails(ConflictError) as caught:
        api.create("acme", "example", bucket_id="1f2e3d4c5b6a7980")
    assert caught.error.differences == {"bucket_id": (None, "1f2e3d4c5b6a7980")}
    assert server.methods == ["PUT", "GET", "GET"]


@pytest.mark.parametrize("id_read", [html(200), ok(), ok(source={"id": 1}), error(404)])
def test_a_read_by_id_that_makes_no_sense_leaves_the_outcome_unknown(serve: Serve, id_read: Answer) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.hidden = {"language"}
    fake.read_trouble = [None, id_read]
    _, api = start(serve, fake)
    with fails(OutcomeUnknownError):
        api.create("acme", "example", language="en")


def test_an_id_of_another_form_does_not_stop_the_look(serve: Serve) -> None:
    there = source(id="src_01J", created_at="2030-01-01T00:00:00Z")
    without = {key: value for key, value in there.items() if key != "language"}
    server = serve(RESET, ok(source=without), ok(source=there))
    assert sources_of(server).create("acme", "example", language="en").confirmed is True


# --- update


@pytest.mark.parametrize("step", LOST.values(), ids=LOST)
def test_an_update_that_was_carried_out_before_the_cut_is_confirmed(serve: Serve, step: Step) -> None:
    fake = Fake(Clock(), (True, step)).existing(title="old")
    server, api = start(serve, fake)
    changed = api.update("acme", "example", title="new", sensitive_properties=["string:b", "string:a"])
    assert (changed.confirmed, changed.title) == (True, "new")
    assert server.methods == ["POST", "GET"]
    assert fake.acted == 1


@pytest.mark.parametrize("step", LOST.values(), ids=LOST)
def test_an_update_that_was_cut_before_it_acted_is_repeated_after_a_look(serve: Serve, step: Step) -> None:
    fake = Fake(Clock(), (False, step)).existing(title="old")
    server, api = start(serve, fake)
    changed = api.update("acme", "example", title="new")
    assert (changed.confirmed, changed.title) == (False, "new")
    assert server.methods == ["POST", "GET", "POST"]


def test_the_order_of_sensitive_properties_means_nothing(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET)).existing(sensitive_properties=["string:b", "string:a"])
    server, api = start(serve, fake)
    assert api.update("acme", "example", sensitive_properties=("string:a", "string:b")).confirmed is True
    assert server.methods == ["POST", "GET"]


@pytest.mark.parametrize("there", ["1f2e3d4c5b6a7980", None])
def test_a_lost_detachment_is_settled_by_whether_a_bucket_is_there(serve: Serve, there: str | None) -> None:
    fake = Fake(Clock(), (False, RESET)).existing(_kind="call")
    if there:
        (fake.there or {})["bucket_id"] = there
    server, api = start(serve, fake)
    assert api.update("acme", "example", detach_bucket=True).bucket_id is None
    assert server.methods == (["POST", "GET", "POST"] if there else ["POST", "GET"])


def test_an_update_of_a_source_that_vanished_is_missing(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET))
    server, api = start(serve, fake)
    with fails(NotFoundError):
        api.update("acme", "example", title="new")
    assert server.methods == ["POST", "GET", "GET"]


def test_an_update_whose_field_is_never_shown_ends_as_unknown_unless_an_answer_arrives(serve: Serve) -> None:
    fake = Fake(Clock(), *[(True, RESET)] * 9).existing()
    fake.hidden = fake.hidden_by_id = {"email_transform_tag"}
    server, api = start(serve, fake, max_attempts=3)
    with fails(OutcomeUnknownError) as caught:
        api.update("acme", "example", email_transform_tag="generic.0.X")
    assert "does not show its email_transform_tag" in caught.text
    assert_looked_between_writes(server.methods)
    fake.trouble = [(True, RESET)]
    assert api.update("acme", "example", email_transform_tag="generic.0.X").confirmed is False


# --- delete


@pytest.mark.parametrize("step", [step for name, step in LOST.items() if name != "success without its source"])
def test_a_delete_that_was_carried_out_before_the_cut_is_found_gone(serve: Serve, step: Step) -> None:
    fake = Fake(Clock(), (True, step)).existing()
    server, api = start(serve, fake)
    assert api.delete("0123456789abcdef", project="acme") is False
    assert server.log[1:] == ["GET /api/v1/sources/id:0123456789abcdef", "GET /api/v1/sources/acme"]


def test_a_delete_that_was_cut_before_it_acted_is_repeated_after_a_look(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET)).existing()
    server, api = start(serve, fake)
    assert api.delete("0123456789abcdef") is True
    assert server.methods == ["DELETE", "GET", "DELETE"]
    assert fake.there is None


def test_a_repeated_delete_that_meets_404_is_done(serve: Serve) -> None:
    """The first DELETE arrives after the look."""
    server = serve(RESET, ok(source=source()), error(404), error(404), ok(sources=[]))
    assert sources_of(server).delete(ID) is False
    assert server.methods == ["DELETE", "GET", "DELETE", "GET", "GET"]


@pytest.mark.parametrize("project", [None, "acme"])
@pytest.mark.parametrize("listing", [ok(sources=[source(id="1" * 16)]), error(404)])
def test_a_first_404_of_a_delete_is_believed_when_the_source_is_nowhere(
    serve: Serve, project: str | None, listing: Answer
) -> None:
    clock = Clock()
    server = serve(error(404, "no such source"), error(404), listing)
    with fails(NotFoundError) as caught:
        sources_of(server, retry=clock.policy()).delete(ID, project=project)
    assert "no such source" in caught.text
    assert server.log[1:] == [f"GET /api/v1/sources/id:{ID}", f"GET /api/v1/sources{'/acme' if project else ''}"]
    assert clock.slept == [LAG]


@pytest.mark.parametrize(
    "looks", [[ok(source=source())], [error(404), ok(sources=[source(id="1" * 16), source(id=ID.upper())])]]
)
def test_a_404_of_a_delete_is_a_refusal_when_the_source_is_still_there(serve: Serve, looks: list[Answer]) -> None:
    server = serve(error(404, "no such source"), *looks)
    with fails(PermissionDeniedError) as caught:
        sources_of(server).delete(ID)
    assert (caught.error.status, caught.error.api_message, caught.error.attempts) == (404, "no such source", 1)
    assert "is still there" in caught.text
    assert "'Sources admin'" in caught.text
    assert caught.error.transient is False


@pytest.mark.parametrize("looks", [[error(403)], [html(200)], [error(404), error(403)], [error(404), ok(sources=[{}])]])
def test_a_404_of_a_delete_that_nothing_confirms_is_unknown(serve: Serve, looks: list[Answer]) -> None:
    server = serve(error(404), *looks)
    with fails(OutcomeUnknownError) as caught:
        sources_of(server).delete(ID)
    assert "whether it is gone could not be read" in caught.text


def test_a_lost_delete_whose_source_is_only_missing_from_the_first_look_is_repeated(serve: Serve) -> None:
    """The server hides the source from reads by id, or a replica lags."""
    server = serve(RESET, error(404), ok(sources=[source()]), ok())
    assert sources_of(server).delete(ID, project="acme") is True
    assert server.methods == ["DELETE", "GET", "GET", "DELETE"]


def test_a_lost_delete_that_is_then_refused_behind_404_is_a_refusal(serve: Serve) -> None:
    fake = Fake(Clock(), (False, RESET), *[(False, error(404))] * 9).existing()
    _, api = start(serve, fake)
    with fails(PermissionDeniedError) as caught:
        api.delete("0123456789abcdef")
    assert caught.error.attempts == 2


# --- replicas that lag


def test_a_refusal_because_of_ones_own_source_that_a_replica_does_not_show_yet_is_a_success(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.read_trouble = [error(404, "not yet", fake.clock.date())] * 2
    server, api = start(serve, fake)
    assert api.create("acme", "example", title="T").confirmed is True
    assert server.methods == ["PUT", "GET", "PUT", "GET", "GET"]
    assert fake.clock.slept[-1] == LAG


def test_an_old_state_of_a_replica_is_no_conflict(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET))
    fake.read_trouble = [ok(source=source(title="of one that was deleted"))]
    server, api = start(serve, fake)
    assert api.create("acme", "example", title="T").confirmed is True
    assert server.methods == ["PUT", "GET", "GET"]


def test_a_lost_update_whose_source_a_replica_does_not_show_yet_is_a_success(serve: Serve) -> None:
    fake = Fake(Clock(), (True, RESET)).existing()
    fake.read_trouble = [error(404)]
    server, api = start(serve, fake)
    assert api.update("acme", "example", title="T").confirmed is True
    assert server.methods == ["POST", "GET", "GET"]


def test_the_wait_for_a_second_look_fits_into_the_time_of_the_call(serve: Serve) -> None:
    clock = Clock()
    server = serve(error(404), error(404), ok(sources=[]))
    with fails(NotFoundError):
        sources_of(server, retry=clock.policy(max_seconds=1)).delete(ID)
    assert clock.slept == [0.5]


def test_without_a_doubt_there_is_one_request(serve: Serve) -> None:
    fake = Fake(Clock())
    server, api = start(serve, fake)
    api.create("acme", "example", title="T")
    api.update("acme", "example", title="U")
    assert api.delete(ID) is True
    assert server.methods == ["PUT", "POST", "DELETE"]
    assert fake.clock.slept == []


# --- clocks


SKEWS = [-3600, -3, -1, 0, 1, 3, 30, 3600, 86400 * 400]


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("put_takes", [0, 5])
def test_a_create_succeeds_whatever_the_gateways_clock_says(serve: Serve, skew: int, put_takes: float) -> None:
    clock = Clock()
    gateway = {"Date": format_datetime(clock.wall() + timedelta(seconds=skew), usegmt=True)}

    def handler(request: Request) -> Step:
        made = clock.wall().isoformat()
        clock.now += put_takes
        return ok(gateway, source=source(created_at=made, updated_at=clock.wall().isoformat()))

    server = serve(handler=handler)
    assert sources_of(server, retry=clock.policy()).create("acme", "example").confirmed is False
    assert server.methods == ["PUT"]


@pytest.mark.parametrize("skew", SKEWS)
def test_a_create_whose_response_was_lost_is_never_called_somebody_elses(serve: Serve, skew: int) -> None:
    """A gateway's clock that is far ahead leaves a doubt, and no more."""
    clock = Clock()
    gateway = {"Date": format_datetime(clock.wall() + timedelta(seconds=skew), usegmt=True)}
    now = clock.wall().isoformat()
    api = sources_of(serve(RESET, ok(gateway, source=source(created_at=now, updated_at=now))), retry=clock.policy())
    if skew <= 10:
        assert api.create("acme", "example").confirmed is True
    else:
        with fails(OutcomeUnknownError) as caught:
            api.create("acme", "example")
        assert "if the clocks of gateway and application agree" in caught.text


@pytest.mark.parametrize("lead", [60, 3600, 86400 * 400])
def test_a_session_learns_how_far_the_gateways_clock_is_ahead(serve: Serve, lead: int) -> None:
    clock = Clock()
    ahead = {"Date": format_datetime(clock.wall() + timedelta(seconds=lead), usegmt=True)}

    def made(seconds_ago: float = 0, **fields: Any) -> Answer:
        moment = (clock.wall() - timedelta(seconds=seconds_ago)).isoformat()
        return ok(ahead, source=source(created_at=moment, updated_at=moment, **fields))

    api = sources_of(serve(made(), RESET, made(), RESET, made(30)), retry=clock.policy())
    api.create("acme", "example")
    assert api.create("acme", "example").confirmed is True
    with fails(OutcomeUnknownError):
        api.create("acme", "example")


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Sun, 22 Nov 2026 00:43:00 +99999999999999999999",
        "Sun, 22 Nov 99999999999999999999 00:43:00 GMT",
        "soon",
        "",
    ],
)
@pytest.mark.parametrize("first", [RESET, None])
def test_absurd_dates_harm_no_write(serve: Serve, date: str, first: Step | None) -> None:
    clock = Clock()
    now = clock.wall().isoformat()
    answer = ok({"Date": date, "Retry-After": date}, source=source(created_at=now, updated_at=now))
    api = sources_of(serve(*filter(None, [first]), answer), retry=clock.policy())
    try:
        api.create("acme", "example")
    except OutcomeUnknownError:
        assert first is not None
        assert date.endswith("GMT")


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026", None])
@pytest.mark.parametrize("first", [RESET, None])
def test_absurd_timestamps_harm_no_write(serve: Serve, created: str | None, first: Step | None) -> None:
    clock = Clock()
    answer = ok(clock.date(), source=source(created_at=created, updated_at=created))
    api = sources_of(serve(*filter(None, [first]), answer), retry=clock.policy())
    api.create("acme", "example")


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
@pytest.mark.parametrize("lost", [True, False])
def test_a_source_that_was_there_before_is_known_by_the_applications_clock_alone(
    serve: Serve, skew: int, lost: bool
) -> None:
    clock = Clock()
    gateway = {"Date": format_datetime(clock.wall() + timedelta(seconds=skew), usegmt=True)}
    created = (clock.wall() - timedelta(seconds=60)).isoformat()
    answer = ok(gateway, source=source(created_at=created, updated_at=clock.wall().isoformat()))
    server = serve(*[RESET] * lost, *[answer] * (1 + lost))
    with fails(ConflictError) as caught:
        sources_of(server, retry=clock.policy()).create("acme", "example")
    assert "2026-11-22T11:59:00" in caught.text


# --- what can't be settled


WRITES: dict[str, Callable[[SourcesApi], object]] = {
    "create": lambda api: api.create("acme", "example", title="T"),
    "update": lambda api: api.update("acme", "example", title="T"),
    "delete": lambda api: api.delete("0123456789abcdef"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("step", [RESET, error(503), html(502), Answer(200, b""), html(200), error(401), error(403)])
def test_what_reading_back_does_not_settle_is_unknown_and_transient(
    serve: Serve, write: Callable[[SourcesApi], object], step: Step
) -> None:
    fake = Fake(Clock(), (True, RESET), *[(True, step)] * 20)
    fake.read_trouble = [step] * 50
    server, api = start(serve, fake.existing(), max_attempts=4)
    with fails(OutcomeUnknownError) as caught:
        write(api)
    assert caught.error.transient is True
    assert "could not be read" in caught.text
    assert isinstance(caught.error.__cause__, CommsMiningError)
    assert_looked_between_writes(server.methods)
    assert len(server.requests) <= 8


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_never_gets_through_ends_unknown_with_what_was_last_seen(
    serve: Serve, write: Callable[[SourcesApi], object]
) -> None:
    seen: list[RequestRecord] = []
    fake = Fake(Clock(), *[(False, RESET)] * 50)
    if write is not WRITES["create"]:
        fake.existing()
    server = serve(handler=fake)
    api = sources_of(server, retry=fake.clock.policy(max_attempts=5), observer=seen.append)
    with fails(OutcomeUnknownError) as caught:
        write(api)
    assert "there when" in caught.text
    assert "the connection broke" in caught.text
    assert caught.error.attempts == server.methods.count(caught.error.method) == 5
    assert_looked_between_writes(server.methods)
    assert server.methods[-1] == "GET"
    assert len(seen) == len(server.requests) <= 12


def test_a_server_that_says_ok_and_does_nothing_is_not_asked_for_ever(serve: Serve) -> None:
    for write in ("create", "update"):
        fake = Fake(Clock(), *[(False, ok())] * 50)
        if write == "update":
            fake.existing()
        server, api = start(serve, fake, max_attempts=4)
        with fails(OutcomeUnknownError):
            WRITES[write](api)
        assert len(server.requests) == 8


def test_in_doubt_even_a_write_that_was_surely_not_done_is_repeated_only_after_a_look(serve: Serve) -> None:
    """While the second PUT waits for the rate limit, the first one may still arrive, and somebody may change it."""
    fake = Fake(Clock(), (False, RESET), (False, error(429)), (False, error(429)))
    server, api = start(serve, fake)
    assert api.create("acme", "example", title="T").title == "T"
    assert server.methods == ["PUT", "GET", "PUT", "GET", "PUT", "GET", "PUT"]


def test_a_write_that_ends_at_the_rate_limit_in_doubt_is_unknown_and_without_doubt_is_not(serve: Serve) -> None:
    fake = Fake(Clock(), *[(False, error(429))] * 20)
    _, api = start(serve, fake, max_attempts=3)
    with fails(RateLimitedError) as caught:
        api.create("acme", "example")
    assert caught.error.attempts == 3
    fake.trouble = [(False, RESET), *[(False, error(429))] * 20]
    with fails(OutcomeUnknownError):
        api.create("acme", "example")


def test_the_time_budget_covers_waits_and_looks(serve: Serve) -> None:
    clock = Clock()
    fake = Fake(clock, *[(False, error(503, headers={"Retry-After": "40"}))] * 50)
    _, api = start(serve, fake, max_attempts=50, max_seconds=100)
    with fails(OutcomeUnknownError):
        api.create("acme", "example")
    assert clock.slept == [40, 40]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_look_that_fails_for_a_moment_is_repeated(serve: Serve, write: Callable[[SourcesApi], object]) -> None:
    fake = Fake(Clock(), (True, RESET)).existing(0, title="old")
    if write is WRITES["create"]:
        fake.there = None
    fake.read_trouble = [error(503), RESET]
    server, api = start(serve, fake)
    write(api)
    confirmed = ["GET"] * (write is WRITES["delete"])
    assert server.methods[1:] == ["GET", "GET", "GET", *confirmed]
