"""Predictions on request, and the versions of the model that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.dataset_json import predicted_json
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.routes.datasets import find_dataset, messages_of

if TYPE_CHECKING:
    from starlette.responses import Response


@operation("getAllModelsInDataset")
def list_models(call: OperationCall) -> Response:
    """List the versions of the model of a dataset, the latest first."""
    return ok(labellers=[{"version": each} for each in range(find_dataset(call).model_version, 0, -1)])


@operation("predictComments")
def predict(call: OperationCall) -> Response:
    """Predict labels for messages of the dataset, in the order of the request; all versions predict the same."""
    messages, version = messages_of(call), int(call.path["model_version"])
    if not 1 <= version <= messages.dataset.model_version:
        raise RefusedRequestError(404, f"Model version {version} not found")
    uids = call.body["uids"]
    matches = {each.uid: each for each in messages.find(uids)}
    for uid in uids:
        if uid not in matches:
            raise RefusedRequestError(404, f"Comment '{uid}' not found")
    return ok(predictions=[predicted_json(matches[uid], call.body, messages) for uid in uids])
