"""
What the probe asks about datasets, streams and quotas.

Asked only together with the questions about messages: they use the messages that those load, and load one more. The
datasets are deleted after each question.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.probe.client import PRIVATE
from airflow_provider_cm.emulator.probe.credentials import DeniedError
from airflow_provider_cm.emulator.probe.limits import DEFAULT, longest
from airflow_provider_cm.emulator.probe.messages import EARLIER, LONGEST_LAG, TIME, load, message
from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.probe.client import ProbeReply
    from airflow_provider_cm.emulator.probe.scratch import Ask, ScratchProject

Json = dict[str, Any]

_BEFORE, _AFTER = "2025-02-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
_TWO = ("edge", "lag")
_MOST_RESULTS = 16384


def unknown_source(scratch: ScratchProject) -> Answer:
    """What the id of a source answers that does not exist."""
    _, reply = scratch.datasets.try_create(source_ids=[secrets.token_hex(8)])
    if reply.ok:
        return "accept", "it answered 200"
    if reply.status not in (400, 404, 422):
        raise UnsettledError(f"it answered {reply}, which the emulator has no setting for")
    return reply.status, f"it answered {reply}"


def export_order(scratch: ScratchProject) -> Answer:
    """Which message an export gives first."""
    name = _with_two_messages(scratch)
    matches = [each["timestamp"] for each in _export(scratch, name, *_TWO)]
    if matches == sorted(matches):
        return "ascending", "the earliest message came first"
    return "descending", "the latest message came first"


def export_bounds(scratch: ScratchProject) -> Answer:
    """Which bounds belong to the range of an export."""
    name = _with_two_messages(scratch)
    at_from = bool(_export(scratch, name, "lag", **{"from": TIME, "to": _AFTER}))
    at_to = bool(_export(scratch, name, "edge", **{"from": _BEFORE, "to": EARLIER}))
    choice = {(True, True): "both", (True, False): "from", (False, True): "to", (False, False): "neither"}
    output = {True: "given", False: "not given"}
    return choice[at_from, at_to], f"a message at 'from' was {output[at_from]}, one at 'to' was {output[at_to]}"


def predicted_label_names(scratch: ScratchProject) -> Answer:
    """Whether the name of a predicted label is a text or a list."""
    name = _with_two_messages(scratch)
    pages = _checked(scratch.datasets.call("POST", name, "export", body={})).body.get("comments", ())
    names = [label["name"] for each in pages for label in each.get("predictions", {}).get("labels", ())]
    if not names:
        raise UnsettledError("a new dataset predicts no labels")
    return ("text" if isinstance(names[0], str) else "path"), f"a name is {names[0]!r:.60}"


def dataset_lag_s(scratch: ScratchProject) -> Answer:
    """How long it takes until an export shows a message."""
    name = _dataset(scratch)
    load(scratch, message("dataset-lag"))
    return _measure(scratch, lambda: bool(_export(scratch, name, "dataset-lag")), "an export showed the message")


def prediction_lag_s(scratch: ScratchProject) -> Answer:
    """How long it takes until all messages of a new dataset have predictions."""
    name = _dataset(scratch)

    def complete() -> bool:
        reply = _checked(scratch.datasets.call("GET", name, "labellers", "status", private=True))
        status = reply.body.get("dataset_status")
        return isinstance(status, dict) and status.get("inference_complete") == 1

    return _measure(scratch, complete, "the predictions were complete")


def stream_start(scratch: ScratchProject) -> Answer:
    """Where a new stream begins."""
    name = _with_two_messages(scratch)
    results = _checked(_results(scratch, name, _stream(scratch, name))).body.get("results")
    return ("beginning", "it gives messages from before") if results else ("creation", "it gives none from before")


def old_continuation(scratch: ScratchProject) -> Answer:
    """What advancing to an earlier place does."""
    name = _with_two_messages(scratch)
    stream = _stream(scratch, name)
    _checked(scratch.datasets.call("POST", name, "streams", stream, "reset", body={"to_comment_created_at": _BEFORE}))
    results = _checked(_results(scratch, name, stream)).body.get("results") or []
    if len(results) < 2:
        raise UnsettledError(f"after a reset the stream gives {len(results)} messages")
    first, second = (each["continuation"] for each in results[:2])

    def advance(continuation: str) -> ProbeReply:
        return scratch.datasets.call("POST", name, "streams", stream, "advance", body={"sequence_id": continuation})

    _checked(advance(second))
    reply = advance(first)
    if not reply.ok:
        if reply.status not in (400, 409, 422):
            raise UnsettledError(f"it answered {reply}, which the emulator has no setting for")
        return reply.status, f"it answered {reply}"
    left = _checked(_results(scratch, name, stream)).body.get("results") or []
    again = any(each["comment"]["uid"] == results[1]["comment"]["uid"] for each in left)
    return (
        "rewind" if again else "ignore"
    ), f"it answered 200, and the later message is {'' if again else 'not '}given again"


def max_stream_results(scratch: ScratchProject) -> Answer:
    """How many results one request may ask for."""
    name = _dataset(scratch)
    stream = _stream(scratch, name)

    def accepts(number: int) -> bool:
        reply = _results(scratch, name, stream, ("max_results", str(number)))
        if not reply.ok and reply.status not in (400, 422):
            raise UnsettledError(f"max_results={number} answered {reply}")
        return reply.ok

    matches = longest(accepts, DEFAULT.max_stream_results, _MOST_RESULTS)
    return matches, f"max_results={matches} is accepted, and one more is not"


def _quota(kind: str) -> Callable[[ScratchProject], Answer]:
    def ask(scratch: ScratchProject) -> Answer:
        try:
            reply = _checked(scratch.client.call("GET", base=f"{PRIVATE}/quotas"))
        except DeniedError as error:
            raise UnsettledError(f"quotas: {error}") from None
        quotas = [each for each in reply.body.get("quotas", ()) if each.get("quota_kind") == kind]
        if not quotas:
            return None, f"the list of quotas has no '{kind}'"
        return quotas[0]["hard_limit"], f"hard_limit of the quota '{kind}'"

    return ask


def _dataset(scratch: ScratchProject) -> str:
    return scratch.datasets.create(source_ids=[scratch.bench()["id"]])


def _with_two_messages(scratch: ScratchProject) -> str:
    # As other questions have loaded them: they are unchanged, which costs nothing.
    load(scratch, message("edge", timestamp=EARLIER), message("lag"))
    name = _dataset(scratch)
    _measure(scratch, lambda: len(_export(scratch, name, *_TWO)) == len(_TWO), "an export showed the messages")
    return name


def _export(scratch: ScratchProject, name: str, *ids: str, **rules: object) -> list[Json]:
    uids = [f"{scratch.bench()['id']}.{each}" for each in ids]
    reply = _checked(scratch.datasets.call("POST", name, "export", body={"comment_uids": uids, **rules}))
    return [each["comment"] for each in reply.body.get("comments", ())]


def _stream(scratch: ScratchProject, name: str) -> str:
    _checked(scratch.datasets.call("PUT", name, "streams", body={"stream": {"name": "probe"}}))
    return "probe"


def _results(scratch: ScratchProject, name: str, stream: str, *query: tuple[str, str]) -> ProbeReply:
    return scratch.datasets.call("GET", name, "streams", stream, "results", query=query)


def _checked(reply: ProbeReply) -> ProbeReply:
    if not reply.ok:
        raise UnsettledError(f"it answered {reply}")
    return reply


def _measure(scratch: ScratchProject, there: Callable[[], bool], event: str) -> Answer:
    began = time.monotonic()
    if there():
        return 0.0, f"at the first look {event}"
    while (elapsed := time.monotonic() - began) < LONGEST_LAG:
        scratch.client.rest(min(1.0, scratch.client.backoff))
        if there():
            return float(round(elapsed + 0.5)), f"it took {elapsed:.1f} s until {event}"
    raise UnsettledError(f"it took more than {LONGEST_LAG:.0f} s until {event}")


DATASET_QUESTIONS: dict[str, Ask] = {
    "unknown_source": unknown_source,
    "dataset_lag_s": dataset_lag_s,
    "export_order": export_order,
    "export_bounds": export_bounds,
    "predicted_label_names": predicted_label_names,
    "prediction_lag_s": prediction_lag_s,
    "stream_start": stream_start,
    "old_continuation": old_continuation,
    "max_stream_results": max_stream_results,
    "message_quota": _quota("comments"),
    "source_quota": _quota("sources"),
    "max_sources_per_dataset": _quota("sources_per_dataset"),
    "max_datasets_per_source": _quota("datasets_per_source"),
}
