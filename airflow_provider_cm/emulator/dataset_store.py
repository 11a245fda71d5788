"""The datasets of one tenant, and what each operation does to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cm.emulator.dataset_fields import dataset_fields
from airflow_provider_cm.emulator.dataset_records import StoredDataset
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.records import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_cm.emulator.records import Clock, StoredProject, StoredSource
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

# Names may be longer than titles.
_LONGEST_TITLE = 128


class SourceHolder(Protocol):
    """What a tenant's datasets need of the tenant."""

    @property
    def clock(self) -> Clock:
        """Returns the time."""

    @property
    def sources(self) -> Mapping[str, StoredSource]:
        """The sources by id."""

    def project(self, name: str, settings: EmulatorSettings) -> StoredProject | None:
        """Find a project."""


class Datasets:
    """Datasets by id, in the order of their creation."""

    def __init__(self, datasets: Iterable[StoredDataset] = ()) -> None:
        self.by_id: dict[str, StoredDataset] = {dataset.id: dataset for dataset in datasets}

    def find(self, owner: str, name: str, settings: EmulatorSettings) -> StoredDataset | None:
        """Find a dataset by project and name."""
        for dataset in self.by_id.values():
            if (dataset.owner, dataset.name) == (owner, name):
                return dataset
        if not settings.names_case_sensitive:
            for dataset in self.by_id.values():
                if (dataset.owner.lower(), dataset.name.lower()) == (owner.lower(), name.lower()):
                    return dataset
        return None

    def existing(self, owner: str, name: str, settings: EmulatorSettings) -> StoredDataset:
        """Find a dataset by project and name; 404 if there is none."""
        dataset = self.find(owner, name, settings)
        if dataset is None:
            raise RefusedRequestError(404, f"Dataset '{owner}/{name}' not found")
        return dataset

    def by_existing_id(self, dataset_id: str) -> StoredDataset:
        """Find a dataset by id; 404 if there is none."""
        if dataset_id not in self.by_id:
            raise RefusedRequestError(404, f"Dataset '{dataset_id}' not found")
        return self.by_id[dataset_id]

    def in_project(self, owner: str) -> list[StoredDataset]:
        """List the datasets of a project that is there."""
        return [dataset for dataset in self.by_id.values() if dataset.owner == owner]

    def create(
        self, tenant: SourceHolder, owner: str, name: str, body: Json, settings: EmulatorSettings
    ) -> tuple[StoredDataset, int | None]:
        """
        Create a dataset.

        :return: the dataset, and how many annotations were copied, if it was to copy any.
        """
        project = tenant.project(owner, settings)
        if project is None:
            raise RefusedRequestError(settings.missing_project, f"Project '{owner}' not found")
        existing = self.find(owner, name, settings)
        if existing is not None:
            if settings.duplicate_put != "upsert":
                raise RefusedRequestError(settings.duplicate_put, f"Dataset '{owner}/{name}' already exists")
            return self.update(tenant, existing, body, settings), None
        origin = self.by_existing_id(body["copy_annotations_from"]) if "copy_annotations_from" in body else None
        source_ids = self._checked(tenant, body.get("source_ids", ()), None, settings)
        title = name[:_LONGEST_TITLE] if settings.default_title == "name" else ""
        fields = dataset_fields(body, None, title, settings)
        now = tenant.clock()
        dataset = StoredDataset(new_id(), project.name, name, now, now, now, source_ids, fields)
        if origin is not None:
            dataset.annotations = {
                uid: replace(each) for uid, each in origin.annotations.items() if uid.partition(".")[0] in source_ids
            }
        self.by_id[dataset.id] = dataset
        return dataset, None if origin is None else len(dataset.annotations)

    def update(
        self, tenant: SourceHolder, dataset: StoredDataset, body: Json, settings: EmulatorSettings
    ) -> StoredDataset:
        """Change the fields sent and leave the others alone; the sources are replaced whole."""
        fields = dataset_fields(body, dataset.fields, "", settings)
        if "source_ids" in body:
            dataset.source_ids = self._checked(tenant, body["source_ids"], dataset, settings)
        dataset.fields = fields
        dataset.last_modified = tenant.clock()
        return dataset

    def delete(self, dataset_id: str, settings: EmulatorSettings) -> None:
        """Delete a dataset; whether one that is gone is an error is a setting."""
        if self.by_id.pop(dataset_id, None) is None and settings.delete_missing != 200:
            raise RefusedRequestError(settings.delete_missing, f"Dataset '{dataset_id}' not found")

    def forget_source(self, source_id: str) -> None:
        """Take a source that is deleted out of all datasets."""
        for dataset in self.by_id.values():
            dataset.source_ids = tuple(each for each in dataset.source_ids if each != source_id)
            for remaining in (dataset.annotations, dataset.predictions):
                for uid in [uid for uid in remaining if uid.startswith(f"{source_id}.")]:
                    del remaining[uid]

    def annotated(self, uid: str, created: int) -> bool:
        """Return whether a message has annotations in any dataset."""
        matches = (dataset.annotations.get(uid) for dataset in self.by_id.values())
        return any(each is not None and each.created == created for each in matches)

    def _checked(
        self, tenant: SourceHolder, ids: Iterable[str], dataset: StoredDataset | None, settings: EmulatorSettings
    ) -> tuple[str, ...]:
        source_ids = tuple(dict.fromkeys(ids))
        if settings.unknown_source != "accept":
            for each in source_ids:
                if each not in tenant.sources:
                    raise RefusedRequestError(settings.unknown_source, f"Source '{each}' not found")
        most = settings.max_sources_per_dataset
        if most is not None and len(source_ids) > most:
            raise RefusedRequestError(
                403, f"quotas exceeded: a dataset may hold {most} sources, and these are {len(source_ids)}"
            )
        most = settings.max_datasets_per_source
        for each in source_ids if most is not None else ():
            holders = sum(1 for other in self.by_id.values() if other is not dataset and each in other.source_ids)
            if holders >= most:  # type: ignore[operator]
                raise RefusedRequestError(403, f"quotas exceeded: a source may be in {most} datasets ('{each}')")
        return source_ids
