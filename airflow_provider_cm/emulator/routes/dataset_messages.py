"""The messages of a dataset: export, query, annotate."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.dataset_fields import with_labels
from airflow_provider_cm.emulator.dataset_json import annotated_json, exported_json
from airflow_provider_cm.emulator.dataset_messages import read_token, token
from airflow_provider_cm.emulator.dataset_records import Annotation
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_times import read_time
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.routes.datasets import messages_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.dataset_messages import DatasetMessage, DatasetMessages, Order

Json = dict[str, Any]

_USUAL_PAGE = 64
# The vendor's client asks for 512.
_LARGEST_QUERY_PAGE = 1024


@operation("exportDataset")
def export(call: OperationCall) -> Response:
    """Page through the messages of a dataset, with what is annotated and predicted."""
    messages, body, settings = messages_of(call), call.body, call.settings
    by: Order = "created" if body.get("order_by") == "created_at" else "timestamp"
    sources = body.get("source_ids")
    if settings.unknown_source != "accept":
        for each in sources or ():
            if each not in messages.sources:
                raise RefusedRequestError(settings.unknown_source, f"Source '{each}' is not in the dataset")
    least, most = _bound(body, "from"), _bound(body, "to")
    if least is not None and settings.export_bounds not in ("both", "from"):
        least += 1
    if most is not None and settings.export_bounds not in ("both", "to"):
        most -= 1
    after = None
    if "continuation" in body:
        first, second = read_token(body["continuation"], f"{messages.dataset.id} {by}", 2)
        after = (first, second)
    descending = settings.export_order == "descending"
    matches = messages.walk(by, least=least, most=most, after=after, descending=descending, sources=sources)
    if "comment_uids" in body:
        wanted = set(body["comment_uids"])
        matches = (each for each in matches if each.uid in wanted)
    limit = int(body.get("limit", _USUAL_PAGE))
    page = list(islice(matches, limit + 1))
    answer: Json = {"comments": [exported_json(each, messages) for each in page[:limit]]}
    if len(page) > limit:
        answer["continuation"] = token(f"{messages.dataset.id} {by}", *page[limit - 1].position)
    return ok(**answer)


def _bound(body: Json, name: str) -> int | None:
    if name not in body:
        return None
    try:
        return read_time(body[name])
    except (ValueError, OverflowError):
        raise RefusedRequestError(422, f"{name} is not a valid timestamp") from None


@operation("queryComments")
def query(call: OperationCall) -> Response:
    """Page through the messages of a dataset that a filter lets through."""
    messages, body = messages_of(call), call.body
    passes = messages.filter(body.get("filter", {}), body.get("attribute_filters", ()))
    order = body["order"]
    limit = min(int(body.get("limit", _USUAL_PAGE)), _LARGEST_QUERY_PAGE)
    kind = f"{messages.dataset.id} {order['kind']}"
    answer: Json = {"entity_defs": messages.dataset.fields["entity_defs"]}
    if order["kind"] == "recent":
        after = None
        if "continuation" in body:
            first, second = read_token(body["continuation"], kind, 2)
            after = (first, second)
        matches = messages.walk("timestamp", after=after, descending=True)
        page = list(islice((each for each in matches if passes(each)), limit + 1))
        if len(page) > limit:
            answer["continuation"] = token(kind, *page[limit - 1].position)
    else:
        start = read_token(body["continuation"], kind, 1)[0] if "continuation" in body else 0
        everything = sorted(filter(passes, messages.walk("timestamp")), key=lambda each: _rank(each, order, messages))
        page = everything[max(start, 0) :]
        if len(page) > limit:
            answer["continuation"] = token(kind, max(start, 0) + limit)
    results = [annotated_json(each, messages, predictions=True) for each in page[:limit]]
    return ok(**answer, results=results)


def _rank(each: DatasetMessage, order: Json, messages: DatasetMessages) -> Any:
    if order["kind"] == "sample":
        return hashlib.sha256(f"{order['seed']} {each.uid}".encode()).digest()
    matches = messages.predictions.labels(each.uid, each.message)
    return -max((label["probability"] for label in matches if label["name"] == order["label"]), default=0.0)


@operation("getLabellings")
def labellings(call: OperationCall) -> Response:
    """Return the annotations of messages by uid, or page through the annotated messages of a source."""
    messages, request = messages_of(call), call.query
    answer: Json = {"entity_defs": messages.dataset.fields["entity_defs"]}
    if "id" in request:
        matches, predictions = messages.find(request["id"]), True
    elif "source_id" in request:
        limit, predictions = request.get("limit", _USUAL_PAGE), request.get("return_predictions", False)
        kind, after = f"{messages.dataset.id} {request['source_id']}", None
        if "after" in request:
            first, second = read_token(request["after"], kind, 2)
            after = (first, second)
        all_found = messages.walk("created", after=after, sources=[request["source_id"]])
        matches = list(islice((each for each in all_found if messages.annotation(each)), limit))
        if matches:
            # The vendor's client goes on until a page is empty, and each page must end elsewhere.
            answer["after"] = token(kind, *matches[-1].position)
    else:
        raise RefusedRequestError(400, "Either id or source_id is required (in query parameters)")
    return ok(**answer, results=[annotated_json(each, messages, predictions=predictions) for each in matches])


@operation("updateCommentLabelling")
def annotate(call: OperationCall) -> Response:
    """Replace annotations of a message: those left out stay, empty ones are deleted."""
    messages, body = messages_of(call), call.body
    matches = messages.find([call.path["comment_uid"]])
    if not matches:
        raise RefusedRequestError(404, f"Comment '{call.path['comment_uid']}' not found")
    each = matches[0]
    dataset = messages.dataset
    annotation = messages.annotation(each) or Annotation(each.message.created, "", call.state.now())
    annotation.user_id, annotation.at = call.grant.user_id, call.state.now()
    for group in body.get("labelling", ()):
        annotation.assigned = _labels(group.get("assigned", annotation.assigned))
        annotation.dismissed = _labels(group.get("dismissed", annotation.dismissed))
    if "entities" in body:
        annotation.entities = {**annotation.entities, **body["entities"]}
    if "moon_forms" in body:
        annotation.moon_forms = [
            {**form, "assigned": [{**part, "label": _label(part["label"])} for part in form.get("assigned", ())]}
            for form in body["moon_forms"]
        ]
        annotation.assigned = _labels([part["label"] for form in annotation.moon_forms for part in form["assigned"]])
    if annotation.empty:
        dataset.annotations.pop(each.uid, None)
    else:
        dataset.annotations[each.uid] = annotation
    names = [label["name"] for label in (*annotation.assigned, *annotation.dismissed)]
    if longest := next((name for name in names if len(name) > _LONGEST_LABEL), None):
        raise RefusedRequestError(422, f"'{longest[:_LONGEST_LABEL]}...' is too long for a label")
    dataset.fields = with_labels(dataset.fields, names)
    messages.mark(each, annotated=call.tenant.datasets.annotated(each.uid, each.message.created))
    call.state.changed()
    return ok(**annotated_json(messages.find([each.uid])[0], messages, predictions=False))


# Of the vendor's schema for responses.
_LONGEST_LABEL = 64


def _labels(labels: list[Json]) -> list[Json]:
    return list({label["name"]: _label(label) for label in labels}.values())


def _label(label: Json) -> Json:
    # The vendor's client needs a sentiment, and its metadata is not what exports show.
    return {"name": label["name"], "sentiment": label.get("sentiment", "positive")}
