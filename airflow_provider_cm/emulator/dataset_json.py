"""The JSON of datasets and streams: which keys each endpoint shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.dataset_fields import DEFAULT_GROUP
from airflow_provider_cm.emulator.predictions import sentiment_of
from airflow_provider_cm.emulator.serializers import timestamp
from airflow_provider_cm.emulator.stream_store import continuation_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_cm.emulator.dataset_messages import DatasetMessage, DatasetMessages
    from airflow_provider_cm.emulator.dataset_records import StoredDataset, StoredStream
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

# Built-in thresholds of confidence, from the most to the least demanding; the numbers are made up.
_THRESHOLDS = (("high_precision", 0.8), ("balanced", 0.6), ("high_recall", 0.4))


def dataset_json(dataset: StoredDataset, settings: EmulatorSettings) -> Json:
    """Write a dataset."""
    return {
        "id": dataset.id,
        "owner": dataset.owner,
        "name": dataset.name,
        "created": timestamp(dataset.created, settings),
        "last_modified": timestamp(dataset.last_modified, settings),
        "source_ids": list(dataset.source_ids),
        **dataset.fields,
    }


def stream_json(stream: StoredStream, dataset: StoredDataset, settings: EmulatorSettings) -> Json:
    """Write a stream."""
    output: Json = {
        "id": stream.id,
        "dataset_id": dataset.id,
        "name": stream.name,
        "title": stream.title,
        "description": stream.description,
        "created_at": timestamp(stream.created_at, settings),
        "updated_at": timestamp(stream.updated_at, settings),
    }
    optional = {"comment_filter": stream.comment_filter, "model": stream.model}
    return output | {name: value for name, value in optional.items() if value is not None}


def exported_json(each: DatasetMessage, messages: DatasetMessages) -> Json:
    """Write a message as an export shows it."""
    annotation = messages.annotation(each)
    predicted = messages.predictions.labels(each.uid, each.message)
    assigned: list[Json] = []
    if annotation:
        by = {"user_id": annotation.user_id, "timestamp": timestamp(annotation.at, messages.settings)}
        assigned = [{**label, "metadata": by} for label in annotation.assigned]
    return {
        "comment": messages.comment_json(each),
        "annotations": {"labels": {"assigned": assigned}},
        "predictions": {"labels": messages.predictions.to_json(predicted), **sentiment_of(predicted)},
    }


def annotated_json(each: DatasetMessage, messages: DatasetMessages, *, predictions: bool) -> Json:
    """Write a message as queries and labellings show it."""
    annotation = messages.annotation(each)
    group: Json = {
        "group": DEFAULT_GROUP,
        "assigned": annotation.assigned if annotation else [],
        "dismissed": annotation.dismissed if annotation else [],
    }
    if predictions:
        matches = messages.predictions.labels(each.uid, each.message)
        group["predicted"] = messages.predictions.to_json(matches)
    output: Json = {"comment": messages.comment_json(each), "labelling": [group]}
    if annotation:
        parts = each.message.fields.get("messages", ())
        output["entities"] = {
            name: [_entity_json(entity, parts) for entity in annotation.entities.get(name, ())]
            for name in ("assigned", "dismissed")
        }
        output["moon_forms"] = [_moon_form_json(form, parts) for form in annotation.moon_forms]
    return output


def stream_result_json(each: DatasetMessage, stream: StoredStream, messages: DatasetMessages) -> Json:
    """Write a message as the results of a stream show it; without a model it has no prediction."""
    return {
        "comment": messages.comment_json(each),
        "prediction": _stream_prediction(each, stream.model, messages) if stream.model else None,
        "continuation": continuation_of(stream, each.position),
    }


def stream_model_json(stream: StoredStream, messages: DatasetMessages) -> Json:
    """Write what the model of a stream knows, if it has one."""
    if stream.model is None:
        return {}
    labels = [{"name": name, "fields": []} for name in messages.predictions.names]
    taxonomy = {"name": DEFAULT_GROUP, "instructions": "", "labels": labels, "general_fields": [], "field_types": []}
    return {"model": {"definition": {"taxonomies": [taxonomy]}}}


def fetched_json(each: DatasetMessage, stream: StoredStream, messages: DatasetMessages) -> Json:
    """Write a message as the older fetch shows it."""
    output: Json = {"comment": messages.comment_json(each), "sequence_id": continuation_of(stream, each.position)}
    if stream.model is not None:
        thresholds = _stream_thresholds(stream.model)
        matches = messages.predictions.labels(each.uid, each.message)
        passed = [label for label in matches if label["probability"] >= thresholds.get(label["name"], 0)]
        output["labels"] = messages.predictions.to_json(passed)
    return output


def predicted_json(each: DatasetMessage, request: Json, messages: DatasetMessages) -> Json:
    """Write what is predicted for a message: the labels above the thresholds of the request, if it has any."""
    labels = messages.predictions.labels(each.uid, each.message)
    if "labels" in request:
        thresholds = _thresholds_of_labels(request["labels"])
        labels = [label for label in labels if label["probability"] >= thresholds.get(label["name"], 2)]
    output = messages.predictions.to_json(labels)
    if "threshold" in request:
        output = [{**label, "auto_thresholds": _thresholds_below(label["probability"])} for label in output]
    return {"uid": each.uid, "labels": output}


def _stream_prediction(each: DatasetMessage, model: Json, messages: DatasetMessages) -> Json:
    thresholds = _stream_thresholds(model)
    labels = []
    for label in messages.predictions.labels(each.uid, each.message):
        value = label["probability"]
        cleared = _thresholds_below(value)
        own = ["stream"] if label["name"] in thresholds and value >= thresholds[label["name"]] else []
        labels.append(
            {
                "name": label["name"],
                "occurrence_confidence": {"value": value, "thresholds": [*cleared, *own]},
                "extraction_confidence": {"value": value, "thresholds": cleared},
                "fields": [],
            }
        )
    return {"taxonomies": [{"name": DEFAULT_GROUP, "labels": labels, "general_fields": []}], "scores": []}


def _thresholds_below(probability: float) -> list[str]:
    return [name for name, least in _THRESHOLDS if probability >= least]


def _stream_thresholds(model: Json) -> dict[str, float]:
    return _thresholds_of_labels(model.get("label_thresholds", ()))


def _thresholds_of_labels(labels: Iterable[Json]) -> dict[str, float]:
    return {" > ".join(each["name"]): each.get("threshold", 0.0) for each in labels}


def _moon_form_json(form: Json, parts: list[Json]) -> Json:
    assigned = [
        {
            "label": each["label"],
            "captures": [
                {"fields": [_entity_json(entity, parts) for entity in capture.get("fields", ())]}
                for capture in each.get("captures", ())
            ],
        }
        for each in form.get("assigned", ())
    ]
    return {"group": form.get("group", DEFAULT_GROUP), "assigned": assigned}


def _entity_json(entity: Json, parts: list[Json]) -> Json:
    span = entity["span"]
    index = int(span["message_index"])
    text = parts[index].get(span["content_part"], {}).get("text", "") if index < len(parts) else ""
    data = text.encode("utf-16-le")
    characters = {
        f"char_{edge}": len(data[: int(span[f"utf16_byte_{edge}"])].decode("utf-16-le", "ignore"))
        for edge in ("start", "end")
    }
    return {**entity, "span": {**span, **characters}}
