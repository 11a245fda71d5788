"""The probe's own sources: made under a random prefix, remembered before they are sent for, and deleted again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.probe.client import ProbeStoppedError
from airflow_provider_cm.emulator.probe.credentials import DeniedError, TroubleError
from airflow_provider_cm.emulator.probe.scratch_datasets import ScratchDatasets
from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.probe.client import ProbeClient, ProbeReply

Json = dict[str, Any]
Ask = Callable[["ScratchProject"], Answer]
Place = tuple[str, str]

_LOOKS = 3


class ScratchProject:
    """
    Creates, changes and deletes sources, its own only.

    :param client: the way to the API.
    :param project: the scratch project.
    """

    def __init__(self, client: ProbeClient, project: str) -> None:
        self.client = client
        self.project = project
        self.prefix = f"probe-{secrets.token_hex(8)}"
        self.absent_project = f"{self.prefix}-no-such-project"
        # What the questions may use: a second token, languages to try, and those found to be accepted.
        self.viewer_token: str | None = None
        self.languages: tuple[str, ...] = ()
        self.accepted_languages: tuple[str, ...] = ()
        # Whether messages may be loaded, which is billed.
        self.may_load = False
        self.left_projects: list[str] = []
        self.datasets = ScratchDatasets(client, project, self.name)
        self._count = 0
        self._bench: dict[str, Any] | None = None
        # Every place that a create was sent for, those without an answer, what exists, what existed.
        self._places: set[Place] = set()
        self._unanswered: set[Place] = set()
        self._made: dict[str, Place] = {}
        self._gone: set[str] = set()
        self._stubborn: set[str] = set()

    def name(self, suffix: str = "") -> str:
        """Make up a name that nobody has."""
        self._count += 1
        return f"{self.prefix}-{self._count}{suffix}"

    def put(self, name: str, fields: Json, *, project: str | None = None, token: str | None = None) -> ProbeReply:
        """Send a create, and keep in mind what it may make."""
        place = (project or self.project, name)
        self._places.add(place)
        self._unanswered.add(place)
        try:
            reply = self.client.call("PUT", *place, body={"source": fields}, token=token)
        except ProbeStoppedError:
            # Nothing is in flight.
            self._unanswered.discard(place)
            raise
        self._unanswered.discard(place)
        if reply.ok and isinstance(reply.source.get("id"), str):
            self._made[reply.source["id"]] = place
        return reply

    def create(self, **fields: Any) -> Json:
        """Create a source to try something on."""
        reply = self.put(self.name(), fields)
        if not reply.ok or not reply.source.get("id"):
            raise UnsettledError(f"a source could not be created: {reply}")
        return reply.source

    def bench(self) -> Json:
        """Return the source that the questions about updates share, as it was when created without fields."""
        if self._bench is None:
            self._bench = self.create()
        return self._bench

    def place(self) -> Place:
        """Return project and name of the source that the questions share."""
        return self.project, self.bench()["name"]

    def update(self, source: Json, fields: Json) -> ProbeReply:
        """Send an update of one of its own sources."""
        return self.client.call("POST", self.project, source["name"], body={"source": fields})

    def read(self, source: Json) -> Json:
        """Read one of its own sources by id."""
        reply = self.client.call("GET", f"id:{source['id']}")
        if not reply.ok:
            raise UnsettledError(f"a source that was created could not be read: {reply}")
        return reply.source

    def delete(self, source_id: str) -> ProbeReply:
        """Delete one of its own sources, or try to once more."""
        if source_id not in self._made and source_id not in self._gone:
            raise ValueError("that source is not the probe's")
        reply = self.client.call("DELETE", f"id:{source_id}")
        if reply.ok or reply.status == 404:
            self._made.pop(source_id, None)
            self._gone.add(source_id)
        return reply

    def tidy(self, *, keep_bench: bool) -> None:
        """Delete what the last question made; what can't be deleted now is left to :meth:`clean`."""
        remaining = self._bench["id"] if self._bench and keep_bench else None
        if remaining is None:
            self._bench = None
        self.datasets.tidy()
        for source_id in [each for each in self._made if each != remaining and each not in self._stubborn]:
            try:
                self.delete(source_id)
            except TroubleError:
                self._stubborn.add(source_id)

    def clean(self) -> tuple[list[str], list[str]]:
        """
        Delete all that it made, and look for what may have been made without an answer.

        :return: the leftovers, and those that may exist.
        """
        self._bench = None
        left_datasets, unsure_datasets = self.datasets.clean()
        try:
            # Also what a server made although its answer said otherwise.
            self._adopt(self.client.call("GET", self.project).sources if self._places else [])
        except (TroubleError, DeniedError):
            self._unanswered |= self._places
        unsure = [text for place in sorted(self._unanswered) if (text := self._look(place))]
        left = [text for source_id in list(self._made) if (text := self._remove(source_id))]
        left += [f"{project}: a project that the service made by itself" for project in self.left_projects]
        return left_datasets + left, unsure_datasets + unsure

    def _adopt(self, sources: list[Json]) -> None:
        # Only names that were made up here and sent: nobody else has them.
        folded = {_folded(place): place for place in self._places}
        for source in sources:
            output = str(source.get("owner")), str(source.get("name"))
            place = output if output in self._places else folded.get(_folded(output))
            if place and isinstance(source.get("id"), str):
                self._made[source["id"]] = place
                self._unanswered.discard(place)

    def _look(self, place: Place) -> str | None:
        why = "its creation was not answered, and it was not there later"
        for look in range(_LOOKS):
            self.client.rest(0.3 * look * self.client.backoff)
            try:
                reply = self.client.call("GET", *place)
            except (TroubleError, DeniedError) as error:
                why = f"nobody knows whether it was created: {error}"
                continue
            self._adopt([reply.source] if reply.ok else [])
            if place in self._made.values():
                return None
        return f"{'/'.join(place)}: {why}"

    def _remove(self, source_id: str) -> str | None:
        place = "/".join(self._made[source_id])
        why = ""
        for attempt in range(_LOOKS):
            self.client.rest(0.3 * attempt * self.client.backoff)
            try:
                reply = self.delete(source_id)
            except (TroubleError, DeniedError) as error:
                why = str(error)
                continue
            if reply.ok or reply.status == 404:
                return None
            why = str(reply)
        return f"{place} (id {source_id}): it can't be deleted: {why}"


def _folded(place: Place) -> Place:
    return place[0].lower(), place[1].lower()
