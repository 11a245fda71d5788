"""One tenant: its projects, buckets and sources, and what each operation does to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_cm.emulator.dataset_store import Datasets
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.permissions import READ
from airflow_provider_cm.emulator.records import (
    Clock,
    ProjectFields,
    SourceChange,
    SourceFields,
    StoredBucket,
    StoredProject,
    StoredSource,
    StoredUser,
    new_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_cm.emulator.dataset_records import StoredDataset
    from airflow_provider_cm.emulator.settings import EmulatorSettings

_Record = TypeVar("_Record")
# Names may be longer than titles.
_LONGEST_TITLE = 128


@dataclass
class Tenant:
    """
    The data of one tenant.

    Not thread-safe by itself: callers hold the lock of the state that it belongs to.

    :param path: where it is mounted, ``/`` or ``/<org>/<tenant>/reinfer_``.
    :param clock: returns the time for every timestamp.
    :param record: called with every write that was carried out.
    """

    path: str
    clock: Clock
    record: Callable[[SourceChange], None]
    projects: dict[str, StoredProject] = field(default_factory=dict)
    sources: dict[str, StoredSource] = field(default_factory=dict)
    buckets: dict[str, StoredBucket] = field(default_factory=dict)
    # Those that were created or changed over the API; who owns a token is a user without being here.
    users: dict[str, StoredUser] = field(default_factory=dict)
    datasets: Datasets = field(default_factory=Datasets)
    # (project, name) -> id; the way in for names exactly as they were given.
    _ids: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the path of each of its URLs begins with; empty at the root."""
        return self.path.rstrip("/")

    @property
    def organization(self) -> str | None:
        """The organization in its path, if it has one."""
        return self.prefix.split("/")[1] if self.prefix else None

    # Projects

    def project(self, name: str, settings: EmulatorSettings) -> StoredProject | None:
        """Find a project by name."""
        if matches := self.projects.get(name):
            return matches
        return _fold(self.projects.values(), settings, lambda project: project.name, name)

    def add_project(self, name: str, fields: ProjectFields, settings: EmulatorSettings) -> StoredProject:
        """Create a project; 409 if the name is taken."""
        if self.project(name, settings):
            raise RefusedRequestError(409, f"Project '{name}' already exists")
        now = self.clock()
        title = fields.get("title", _title(name, settings))
        joins = fields.get("user_auto_join", False)
        project = StoredProject(new_id(), name, title, fields.get("description", ""), now, now, joins)
        self.projects[name] = project
        return project

    def update_project(self, name: str, fields: ProjectFields, settings: EmulatorSettings) -> StoredProject:
        """Change a project's title or description."""
        project = self.existing_project(name, settings)
        changed = replace(project, updated_at=self.clock(), **fields)
        self.projects[project.name] = changed
        return changed

    def delete_project(self, name: str, settings: EmulatorSettings, *, force: bool) -> None:
        """Delete a project; 409 while it holds something, unless forced."""
        project = self.existing_project(name, settings)
        sources = [source for source in self.sources.values() if source.owner == project.name]
        buckets = [bucket for bucket in self.buckets.values() if bucket.owner == project.name]
        datasets = self.datasets.in_project(project.name)
        counts = {"buckets": len(buckets), "datasets": len(datasets), "sources": len(sources)}
        held = ", ".join(f'"{kind}": {count}' for kind, count in counts.items() if count)
        if held and not force:
            message = "Project contains child resources but force deletion was not requested"
            raise RefusedRequestError(409, f"{message}: {{{held}}}")
        for dataset in datasets:
            del self.datasets.by_id[dataset.id]
        for source in sources:
            self._remove(source)
        for bucket in buckets:
            self.delete_bucket(bucket.id)
        del self.projects[project.name]

    def existing_project(self, name: str, settings: EmulatorSettings) -> StoredProject:
        """Find a project by name; 404 if there is none."""
        project = self.project(name, settings)
        if project is None:
            raise RefusedRequestError(404, f"No such project: '{name}'")
        return project

    def let_user_into_project(self, user_id: str, project: str) -> None:
        """Let a user look into a project, as its creator does for the users named; the owners of tokens may already."""
        user = self.users.get(user_id)
        if user is not None:
            self.users[user_id] = user.changed({"organisation_permissions": {project: (READ,)}})

    # Buckets

    def bucket(self, owner: str, name: str, settings: EmulatorSettings) -> StoredBucket | None:
        """Find a bucket by project and name."""
        for bucket in self.buckets.values():
            if _same((bucket.owner, bucket.name), (owner, name), settings):
                return bucket
        return None

    def add_bucket(
        self, owner: str, name: str, title: str | None, settings: EmulatorSettings, bucket_id: str | None = None
    ) -> StoredBucket:
        """Create a bucket; 409 if the name is taken."""
        project = self.existing_project(owner, settings)
        if self.bucket(owner, name, settings):
            raise RefusedRequestError(409, f"Bucket '{owner}/{name}' already exists")
        now = self.clock()
        output = _title(name, settings) if title is None else title
        bucket = StoredBucket(bucket_id or new_id(), project.name, name, output, now, now)
        self.buckets[bucket.id] = bucket
        return bucket

    def update_bucket(self, bucket: StoredBucket, title: str | None) -> StoredBucket:
        """Change a bucket's title, if there is one to change it to."""
        changed = replace(bucket, title=bucket.title if title is None else title, updated_at=self.clock())
        self.buckets[bucket.id] = changed
        return changed

    def delete_bucket(self, bucket_id: str) -> None:
        """Delete a bucket; the sources that loaded from it are detached, a guess."""
        if self.buckets.pop(bucket_id, None) is None:
            raise RefusedRequestError(404, f"Bucket '{bucket_id}' not found")
        for source in list(self.sources.values()):
            if source.bucket_id == bucket_id:
                self._put("update", source, replace(source, bucket_id=None))

    # Sources

    def source(self, owner: str, name: str, settings: EmulatorSettings) -> StoredSource | None:
        """Find a source by project and name."""
        if source_id := self._ids.get((owner, name)):
            return self.sources[source_id]
        full = f"{owner}/{name}"
        return _fold(self.sources.values(), settings, lambda source: f"{source.owner}/{source.name}", full)

    def list_sources(self, owner: str | None, settings: EmulatorSettings) -> list[StoredSource]:
        """List the sources of one project, or of all."""
        if owner is None:
            return list(self.sources.values())
        project = self.project(owner, settings)
        if project is None:
            if settings.missing_project_list == "empty":
                return []
            raise RefusedRequestError(settings.missing_project_list, f"Project '{owner}' not found")
        return [source for source in self.sources.values() if source.owner == project.name]

    def create_source(
        self, owner: str, name: str, fields: SourceFields, settings: EmulatorSettings, *, source_id: str | None = None
    ) -> StoredSource:
        """Create a source; what happens if the name is taken is the setting ``duplicate_put``."""
        project = self.project(owner, settings)
        if project is None:
            raise RefusedRequestError(settings.missing_project, f"Project '{owner}' not found")
        existing = self.source(owner, name, settings)
        if existing is not None:
            if settings.duplicate_put == "upsert":
                return self._change(existing, fields, settings)
            raise RefusedRequestError(settings.duplicate_put, f"Source '{owner}/{name}' already exists")
        if settings.source_quota is not None and len(self.sources) >= settings.source_quota:
            raise RefusedRequestError(403, f"quotas exceeded: this tenant may hold {settings.source_quota} sources")
        self._check_bucket(fields, settings)
        now = self.clock()
        source = StoredSource(
            id=source_id or new_id(),
            owner=project.name,
            name=name,
            title=fields.get("title", _title(name, settings)),
            description=fields.get("description", ""),
            created_at=now,
            updated_at=now,
            language=fields.get("language", "en"),
            should_translate=fields.get("should_translate", False),
            sensitive_properties=tuple(fields.get("sensitive_properties", ())),
            bucket_id=fields.get("bucket_id"),
            kind=fields.get("_kind", "unknown"),
            email_transform_tag=fields.get("email_transform_tag"),
            email_transform_version=fields.get("email_transform_version"),
        )
        return self._put("create", None, source)

    def update_source(self, owner: str, name: str, fields: SourceFields, settings: EmulatorSettings) -> StoredSource:
        """Change the fields sent and leave the others alone."""
        source = self.source(owner, name, settings)
        if source is None:
            raise RefusedRequestError(404, f"Source '{owner}/{name}' not found")
        return self._change(source, fields, settings)

    def delete_source(self, source_id: str, settings: EmulatorSettings) -> None:
        """Delete a source; whether one that is gone is an error is a setting."""
        source = self.sources.get(source_id)
        if source is not None:
            self._remove(source)
        elif settings.delete_missing != 200:
            raise RefusedRequestError(settings.delete_missing, f"Source '{source_id}' not found")

    def set_comments(self, source: StoredSource, count: int) -> None:
        """Set how many comments a source holds; its ``updated_at`` stays, since its settings did not change."""
        self.sources[source.id] = replace(source, num_comments=count)

    def load(
        self,
        projects: list[StoredProject],
        buckets: list[StoredBucket],
        sources: list[StoredSource],
        users: list[StoredUser],
        datasets: list[StoredDataset],
    ) -> None:
        """Take over records that were kept elsewhere, in place of its own."""
        self.projects = {project.name: project for project in projects}
        self.buckets = {bucket.id: bucket for bucket in buckets}
        self.users = {user.id: user for user in users}
        self.sources = {source.id: source for source in sources}
        self._ids = {(source.owner, source.name): source.id for source in sources}
        self.datasets = Datasets(datasets)

    def without(self, changes: Iterable[SourceChange]) -> Tenant:
        """Return a copy, good for reading, without some changes; the latest change comes first."""
        sources = dict(self.sources)
        for change in changes:
            if change.after is not None:
                sources.pop(change.after.id, None)
            if change.before is not None:
                sources[change.before.id] = change.before
        ids = {(source.owner, source.name): source.id for source in sources.values()}
        return replace(self, sources=sources, _ids=ids)

    def _change(self, source: StoredSource, fields: SourceFields, settings: EmulatorSettings) -> StoredSource:
        self._check_bucket(fields, settings)
        sensitive = tuple(fields.get("sensitive_properties", source.sensitive_properties))
        if settings.sensitive_properties_update == "merge":
            sensitive = tuple(dict.fromkeys((*source.sensitive_properties, *sensitive)))
        changed = replace(
            source,
            title=fields.get("title", source.title),
            description=fields.get("description", source.description),
            language=fields.get("language", source.language),
            should_translate=fields.get("should_translate", source.should_translate),
            sensitive_properties=sensitive,
            bucket_id=fields.get("bucket_id", source.bucket_id),
            kind=fields.get("_kind", source.kind),
            email_transform_tag=fields.get("email_transform_tag", source.email_transform_tag),
            email_transform_version=fields.get("email_transform_version", source.email_transform_version),
        )
        moves = {"always": True, "sent": bool(fields), "changed": changed != source}[settings.updated_at_moves]
        if moves:
            changed = replace(changed, updated_at=self.clock())
        return self._put("update", source, changed)

    def _check_bucket(self, fields: SourceFields, settings: EmulatorSettings) -> None:
        bucket_id = fields.get("bucket_id")
        if bucket_id is None or bucket_id in self.buckets or settings.unknown_bucket == "accept":
            return
        raise RefusedRequestError(settings.unknown_bucket, f"Bucket '{bucket_id}' not found")

    def _put(
        self, action: Literal["create", "update"], before: StoredSource | None, after: StoredSource
    ) -> StoredSource:
        self.sources[after.id] = after
        self._ids[after.owner, after.name] = after.id
        self.record(SourceChange(self.clock(), self.path, action, before, after))
        return after

    def _remove(self, source: StoredSource) -> None:
        del self.sources[source.id]
        del self._ids[source.owner, source.name]
        self.datasets.forget_source(source.id)
        self.record(SourceChange(self.clock(), self.path, "delete", source, None))


def _title(name: str, settings: EmulatorSettings) -> str:
    return name[:_LONGEST_TITLE] if settings.default_title == "name" else ""


def _same(one: tuple[str, str], other: tuple[str, str], settings: EmulatorSettings) -> bool:
    if settings.names_case_sensitive:
        return one == other
    return tuple(part.lower() for part in one) == tuple(part.lower() for part in other)


def _fold(
    records: Iterable[_Record], settings: EmulatorSettings, name_of: Callable[[_Record], str], name: str
) -> _Record | None:
    if settings.names_case_sensitive:
        return None
    return next((record for record in records if name_of(record).lower() == name.lower()), None)
