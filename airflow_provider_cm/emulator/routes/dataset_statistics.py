"""Numbers about the messages of a dataset: statistics and the summary of user properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.dataset_statistics import count_messages, counted_labels, summarize
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.routes.datasets import messages_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

_CLIENT_SENDS = frozenset({"comment_filter", "label_timeseries", "label_property_timeseries"})
_CLIENT_MAY_SEND = _CLIENT_SENDS | {"attribute_filters", "time_resolution"}


def _from_the_client(body: Any, _settings: EmulatorSettings) -> Any:
    """
    Complete the body that the vendor's client sends, which lacks a field that the contract requires.

    The service must accept it, since the client works; every other body without the field is refused.
    """
    if isinstance(body, dict) and body.keys() >= _CLIENT_SENDS and body.keys() <= _CLIENT_MAY_SEND:
        return {**body, "by_label_properties": []}
    return body


@operation("getDatasetStatistics", repair=_from_the_client)
def statistics(call: OperationCall) -> Response:
    """Count the messages of a dataset that a filter lets through, and their labels if the request names any."""
    messages = messages_of(call)
    return ok(statistics=count_messages(messages, call.body, counted_labels(call.body, messages)))


@operation("getDatasetSummary")
def summary(call: OperationCall) -> Response:
    """List the user properties of the messages of a dataset that a filter lets through."""
    return ok(summary={"user_properties": summarize(messages_of(call), call.body)})
