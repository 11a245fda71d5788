"""A test's way to one tenant of a running emulator, without HTTP."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import orjson

from airflow_provider_cm.emulator.dataset_json import dataset_json
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_sync import SyncTarget, message_jsons
from airflow_provider_cm.emulator.operations import check_body, check_name, parse_json
from airflow_provider_cm.emulator.permissions import ROLES
from airflow_provider_cm.emulator.serializers import bucket_json, project_json, source_json
from airflow_provider_cm.emulator.source_fields import source_fields
from airflow_provider_cm.emulator.stream_store import find_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_cm.emulator.message_records import Bill
    from airflow_provider_cm.emulator.records import SourceFields, StoredSource
    from airflow_provider_cm.emulator.state import State


class TenantHandle:
    """
    One tenant, to set up and to look into.

    What it does follows the same rules and settings as the API, appears in no record of requests, and raises
    :class:`~airflow_provider_cm.emulator.errors.ApiError` where the API would answer an error.

    :param state: the emulator's state.
    :param path: the tenant's path.
    :param url: the emulator's own URL.
    """

    def __init__(self, state: State, path: str, url: str) -> None:
        self._state = state
        self.path = path
        self._url = url

    @property
    def endpoint(self) -> str:
        """The tenant's base URL, without ``/api``: what a connection has as its host."""
        return self._url + self.path.rstrip("/")

    @property
    def identity_url(self) -> str:
        """The token endpoint that belongs to the tenant."""
        organization = self._state.tenant(self.path).organization
        return f"{self._url}{f'/{organization}' if organization else ''}/identity_/connect/token"

    def add_project(self, name: str, **fields: object) -> dict[str, Any]:
        """Add a project; ``title`` and ``description`` are optional."""
        state = self._state
        check_name(name, "createProject", "name", state.settings)
        with state.lock:
            values = check_body({"project": fields}, "createProject", state.settings)["project"]
            project = state.tenant(self.path).add_project(name, values, state.settings)
            state.changed()
            return project_json(project, state.settings)

    def add_bucket(self, project: str, name: str, title: str | None = None) -> dict[str, Any]:
        """Add a bucket, whose ``id`` can then be a source's ``bucket_id``."""
        state = self._state
        check_name(name, "createBucket", "bucket_name", state.settings)
        with state.lock:
            bucket = state.tenant(self.path).add_bucket(project, name, title, state.settings)
            state.changed()
            return bucket_json(bucket, state.settings)

    def add_source(self, project: str, name: str, *, messages: int = 0, **fields: object) -> dict[str, Any]:
        """
        Add a source.

        :param messages: how many messages it holds.
        :param fields: as in the body of a create: ``title``, ``description``, ``language``, ``_kind`` and so on.
        :return: the source with all its keys, whatever the setting ``shapes``.
        """
        state = self._state
        check_name(name, "createSource", "source_name", state.settings)
        with state.lock:
            values = self._source_fields(fields, update=False)
            tenant = state.tenant(self.path)
            source = tenant.create_source(project, name, values, state.settings)
            tenant.set_comments(source, messages)
            state.changed()
            return self._show(source)

    def update_source(self, project: str, name: str, **fields: object) -> dict[str, Any]:
        """Change a source as an update does, for instance one by another client."""
        state = self._state
        with state.lock:
            values = self._source_fields(fields, update=True)
            source = state.tenant(self.path).update_source(project, name, values, state.settings)
            state.changed()
            return self._show(source)

    def delete_source(self, project: str, name: str) -> None:
        """Delete a source, for instance as another client would."""
        state = self._state
        with state.lock:
            state.tenant(self.path).delete_source(self._find(project, name).id, state.settings)
            state.changed()

    def set_message_count(self, project: str, name: str, count: int) -> None:
        """
        Set how many messages a source holds according to its statistics, without loading any.

        :raises RefusedRequestError: 409 if messages were loaded into the source: then those are counted.
        """
        with self._state.lock:
            self._state.set_message_count(self.path, self._find(project, name), count)

    def add_messages(self, project: str, name: str, messages: Iterable[dict[str, Any]]) -> dict[str, int]:
        """
        Create or overwrite messages, as a sync does, and as it is billed.

        :param messages: as in the body of a sync, such as ``{"id": "1", "messages": [{"body": {"text": "Hello"}}]}``.
        :return: how many were what, as a sync answers it.
        """
        with self._state.lock:
            # A copy, and JSON: the store takes them apart.
            body = parse_json(orjson.dumps({"comments": list(messages)}))
            comments = check_body(body, "syncComments", self._state.settings)["comments"]
            return self._messages_of(project, name).sync(comments).to_json()

    def messages(self, project: str, name: str) -> list[dict[str, Any]]:
        """List the messages of a source as the API shows them, by timestamp."""
        with self._state.lock:
            target = self._messages_of(project, name)
            return message_jsons(target.store.scan(self.path, target.source), target, markup=True)

    def delete_messages(self, project: str, name: str, ids: Iterable[str]) -> int:
        """Delete messages, for instance as another client would; return the number of those that existed."""
        with self._state.lock:
            return self._state.messages.delete(self.path, self._messages_of(project, name).source, ids)

    @property
    def bill(self) -> Bill:
        """The tenant's bill since the start: messages created, and updates that changed a text."""
        with self._state.lock:
            return self._state.messages.bill(self.path)

    def add_token(
        self, name: str, value: str | None = None, *, role: Literal["admin", "loader", "viewer", "none"] = "admin"
    ) -> str:
        """
        Add a developer token that this tenant knows and every other tenant answers with 401.

        :param name: names it in the record of requests, and for :meth:`connection`.
        :param value: the token itself; made up if not given.
        :param role: ``admin`` may do everything, ``loader`` look and load messages, ``viewer`` look, ``none`` nothing.
        :return: the token itself.
        """
        self._state.tenant(self.path)
        return self._state.tokens.add(name, value or secrets.token_urlsafe(24), ROLES[role], tenant=self.path).value

    def sources(self) -> list[dict[str, Any]]:
        """List the sources with all their keys, whatever the setting ``shapes``."""
        with self._state.lock:
            return [self._show(source) for source in self._state.tenant(self.path).sources.values()]

    def source(self, project: str, name: str) -> dict[str, Any] | None:
        """Return one source with all its keys, or ``None``."""
        state = self._state
        with state.lock:
            matches = state.tenant(self.path).source(project, name, state.settings)
            return self._show(matches) if matches else None

    # Datasets

    def add_dataset(self, project: str, name: str, *, sources: Iterable[str] = (), **fields: object) -> dict[str, Any]:
        """
        Add a dataset.

        :param sources: names of its sources, as ``project/name``, or as a name alone in the dataset's own project.
        :param fields: as in the body of a create: ``title``, ``has_sentiment``, ``label_defs`` and so on.
        """
        state = self._state
        check_name(name, "createDataset", "dataset_name", state.settings)
        with state.lock:
            ids = [self._find(*_project_and_name(each, project)).id for each in sources]
            body = {"dataset": {"source_ids": ids, **fields}}
            values = check_body(body, "createDataset", state.settings)["dataset"]
            tenant = state.tenant(self.path)
            dataset, _ = tenant.datasets.create(tenant, project, name, values, state.settings)
            state.changed()
            return dataset_json(dataset, state.settings)

    def set_predictions(self, project: str, name: str, uid: str, labels: Mapping[str, float]) -> None:
        """
        Set the predictions of a dataset for a message, in place of those that the emulator makes up.

        :param uid: id of the source, a full stop, and the id of the message.
        :param labels: probabilities by the names of labels.
        """
        state = self._state
        with state.lock:
            dataset = state.tenant(self.path).datasets.existing(project, name, state.settings)
            matches = [{"name": label, "probability": float(each)} for label, each in labels.items()]
            dataset.predictions[uid] = sorted(matches, key=lambda each: (-each["probability"], each["name"]))
            state.changed()

    def retrain(self, project: str, name: str) -> int:
        """Train a new model of a dataset, which predicts something else; return its version."""
        state = self._state
        with state.lock:
            dataset = state.tenant(self.path).datasets.existing(project, name, state.settings)
            dataset.model_version += 1
            dataset.trained_at = state.now()
            state.changed()
            return dataset.model_version

    def stream_exceptions(self, project: str, dataset: str, stream: str) -> dict[str, str]:
        """Return the types of the exceptions stored for a stream, by uid of the message."""
        state = self._state
        with state.lock:
            matches = state.tenant(self.path).datasets.existing(project, dataset, state.settings)
            return dict(find_stream(matches, stream, state.settings).exceptions)

    def connection(
        self,
        auth: Literal["token", "app"] = "token",
        token: str = "emulator-admin",  # noqa: S107  public, and good for nothing but an emulator
    ) -> dict[str, Any]:
        """
        Describe an Airflow connection to this tenant; as JSON it is the value of an ``AIRFLOW_CONN_...`` variable.

        :param auth: ``token`` for a developer token, ``app`` for the external application.
        :param token: name of the developer token.
        """
        connection: dict[str, Any] = {"conn_type": "comms_mining", "host": self.endpoint, "extra": {}}
        if auth == "token":
            return {**connection, "password": self._state.tokens.named(token).value}
        application = self._state.tokens.applications["emulator-app"]
        if not urlsplit(self.endpoint).path:
            # A tenant at the root has no organization in its URL to derive the token endpoint from.
            connection["extra"] = {"identity_url": self.identity_url}
        return {**connection, "login": application.client_id, "password": application.secret}

    def _source_fields(self, fields: dict[str, object], *, update: bool) -> SourceFields:
        settings = self._state.settings
        body = check_body({"source": fields}, "updateSource" if update else "createSource", settings)
        return source_fields(body["source"], settings, update=update)

    def _find(self, project: str, name: str) -> StoredSource:
        source = self._state.tenant(self.path).source(project, name, self._state.settings)
        if source is None:
            raise RefusedRequestError(404, f"Source '{project}/{name}' not found")
        return source

    def _messages_of(self, project: str, name: str) -> SyncTarget:
        state = self._state
        return SyncTarget(state.messages, self.path, self._find(project, name).id, state.now(), state.settings)

    def _show(self, source: StoredSource) -> dict[str, Any]:
        return source_json(source, self._state.settings.changed(shapes="full"), language=True)


def _project_and_name(text: str, project: str) -> tuple[str, str]:
    """Read ``project/name``, or a name alone."""
    before, slash, name = text.rpartition("/")
    return (before, name) if slash else (project, name)
