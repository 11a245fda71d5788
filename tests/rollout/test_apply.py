"""Applying a plan: what is sent, how each action ends, and what stops the others."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_cm.api import (
    ApiSession,
    AuthenticationError,
    ConfigurationError,
    DeveloperToken,
    Guards,
    RetryPolicy,
    SourcesApi,
)
from airflow_provider_cm.rollout import Manifest, Plan, PlanError, Report, apply, applying, observe
from tests.unit.rollout.support import POLICY, PROJECT, TENANT, World, make_world, manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator import EmulatorServer


def results(report: Report) -> dict[str, str]:
    assert sum(report.counts.values()) == len(report.outcomes)
    return {outcome.name: outcome.result for outcome in report.outcomes}


def message(report: Report, name: str) -> str:
    (found,) = (outcome.message for outcome in report.outcomes if outcome.name == name)
    return found


def added(world: World, name: str, **fields: Any) -> str:
    source_id: str = world.tenant.add_source(PROJECT, name, **fields)["id"]
    return source_id


def rollout(world: World) -> Plan:
    """Plan two creates, two updates and two deletes."""
    added(world, "moved-1", title="before", description="mine")
    added(world, "moved-2", title="before")
    added(world, "nps-1")
    added(world, "nps-2")
    added(world, "other", title="not named")
    wanted = manifest(
        {"name": "new-1", "title": "N", "language": "de", "sensitive_properties": ["string:a"]},
        {"name": "new-2", "should_translate": True},
        {"name": "moved-1", "title": "after"},
        {"name": "moved-2", "title": "after"},
        owns=["nps-*"],
    )
    made = world.plan(wanted, prune=True, max_deletes=2)
    world.sent()
    return made


def test_everything_is_done_and_seen(world: World) -> None:
    made = rollout(world)
    report = apply(made, world.api)
    assert set(results(report).values()) == {"done"}
    assert report.ok
    assert report.verified
    assert not report.transient
    assert report.summary() == "acme-dev: 6 done"
    assert report.failure_text() == ""
    assert world.names() == {"new-1", "new-2", "moved-1", "moved-2", "other"}
    new, moved = world.held("new-1"), world.held("moved-1")
    assert (new["title"], new["language"], new["sensitive_properties"]) == ("N", "de", ["string:a"])
    assert (moved["title"], moved["description"]) == ("after", "mine")
    ids = {outcome.name: outcome.source_id for outcome in report.outcomes}
    assert ids["new-1"] == new["id"]
    assert report.to_dict()["counts"] == {"done": 6}
    assert report.to_dict()["plan_digest"] == made.digest


def test_creates_come_first_then_updates_then_deletes_between_two_lists(world: World) -> None:
    made = rollout(world)
    deleted = [world.held(name)["id"] for name in ("nps-1", "nps-2")]
    apply(made, world.api)
    sent = world.sent()
    assert sent[0] == sent[-1] == "GET sources/acme-dev"
    assert set(sent[1:3]) == {"PUT sources/acme-dev/new-1", "PUT sources/acme-dev/new-2"}
    assert set(sent[3:5]) == {"POST sources/acme-dev/moved-1", "POST sources/acme-dev/moved-2"}
    assert sorted(sent[5:-1]) == sorted(
        [f"POST sources/acme-dev/{name}/statistics" for name in ("nps-1", "nps-2")]
        + [f"{method} sources/id:{each}" for each in deleted for method in ("GET", "DELETE")]
    )
    for each in deleted:
        assert sent.index(f"GET sources/id:{each}") < sent.index(f"DELETE sources/id:{each}")


def test_an_update_sends_only_what_changes(world: World) -> None:
    made = rollout(world)
    apply(made, world.api)
    bodies = [each.json for each in world.server.requests if each.method == "POST" and each.path.endswith("moved-1")]
    assert bodies == [{"source": {"title": "after"}}]


def test_an_empty_plan_sends_nothing(world: World) -> None:
    added(world, "a", title="t")
    made = world.plan(manifest({"name": "a", "title": "t"}))
    assert world.sent() == ["GET sources/acme-dev"]
    report = apply(made, world.api)
    assert world.sent() == []
    assert (report.ok, report.outcomes, report.no_ops) == (True, (), 1)
    assert report.summary() == "acme-dev: nothing to do"


def test_what_was_observed_a_moment_ago_saves_the_first_list(world: World) -> None:
    wanted = manifest({"name": "a"})
    seen = observe(wanted, world.api)
    made = world.plan(wanted)
    world.sent()
    assert apply(made, world.api, actual=seen).ok
    assert world.sent() == ["PUT sources/acme-dev/a", "GET sources/acme-dev"]


def test_applying_again_changes_nothing(world: World) -> None:
    made = rollout(world)
    apply(made, world.api)
    changes = len(world.server.changes)
    world.sent()
    report = apply(made, world.api)
    assert set(results(report).values()) == {"unchanged"}
    assert report.ok
    assert len(world.server.changes) == changes
    reads = [each for each in world.sent() if "/id:" not in each.removeprefix("GET sources")]
    assert reads == ["GET sources/acme-dev"]


def test_a_half_done_plan_is_finished(world: World) -> None:
    made = rollout(world)
    # As if an apply had been killed after some of its work.
    added(world, "new-1", title="N", language="de", sensitive_properties=["string:a"])
    world.tenant.update_source(PROJECT, "moved-2", title="after")
    world.tenant.delete_source(PROJECT, "nps-1")
    report = apply(made, world.api)
    assert results(report) == {
        "new-1": "unchanged",
        "new-2": "done",
        "moved-1": "done",
        "moved-2": "unchanged",
        "nps-1": "unchanged",
        "nps-2": "done",
    }
    assert report.ok


def test_a_plan_for_another_tenant_is_refused(world: World) -> None:
    made = rollout(world)
    other = world.server.tenant("/acme/prod/reinfer_")
    session = ApiSession(other.endpoint, DeveloperToken("emulator-admin"))
    with pytest.raises(PlanError, match=r"the plan was made for .*/acme/dev/reinfer_, and this is .*/acme/prod"):
        apply(made, SourcesApi(session))
    assert world.sent() == []
    session.close()


# Stale


def replaced(world: World) -> None:
    world.tenant.delete_source(PROJECT, "moved-1")
    added(world, "moved-1", title="before", description="mine")


STALE: list[tuple[str, str, Callable[[World], Any]]] = [
    (
        "new-1",
        "has been created since the plan was made: title is 'rival', not 'N'",
        lambda w: added(w, "new-1", title="rival"),
    ),
    ("moved-1", "title is 'rival', not 'before'", lambda w: w.tenant.update_source(PROJECT, "moved-1", title="rival")),
    ("moved-1", "it has vanished since the plan was made", lambda w: w.tenant.delete_source(PROJECT, "moved-1")),
    ("moved-1", "another source has this name now", replaced),
    ("nps-1", "title is 'in use', not ''", lambda w: w.tenant.update_source(PROJECT, "nps-1", title="in use")),
]


@pytest.mark.parametrize(("name", "says", "interfere"), STALE)
def test_what_has_moved_is_left_alone_and_named(
    world: World, name: str, says: str, interfere: Callable[[World], Any]
) -> None:
    made = rollout(world)
    interfere(world)
    before = world.tenant.source(PROJECT, name)
    report = apply(made, world.api)
    assert results(report) == {each.name: "done" for each in made.actions} | {name: "stale"}
    assert says in message(report, name)
    assert not report.ok
    assert not report.transient
    assert world.tenant.source(PROJECT, name) == before
    assert f"- {name} (" in report.failure_text()


def test_another_managed_field_makes_a_source_stale_too(world: World) -> None:
    added(world, "a", title="before", description="d")
    made = world.plan(manifest({"name": "a", "title": "after", "description": "d"}))
    world.tenant.update_source(PROJECT, "a", description="rival")
    report = apply(made, world.api)
    assert results(report) == {"a": "stale"}
    assert "description is 'rival', not 'd'" in message(report, "a")
    assert world.held("a")["title"] == "before"


def test_fields_that_are_not_managed_and_times_make_nothing_stale(world: World) -> None:
    made = rollout(world)
    world.tenant.update_source(PROJECT, "moved-1", description="rival")
    assert apply(made, world.api).ok
    assert world.held("moved-1")["description"] == "rival"


def test_who_comes_in_between_list_and_create_makes_it_stale(world: World) -> None:
    made = world.plan(manifest({"name": "a", "title": "mine"}, {"name": "b"}))
    seen = observe(manifest({"name": "a"}), world.api)
    added(world, "a", title="rival")
    report = apply(made, world.api, actual=seen)
    assert results(report) == {"a": "stale", "b": "done"}
    assert world.held("a")["title"] == "rival"


def test_who_deletes_between_list_and_write(world: World) -> None:
    made = rollout(world)
    seen = world.api.list(PROJECT)
    world.tenant.delete_source(PROJECT, "moved-1")
    world.tenant.delete_source(PROJECT, "nps-1")
    report = apply(made, world.api, actual=seen, delete_nonempty=True)
    assert results(report)["moved-1"] == "stale"
    assert results(report)["nps-1"] == "unchanged"


def test_an_update_that_hits_another_source_says_so(world: World) -> None:
    made = rollout(world)
    seen = world.api.list(PROJECT)
    replaced(world)
    report = apply(made, world.api, actual=seen)
    assert results(report)["moved-1"] == "failed"
    assert "and it was changed instead" in message(report, "moved-1")


# Deletes


def delete_plan(world: World, **fields: Any) -> Plan:
    added(world, "kept")
    added(world, "nps-1", **fields)
    return world.plan(manifest({"name": "kept"}, owns=["nps-*"]), prune=True, max_deletes=1)


def test_what_holds_messages_is_kept(world: World) -> None:
    made = delete_plan(world, messages=3)
    report = apply(made, world.api)
    assert results(report) == {"nps-1": "skipped"}
    assert "kept: it holds 3 messages; use delete_nonempty" in message(report, "nps-1")
    assert not report.ok
    world.sent()
    assert results(apply(made, world.api, delete_nonempty=True)) == {"nps-1": "done"}
    assert not [each for each in world.sent() if "statistics" in each]
    assert world.names() == {"kept"}


def test_what_has_a_bucket_is_kept(full: World) -> None:
    bucket = full.tenant.add_bucket(PROJECT, "mails")["id"]
    made = delete_plan(full, bucket_id=bucket)
    report = apply(made, full.api)
    assert results(report) == {"nps-1": "skipped"}
    assert f"kept: bucket {bucket} is attached" in message(report, "nps-1")
    assert results(apply(made, full.api, delete_nonempty=True)) == {"nps-1": "done"}


def test_a_bucket_attached_since_the_plan_makes_it_stale(full: World) -> None:
    made = delete_plan(full)
    bucket = full.tenant.add_bucket(PROJECT, "mails")["id"]
    full.tenant.update_source(PROJECT, "nps-1", bucket_id=bucket)
    assert results(apply(made, full.api, delete_nonempty=True)) == {"nps-1": "stale"}
    assert "nps-1" in full.names()


@pytest.mark.parametrize("fault", [403, 404, 500, "html", "wrong-envelope", "no-answer"])
def test_what_cannot_be_counted_is_kept(world: World, fault: int | str) -> None:
    made = delete_plan(world)
    world.server.faults.add(fault, "POST", "*/statistics", times=100)
    report = apply(made, world.api)
    assert results(report) == {"nps-1": "skipped"}
    assert "kept: whether it holds messages could not be read" in message(report, "nps-1")
    assert "nps-1" in world.names()


@pytest.mark.parametrize("given", [True, False])
def test_a_delete_rests_on_a_look_at_its_source_however_fresh_the_list_seems(world: World, given: bool) -> None:
    """A list that is handed in may be of any age, and one that was read may have been overtaken."""
    made = delete_plan(world)
    seen = world.api.list(PROJECT)

    class Overtaken(SourcesApi):
        """Somebody uses the source right after the list."""

        def list(self, project: str | None = None) -> list[Any]:
            listed = super().list(project)
            world.tenant.update_source(PROJECT, "nps-1", title="in use")
            return listed

    if given:
        world.tenant.update_source(PROJECT, "nps-1", title="in use")
    report = apply(made, Overtaken(world.api.session), actual=seen if given else None, delete_nonempty=True)
    assert results(report) == {"nps-1": "stale"}
    assert "title is 'in use', not ''" in message(report, "nps-1")
    assert world.held("nps-1")["title"] == "in use"


def test_what_got_a_bucket_after_the_list_is_kept(full: World) -> None:
    made = delete_plan(full)
    seen = full.api.list(PROJECT)
    bucket = full.tenant.add_bucket(PROJECT, "mails")["id"]
    full.tenant.update_source(PROJECT, "nps-1", bucket_id=bucket)
    assert results(apply(made, full.api, actual=seen, delete_nonempty=True)) == {"nps-1": "stale"}
    assert "nps-1" in full.names()


def test_no_delete_is_sent_on_a_look_of_more_than_a_second_ago(comms_mining_emulator: EmulatorServer) -> None:
    """Neither after the server has asked everybody to wait, nor when the delete itself is sent again."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    policy = RetryPolicy(max_attempts=4, max_seconds=600, base=2, cap=4, sleep=sleep, clock=lambda: now[0])
    world = make_world(comms_mining_emulator, policy)
    made = delete_plan(world)
    server = comms_mining_emulator
    server.faults.add(429, "DELETE", retry_after=30)
    server.faults.add(503, "DELETE", when="before")
    server.faults.add("no-answer", "DELETE", when="before")
    read: dict[str, float] = {}
    ages = []

    class Clocked(SourcesApi):
        """Knows how old what it read is when it deletes."""

        def get_by_id(self, source_id: str) -> Any:
            source = super().get_by_id(source_id)
            read[source_id] = now[0]
            return source

        def delete(self, source_id: str, *, project: str | None = None) -> bool:
            ages.append(now[0] - read[source_id])
            return super().delete(source_id, project=project)

    report = apply(made, Clocked(world.api.session), delete_nonempty=True)
    assert results(report) == {"nps-1": "done"}
    assert len(ages) == 4
    assert max(ages) <= 1.0
    assert now[0] >= 1030
    world.api.session.close()


def test_a_look_that_others_have_to_wait_after_is_repeated(comms_mining_emulator: EmulatorServer) -> None:
    """The server asks another worker to wait while the source is being read."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    policy = RetryPolicy(max_attempts=4, max_seconds=600, sleep=sleep, clock=lambda: now[0])
    world = make_world(comms_mining_emulator, policy)
    made = delete_plan(world)
    read_at: list[float] = []

    class HeldUp(SourcesApi):
        """During the first read, all are asked to wait."""

        def get_by_id(self, source_id: str) -> Any:
            source = super().get_by_id(source_id)
            read_at.append(now[0])
            if len(read_at) == 1:
                self.session.budget().pause(30.0)
            return source

        def delete(self, source_id: str, *, project: str | None = None) -> bool:
            assert now[0] - read_at[-1] <= 1.0
            return super().delete(source_id, project=project)

    assert results(apply(made, HeldUp(world.api.session), delete_nonempty=True)) == {"nps-1": "done"}
    assert read_at == [1000.0, 1030.0]
    world.api.session.close()


def test_what_changes_while_the_server_asks_to_wait_is_not_deleted(world: World) -> None:
    made = delete_plan(world)
    world.server.faults.add(429, "DELETE", retry_after=0)

    class Busy(SourcesApi):
        """While the delete waits, somebody uses the source."""

        def delete(self, source_id: str, *, project: str | None = None) -> bool:
            world.tenant.update_source(PROJECT, "nps-1", title="in use")
            return super().delete(source_id, project=project)

    assert results(apply(made, Busy(world.api.session))) == {"nps-1": "stale"}
    assert "nps-1" in world.names()


def test_a_delete_that_is_hidden_behind_404_is_not_called_gone(world: World) -> None:
    made = delete_plan(world)
    world.server.faults.add(404, "DELETE", times=100)
    report = apply(made, world.api)
    assert results(report) == {"nps-1": "failed"}
    assert "404" in message(report, "nps-1")
    assert "nps-1" in world.names()
    world.server.faults.clear()
    # The read before it, too: the source is listed, and so it is there.
    world.server.faults.add(404, "GET", "*/id:*", times=100)
    report = apply(made, world.api, actual=world.api.list(PROJECT))
    assert results(report) == {"nps-1": "failed"}
    assert "lists the source, and yet does not find it" in message(report, "nps-1")


def test_what_is_gone_already_is_said_to_be_so_only_if_the_list_agrees(world: World) -> None:
    made = delete_plan(world)
    seen = world.api.list(PROJECT)
    world.tenant.delete_source(PROJECT, "nps-1")
    report = apply(made, world.api, actual=seen, delete_nonempty=True)
    assert results(report) == {"nps-1": "unchanged"}
    assert "gone already" in message(report, "nps-1")
    assert report.ok


# Failures


def many(world: World, count: int = 20) -> Plan:
    return world.plan(manifest(*({"name": f"s-{number:02}", "title": "t"} for number in range(count))))


def test_one_failure_stops_nothing_else(world: World) -> None:
    made = many(world)
    world.server.faults.add(422, "PUT", "*/s-05")
    report = apply(made, world.api)
    assert report.counts == {"done": 19, "failed": 1}
    assert results(report)["s-05"] == "failed"
    assert "422" in message(report, "s-05")
    assert not report.transient
    assert report.failure_text().startswith("acme-dev: 19 done, 1 failed\n- s-05 (create): failed: ")


@pytest.mark.parametrize(("fault", "transient"), [(401, True), (403, False), ("quota", False), ("revoked-token", True)])
def test_a_refused_token_or_permission_stops_what_is_not_begun(world: World, fault: int | str, transient: bool) -> None:
    made = many(world, 50)
    world.sent()
    world.server.faults.add(fault, "PUT", skip=10, times=1000)
    report = apply(made, world.api, max_workers=4)
    assert report.counts["done"] == 10
    assert 1 <= report.counts["failed"] <= 4
    assert report.counts["skipped"] == 50 - 10 - report.counts["failed"]
    assert report.transient is transient or bool(report.problem)
    assert not report.ok
    skipped = [outcome for outcome in report.outcomes if outcome.result == "skipped"]
    assert all("not tried" in outcome.message for outcome in skipped)
    assert len([each for each in world.sent() if each.startswith("PUT")]) <= 14
    world.server.faults.clear()


def test_a_full_quota_is_true_to_its_word(world: World) -> None:
    world.server.configure(source_quota=7)
    report = apply(many(world), world.api)
    assert report.counts["done"] == 7
    assert len(world.names()) == 7
    world.server.configure(source_quota=None)
    again = apply(many(world), world.api)
    assert again.ok
    assert len(world.names()) == 20


def test_guards_are_told_for_each_action_and_nothing_is_sent(world: World) -> None:
    made = rollout(world)
    session = ApiSession(world.tenant.endpoint, DeveloperToken("emulator-admin"), guards=Guards(read_only=True))
    report = apply(made, SourcesApi(session))
    assert set(results(report).values()) == {"failed"}
    assert all("read_only" in outcome.message for outcome in report.outcomes)
    assert not [each for each in world.sent() if "GET" not in each and "statistics" not in each]
    session.close()


def test_a_project_that_cannot_be_listed_is_an_error_before_anything_is_written(world: World) -> None:
    made = rollout(world)
    world.server.faults.add(401, "GET", times=10)
    with pytest.raises(AuthenticationError):
        apply(made, world.api)
    assert len(world.server.changes) == 5


def test_a_list_that_fails_at_the_end_is_told(world: World) -> None:
    made = many(world, 3)
    world.server.faults.add(403, "GET", skip=1)
    report = apply(made, world.api)
    assert report.counts == {"done": 3}
    assert not report.ok
    assert not report.verified
    assert report.transient
    assert "could not be listed at the end" in report.summary()
    assert "could not be listed at the end" in report.failure_text()


def test_a_lost_response_is_confirmed(world: World) -> None:
    made = rollout(world)
    world.server.faults.add("no-answer", "PUT", "*/new-2", when="after")
    world.server.faults.add("no-answer", "POST", "*/moved-2", when="after")
    world.server.faults.add("no-answer", "DELETE", when="after")
    report = apply(made, world.api)
    assert report.counts == {"confirmed": 3, "done": 3}
    assert report.ok


def test_an_unknown_outcome_is_settled_by_the_list_or_stays_unknown(world: World) -> None:
    made = world.plan(manifest({"name": "a", "title": "t"}, {"name": "b", "title": "t"}))
    world.server.faults.add("no-answer", "PUT", "*/a", times=10, when="after")
    world.server.faults.add("no-answer", "PUT", "*/b", times=10, when="before")
    world.server.faults.add("no-answer", "GET", "*/a", times=10)
    world.server.faults.add("no-answer", "GET", "*/b", times=10)
    report = apply(made, world.api)
    assert results(report) == {"a": "confirmed", "b": "unknown"}
    assert "it is not known whether this was carried out" in message(report, "b")
    assert report.transient
    world.server.faults.clear()
    assert results(apply(made, world.api)) == {"a": "unchanged", "b": "done"}


def test_an_answer_is_not_believed_against_the_list(world: World) -> None:
    added(world, "a", sensitive_properties=["string:x", "string:y"])
    world.server.configure(sensitive_properties_update="merge")
    made = world.plan(manifest({"name": "a", "sensitive_properties": ["string:x"]}), allow_risky=True)
    report = apply(made, world.api)
    assert results(report) == {"a": "failed"}
    assert "answered with something else: sensitive_properties" in message(report, "a")


def test_an_answer_that_shows_something_else_is_no_success_where_the_last_list_fails(world: World) -> None:
    added(world, "a", sensitive_properties=["string:x", "string:y"])
    world.server.configure(sensitive_properties_update="merge")
    made = world.plan(manifest({"name": "a", "sensitive_properties": ["string:x"]}), allow_risky=True)
    world.server.faults.add("wrong-envelope", "GET", skip=1, times=100)
    report = apply(made, world.api)
    assert (results(report), report.verified) == ({"a": "failed"}, False)


def test_a_success_is_not_believed_against_the_list(world: World) -> None:
    class Overtaken(SourcesApi):
        """Its update is overwritten by somebody at once."""

        def update(self, project: str, name: str, **fields: Any) -> Any:
            changed = super().update(project, name, **fields)
            world.tenant.update_source(PROJECT, name, title="theirs")
            return changed

    added(world, "a", title="before")
    made = world.plan(manifest({"name": "a", "title": "ours"}))
    report = apply(made, Overtaken(world.api.session))
    assert results(report) == {"a": "failed"}
    assert "the list afterwards shows something else: title is 'theirs'" in message(report, "a")


def test_what_the_list_lacks_afterwards_is_unknown(world: World) -> None:
    class Forgetful(SourcesApi):
        """Its create is undone by somebody at once."""

        def create(self, project: str, name: str, **fields: Any) -> Any:
            made = super().create(project, name, **fields)
            world.tenant.delete_source(PROJECT, name)
            return made

        def delete(self, source_id: str, *, project: str | None = None) -> bool:
            return True

    made = world.plan(manifest({"name": "a"}))
    report = apply(made, Forgetful(world.api.session))
    assert results(report) == {"a": "unknown"}
    assert "does not list the source afterwards" in message(report, "a")
    report = apply(delete_plan(world), Forgetful(world.api.session))
    assert results(report) == {"nps-1": "failed"}
    assert "still lists the source" in message(report, "nps-1")


def test_a_server_that_upserts_is_not_called_a_success(full: World) -> None:
    world = full
    world.server.configure(duplicate_put="upsert")
    made = world.plan(manifest({"name": "a", "title": "mine"}))
    added(world, "a", title="rival")
    time.sleep(2.1)  # the server's clock has whole seconds
    report = apply(made, world.api, actual=[])
    assert results(report) == {"a": "failed"}
    assert "upsert" in message(report, "a")


def test_an_unexpected_exception_is_one_failure_like_any_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SourcesApi):
        """Has a mistake in its program."""

        def create(self, project: str, name: str, **fields: Any) -> Any:
            if name == "s-01":
                raise ZeroDivisionError("oh")
            return super().create(project, name, **fields)

    report = apply(many(world, 3), Broken(world.api.session))
    assert report.counts == {"done": 2, "failed": 1}
    assert message(report, "s-01") == "unexpected ZeroDivisionError: oh"
    assert "Traceback" in caplog.text


def test_no_message_holds_control_characters_of_a_server(world: World, caplog: pytest.LogCaptureFixture) -> None:
    added(world, "a", title="before")
    made = world.plan(manifest({"name": "a", "title": "after"}))
    world.tenant.update_source(PROJECT, "a", title="\x1b[31mred\nERROR forged line\u202e")
    report = apply(made, world.api)
    assert message(report, "a").isprintable()
    assert "red" in message(report, "a")
    assert all(record.getMessage().isprintable() for record in caplog.records if "rollout" in record.name)


def test_blocked_and_unverified_actions_have_outcomes_too(world: World) -> None:
    added(world, "lang", language="de", title="t")
    added(world, "call", _kind="call")
    made = world.plan(
        manifest({"name": "lang", "language": "en", "title": "u"}, {"name": "call", "kind": "call"}, {"name": "new"})
    )
    report = apply(made, world.api)
    expected = {"lang": "skipped", "new": "done"}
    if world.server.settings.shapes == "docs":
        expected["call"] = "unchanged"
    assert results(report) == expected
    assert "the plan blocks it: the effect of an update to language is unknown" in message(report, "lang")
    assert world.held("lang")["title"] == "t"
    assert not report.ok


def test_detaching_and_changing_buckets(full: World) -> None:
    old, new = (full.tenant.add_bucket(PROJECT, name)["id"] for name in ("old", "new"))
    for name in ("detached", "changed"):
        added(full, name, bucket_id=old)
    added(full, "attached")
    wanted = manifest(
        {"name": "detached", "detach_bucket": True},
        {"name": "changed", "bucket_id": new},
        {"name": "attached", "bucket_id": new},
        {"name": "created", "bucket_id": new},
    )
    assert full.plan(wanted).counts == {"update": 1, "blocked": 3}
    assert apply(full.plan(wanted, allow_risky=True), full.api).counts == {"done": 4}
    assert {name: full.held(name).get("bucket_id") for name in ("detached", "changed", "attached", "created")} == {
        "detached": None,
        "changed": new,
        "attached": new,
        "created": new,
    }
    assert full.plan(wanted).actions == ()


# Together


def test_never_more_than_so_many_requests_at_once(world: World) -> None:
    class Counting(SourcesApi):
        """Knows how many creates are under way."""

        lock, now, most, threads = threading.Lock(), 0, 0, set[str]()

        def create(self, project: str, name: str, **fields: Any) -> Any:
            with Counting.lock:
                Counting.now += 1
                Counting.most = max(Counting.most, Counting.now)
                Counting.threads.add(threading.current_thread().name)
            try:
                time.sleep(0.005)
                return super().create(project, name, **fields)
            finally:
                with Counting.lock:
                    Counting.now -= 1

    assert apply(many(world, 30), Counting(world.api.session), max_workers=3).ok
    assert Counting.most == 3
    with pytest.raises(ConfigurationError, match="max_workers: 0"):
        apply(world.plan(manifest({"name": "a"})), world.api, max_workers=0)


def test_one_429_makes_everybody_wait_as_long_as_the_server_says(comms_mining_emulator: EmulatorServer) -> None:
    policy = RetryPolicy(max_attempts=5, max_seconds=30, base=0.001, cap=0.002)
    world = make_world(comms_mining_emulator, policy)
    comms_mining_emulator.configure(latency_ms=10)
    made = many(world, 60)
    comms_mining_emulator.clear_requests()
    comms_mining_emulator.faults.add(429, "PUT", skip=20, retry_after=1)
    started = time.monotonic()
    report = apply(made, world.api, max_workers=4)
    assert report.counts == {"done": 60}
    assert time.monotonic() - started < 5
    writes = [each for each in comms_mining_emulator.requests if each.method == "PUT"]
    (refused,) = (each for each in writes if each.status == 429)
    after = sorted((each.at - refused.at).total_seconds() for each in writes if each.at > refused.at)
    assert len(writes) == 61
    early = [seconds for seconds in after if seconds < 0.9]
    # What is under way when the answer is on its way back may still end, on a busy machine a few more than three.
    assert len(early) <= 12, f"not everybody has waited: {after}"
    world.api.session.close()


def test_a_storm_of_429_ends_well(comms_mining_emulator: EmulatorServer) -> None:
    slept: list[float] = []
    now = [0.0]
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            slept.append(seconds)
            now[0] += seconds

    # Which worker meets which of the seeded 429s varies: with few attempts, one of 40 creates may meet nothing else.
    policy = RetryPolicy(max_attempts=40, max_seconds=600, base=0.001, cap=0.002, sleep=sleep, clock=lambda: now[0])
    world = make_world(comms_mining_emulator, policy)
    made = many(world, 40)
    comms_mining_emulator.faults.add(429, "PUT", probability=0.4, seed=5, retry_after=7)
    report = apply(made, world.api)
    assert report.counts == {"done": 40}
    assert slept
    world.api.session.close()


def test_a_server_that_asks_for_more_patience_than_there_is_stops_the_rest(world: World) -> None:
    made = many(world, 30)
    world.server.faults.add(429, "PUT", skip=5, times=1000, retry_after=3600)
    report = apply(made, world.api, max_workers=2)
    assert report.counts["done"] == 5
    assert report.counts["failed"] <= 2
    assert report.counts["skipped"] >= 23
    assert report.transient


def test_progress_is_logged_while_it_takes_long(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = many(world, 20)
    monkeypatch.setattr(applying, "PROGRESS_SECONDS", 0.05)
    world.server.configure(latency_ms=40)
    with caplog.at_level(logging.INFO, "airflow_provider_cm.rollout"):
        apply(made, world.api, max_workers=2)
    told = [record.getMessage() for record in caplog.records if "actions have ended" in record.getMessage()]
    assert len(told) >= 3
    assert told[0].endswith("of 20 actions have ended")
    assert caplog.messages[-1] == "acme-dev: 20 done"


def test_an_interrupted_apply_begins_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """What Airflow raises in a task that is to end."""

    def kill() -> None:
        raise Killed

    made = many(world, 200)
    world.server.configure(latency_ms=20)
    monkeypatch.setattr(applying, "PROGRESS_SECONDS", 0.1)
    from airflow_provider_cm.rollout import worker_pool

    run = worker_pool.WorkerPool.run
    monkeypatch.setattr(
        worker_pool.WorkerPool, "run", lambda self, jobs, **options: run(self, jobs, **{**options, "on_progress": kill})
    )
    with pytest.raises(Killed):
        apply(made, world.api, max_workers=2)
    assert not [thread for thread in threading.enumerate() if thread.name == "rollout"]
    monkeypatch.undo()
    world.server.configure(latency_ms=0)
    done = len(world.names())
    assert 0 < done < 100
    assert apply(made, world.api).counts == {"done": 200 - done, "unchanged": done}


def test_the_clients_own_session_is_left_as_it_was(world: World) -> None:
    session, policy = world.api.session, world.api.session.retry
    apply(many(world, 2), world.api)
    assert world.api.session is session
    assert session.retry is policy is POLICY


def test_a_manifest_of_many_projects_is_several_plans(full: World) -> None:
    for project in (PROJECT, "acme-prod"):
        wanted = Manifest.parse({"project": project, "sources": [{"name": "a", "title": project}]})
        assert apply(full.plan(wanted), full.api).ok
    assert full.server.tenant(TENANT).source("acme-prod", "a")["title"] == "acme-prod"  # type: ignore[index]
