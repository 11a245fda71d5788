"""Messages of a source, which the API calls comments: load, get, iterate, count, delete."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

from airflow_provider_cm.emulator.contract import contract_for
from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_filter import MessageFilter, Thread, time_range
from airflow_provider_cm.emulator.message_sync import SyncTarget, message_jsons
from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.raw_emails import comment_of
from airflow_provider_cm.emulator.responses import ok
from airflow_provider_cm.emulator.routes.sources import find_source

if TYPE_CHECKING:
    from starlette.responses import Response

    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]
# What the vendor's client asks for.
_USUAL_PAGE = 64


def target_of(call: OperationCall, *, write: bool = False) -> SyncTarget:
    """Return the source that the path names as a place for messages; 404 if there is none."""
    source = find_source(call, write=write)
    return SyncTarget(call.state.messages, call.tenant.path, source.id, call.state.now(), call.settings)


def _target_to_load(call: OperationCall) -> SyncTarget:
    if call.query.get("no_charge"):
        refusal = call.settings.no_permission
        raise RefusedRequestError(refusal, "Permission denied: no_charge needs a permission that only the vendor has")
    return target_of(call, write=True)


def _without_bad(body: Any, settings: EmulatorSettings, *, name: str, schema: str) -> Any:
    """Find the bad items of a batch: refuse it for the first one, or go on without them, as the settings say."""
    items = body.get(name) if isinstance(body, dict) else None
    if not isinstance(items, list):
        return body
    validator = contract_for(settings).component(schema)
    good = []
    for index, item in enumerate(items):
        mistake = validator.error(item, f"{name}[{index}]")
        if mistake is None:
            good.append(item)
        elif settings.bad_message == "refuse":
            raise RefusedRequestError(400, mistake)
    return {**body, name: good}


def _without_bad_comments(body: Any, settings: EmulatorSettings) -> Any:
    return _without_bad(body, settings, name="comments", schema="CommentNew")


def _without_bad_documents(body: Any, settings: EmulatorSettings) -> Any:
    return _without_bad(body, settings, name="documents", schema="RawEmailDocument")


def _batch(items: list[Json], most: int) -> list[Json]:
    if len(items) > most:
        raise RefusedRequestError(400, f"A request may hold at most {most} items, and this one holds {len(items)}")
    return items


@operation("syncComments", repair=_without_bad_comments)
def sync(call: OperationCall) -> Response:
    """Create or overwrite messages."""
    target = _target_to_load(call)
    counts = target.sync(_batch(call.body["comments"], call.settings.max_batch))
    return ok(**counts.to_json())


@operation("addComments", repair=_without_bad_comments)
def add(call: OperationCall) -> Response:
    """Create messages; one that is there with other content is a conflict."""
    target = _target_to_load(call)
    target.sync(_batch(call.body["comments"], call.settings.max_batch), overwrite=False)
    return ok()


@operation("syncRawEmails", repair=_without_bad_documents)
def sync_raw_emails(call: OperationCall) -> Response:
    """Create or overwrite messages made from emails."""
    target = _target_to_load(call)
    tag = call.body.get("transform_tag")
    if tag is not None and tag not in call.settings.transform_tags:
        raise RefusedRequestError(422, f"The value '{tag}' is not a valid transform tag.")
    comments = []
    for index, document in enumerate(_batch(call.body["documents"], call.settings.max_raw_email_batch)):
        try:
            comments.append(_comment(document, call.settings))
        except RefusedRequestError as error:
            if call.settings.bad_message == "refuse":
                raise RefusedRequestError(error.status, f"{error.message} (in documents[{index}])") from None
    ids = [comment["id"] for comment in comments]
    if "override_user_properties" in call.body:
        _keep_user_properties(comments, target, set(call.body["override_user_properties"]))
    answer = target.sync(comments).to_json()
    if call.body.get("include_comments"):
        stored = target.store.get(target.tenant, target.source, ids)
        answer["comments"] = message_jsons([stored[each] for each in ids if each in stored], target, markup=True)
    return ok(**answer)


def _keep_user_properties(comments: list[Json], target: SyncTarget, overridden: set[str]) -> None:
    """Keep the user properties of messages that exist, except those to override."""
    there = target.store.get(target.tenant, target.source, [comment["id"] for comment in comments])
    for comment in comments:
        if (old := there.get(comment["id"])) is not None:
            sent = comment.get("user_properties", {})
            remaining = {
                name: each for name, each in old.fields.get("user_properties", {}).items() if name not in overridden
            }
            comment["user_properties"] = remaining | {name: each for name, each in sent.items() if name in overridden}


def _comment(document: Json, settings: EmulatorSettings) -> Json:
    comment = comment_of(document)
    mistake = contract_for(settings).component("CommentNew").error(comment)
    if mistake is not None:
        raise RefusedRequestError(422, mistake)
    return comment


@operation("getComment")
def get_comment(call: OperationCall) -> Response:
    """Get a message by id."""
    target = target_of(call)
    comment_id = call.path["comment_id"]
    matches = target.store.get(target.tenant, target.source, [comment_id])
    if not matches:
        raise RefusedRequestError(404, f"Comment '{comment_id}' not found")
    return ok(comment=message_jsons(matches.values(), target, markup=call.query.get("include_markup", False))[0])


@operation("deleteComment")
def delete_comments(call: OperationCall) -> Response:
    """Delete messages by id; those that are gone do not matter."""
    target = target_of(call, write=True)
    texts = call.query.get("id", [])
    there = target.store.get(target.tenant, target.source, texts)
    # An id may hold commas, but in a list of ids they separate.
    ids = [part for text in texts for part in ([text] if text in there else text.split(","))]
    ids += call.query.get("ids", "").split(",") if call.query.get("ids") else []
    if len(ids) > call.settings.max_delete_ids:
        most = call.settings.max_delete_ids
        raise RefusedRequestError(400, f"At most {most} ids can be deleted at once, and these are {len(ids)}")
    target.store.delete(target.tenant, target.source, ids)
    return ok()


@operation("getSourceComments")
def iterate(call: OperationCall) -> Response:
    """Return the messages of a source, page by page, by timestamp."""
    target, query = target_of(call), call.query
    descending = query.get("direction") == "descending"
    if descending and ("from_timestamp" in query or "to_timestamp" in query):
        raise RefusedRequestError(400, "from_timestamp and to_timestamp can't be used with direction=descending")
    least, most = time_range(query, "from_timestamp", "to_timestamp", call.settings)
    limit = query.get("limit", _USUAL_PAGE)
    after = _position(query["after"]) if "after" in query else None
    page = list(
        target.store.scan(
            target.tenant, target.source, least=least, most=most, after=after, descending=descending, limit=limit + 1
        )
    )
    output = page[:limit]
    answer: Json = {"comments": message_jsons(output, target, markup=query.get("include_markup", False))}
    if query.get("include_thread_properties"):
        answer["thread_properties"] = [_thread_properties(target, each.thread, each.id) for each in output]
    if len(page) > limit:
        answer["continuation"] = _token(output[-1].timestamp, output[-1].id)
    return ok(**answer)


def _thread_properties(target: SyncTarget, thread: str | None, message_id: str) -> Json:
    if thread is None:
        return {}
    return Thread(target.store.thread(target.tenant, target.source, thread)).properties(message_id)


def _token(timestamp: int, message_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([timestamp, message_id])).decode()


def _position(token: str) -> tuple[int, str]:
    try:
        timestamp, message_id = orjson.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        raise RefusedRequestError(400, "The continuation is not valid (in query parameter after)") from None
    if not isinstance(timestamp, int) or not isinstance(message_id, str):
        raise RefusedRequestError(400, "The continuation is not valid (in query parameter after)")
    return timestamp, message_id


@operation("getSourceStatistics")
def statistics(call: OperationCall) -> Response:
    """Count a source's messages; the number that a test has set, where none were ever loaded."""
    source, target = find_source(call), target_of(call)
    store, where = target.store, (target.tenant, target.source)
    rules = MessageFilter((call.body or {}).get("comment_filter", {}), store, *where, call.settings)
    if not store.was_loaded(*where):
        return ok(statistics={"num_comments": source.num_comments})
    until = call.state.statistics_time()
    if not rules.everything:
        return ok(statistics={"num_comments": len(rules.matching(until))})
    return ok(statistics={"num_comments": store.count(*where) if until is None else store.count_created(*where, until)})


@operation("getThreadsBySource")
def threads(call: OperationCall) -> Response:
    """List the threads of a source."""
    target = target_of(call)
    matches = target.store.threads(target.tenant, target.source)
    return ok(threads=[{"thread_id": thread, "comments": ids} for thread, ids in matches.items()])
