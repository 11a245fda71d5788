"""Datasets: list, get, create, update, delete; and how far training and predictions are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.dataset_json import dataset_json
from airflow_provider_cm.emulator.dataset_messages import DatasetMessages
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.serializers import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response

    from airflow_provider_cm.emulator.dataset_records import StoredDataset


def find_dataset(call: OperationCall) -> StoredDataset:
    """Return the dataset that the path names; 404 if there is none."""
    return call.tenant.datasets.existing(call.path["owner"], call.path["dataset_name"], call.settings)


def messages_of(call: OperationCall, dataset: StoredDataset | None = None) -> DatasetMessages:
    """Return the messages of a dataset, or of the one that the path names; 404 if there is none."""
    dataset = dataset or find_dataset(call)
    return DatasetMessages(dataset, call.tenant, call.state.messages, call.settings, call.state.now())


def _respond(call: OperationCall, dataset: StoredDataset) -> Response:
    return ok(dataset=dataset_json(dataset, call.settings))


def _respond_with_list(call: OperationCall, datasets: Iterable[StoredDataset]) -> Response:
    return ok(datasets=[dataset_json(each, call.settings) for each in datasets])


@operation("getAllDatasets")
def list_datasets(call: OperationCall) -> Response:
    """List all datasets."""
    return _respond_with_list(call, call.tenant.datasets.by_id.values())


@operation("getAllDatasetsInProject")
def list_project_datasets(call: OperationCall) -> Response:
    """List the datasets of a project."""
    owner, missing = call.path["owner"], call.settings.missing_project_list
    project = call.tenant.project(owner, call.settings)
    if project is None and missing != "empty":
        raise RefusedRequestError(missing, f"Project '{owner}' not found")
    return _respond_with_list(call, call.tenant.datasets.in_project(project.name) if project else ())


@operation("getDataset")
def get_dataset(call: OperationCall) -> Response:
    """Get a dataset by name."""
    return _respond(call, find_dataset(call))


@operation("getDatasetByIdClientOnly")
def get_dataset_by_id(call: OperationCall) -> Response:
    """Get a dataset by id."""
    return _respond(call, call.tenant.datasets.by_existing_id(call.path["dataset_id"]))


@operation("createDataset")
def create_dataset(call: OperationCall) -> Response:
    """Create a dataset."""
    owner, name = call.path["owner"], call.path["dataset_name"]
    dataset, copied = call.tenant.datasets.create(call.tenant, owner, name, call.body["dataset"], call.settings)
    if copied:
        _mark_annotated(messages_of(call, dataset))
    call.state.changed()
    output = dataset_json(dataset, call.settings)
    return ok(dataset=output) if copied is None else ok(dataset=output, num_copied=copied)


def _mark_annotated(messages: DatasetMessages) -> None:
    for each in messages.find(messages.dataset.annotations):
        messages.mark(each, annotated=True)


@operation("updateDataset")
def update_dataset(call: OperationCall) -> Response:
    """Update a dataset."""
    dataset = call.tenant.datasets.update(call.tenant, find_dataset(call), call.body["dataset"], call.settings)
    call.state.changed()
    return _respond(call, dataset)


@operation("deleteDatasetV1")
def delete_dataset(call: OperationCall) -> Response:
    """Delete a dataset by name."""
    dataset = call.tenant.datasets.find(call.path["owner"], call.path["dataset_name"], call.settings)
    return _delete(call, dataset.id if dataset else f"{call.path['owner']}/{call.path['dataset_name']}")


@operation("DeleteDatasetById")
def delete_dataset_by_id(call: OperationCall) -> Response:
    """Delete a dataset by id."""
    return _delete(call, call.path["dataset_id"])


def _delete(call: OperationCall, dataset_id: str) -> Response:
    datasets = call.tenant.datasets
    dataset = datasets.by_id.get(dataset_id)
    # Its messages no longer show annotations, unless another dataset has some.
    messages = messages_of(call, dataset) if dataset else None
    datasets.delete(dataset_id, call.settings)
    for each in messages.find(messages.dataset.annotations) if messages else ():
        messages.mark(each, annotated=datasets.annotated(each.uid, each.message.created))  # type: ignore[union-attr]
    call.state.changed()
    return ok()


@operation("getDatasetStatus")
def status(call: OperationCall) -> Response:
    """Return how far training and predictions are; the model is always trained."""
    messages = messages_of(call)
    dataset = messages.dataset
    count, predicted = messages.count(), messages.count(predicted=True)
    # All messages count as having a text.
    complete = predicted / count if count else 1.0
    trained_at = timestamp(dataset.trained_at, call.settings)
    version = {"timestamp": trained_at, "comments": predicted, "inference_complete": min(complete, 1.0)}
    return ok(
        dataset_status={
            "training_complete": 1.0,
            "validation_complete": 1.0,
            "training_completion_time": trained_at,
            "inference_complete": min(complete, 1.0),
            "total_comments_with_text": count,
            "inference_stats_by_version": {str(dataset.model_version): version},
            "inference_stuck": False,
            "operation": None,
        }
    )
