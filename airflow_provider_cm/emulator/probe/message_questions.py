"""
What the probe asks about messages; each message that is created, and each text that is changed, is billed.

Asked only on demand. Together with those about datasets they cost about 13 AI units, and their messages go with the
scratch source.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.probe.limits import DEFAULT, longest
from airflow_provider_cm.emulator.probe.messages import EARLIER, LONGEST_LAG, load, message, sync
from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_cm.emulator.probe.scratch import Ask, ScratchProject

# More than they need, so that a surprise is no surprise on the bill.
MOST_AI_UNITS = 15
_MEGABYTES = 20


def _read(scratch: ScratchProject, message_id: str) -> dict[str, Any] | None:
    reply = scratch.client.call("GET", *scratch.place(), "comments", message_id)
    if reply.status == 404:
        return None
    matches = reply.body.get("comment")
    if not reply.ok or not isinstance(matches, dict):
        raise UnsettledError(f"a message could not be read: {reply}")
    return matches


def _count(scratch: ScratchProject, **comment_filter: Any) -> int:
    reply = scratch.client.call("POST", *scratch.place(), "statistics", body={"comment_filter": comment_filter})
    statistics = reply.body.get("statistics")
    number = statistics.get("num_comments") if isinstance(statistics, dict) else None
    if not isinstance(number, int):
        raise UnsettledError(f"the statistics answered {reply}")
    return number


def _text(message: dict[str, Any] | None) -> object:
    try:
        return (message or {})["messages"][0]["body"]["text"]
    except (KeyError, IndexError, TypeError):
        return None


def statistics_lag_s(scratch: ScratchProject) -> Answer:
    """How long it takes until statistics count a message."""
    before = _count(scratch)
    load(scratch, message("lag"))
    began = time.monotonic()
    if _count(scratch) > before:
        return 0.0, "the first look after a sync counted the message"
    while (elapsed := time.monotonic() - began) < LONGEST_LAG:
        scratch.client.rest(min(1.0, scratch.client.backoff))
        if _count(scratch) > before:
            return float(round(elapsed + 0.5)), f"it took {elapsed:.1f} s until the message was counted"
    raise UnsettledError(f"the message was not counted within {LONGEST_LAG:.0f} s")


def bad_message(scratch: ScratchProject) -> Answer:
    """What one bad message does to a batch."""
    reply = sync(scratch, message("good"), message("bad/id"))
    stored = _read(scratch, "good") is not None
    if reply.ok and stored:
        return "skip", "it answered 200, and the good message of the batch is there"
    if reply.status in (400, 422) and not stored:
        return "refuse", f"it answered {reply}, and the good message is not there"
    raise UnsettledError(f"it answered {reply}, and the good message is {'' if stored else 'not '}there")


def duplicate_messages(scratch: ScratchProject) -> Answer:
    """What the same id twice in a batch does."""
    reply = sync(scratch, message("twice", "one"), message("twice", "two"))
    if reply.status in (400, 409, 422):
        return reply.status, f"it answered {reply}"
    text = _text(_read(scratch, "twice"))
    if text not in ("one", "two"):
        raise UnsettledError(f"it answered {reply}, and the text is {text!r:.40}")
    return ("last" if text == "two" else "first"), f"it answered {reply}, and the text is the {text} of one, two"


def omitted_message_field(scratch: ScratchProject) -> Answer:
    """What an overwrite does with a field that it leaves out."""
    load(scratch, message("shorter", user_properties={"string:Probe": "x"}))
    load(scratch, message("shorter"))
    left = (_read(scratch, "shorter") or {}).get("user_properties")
    if left == {"string:Probe": "x"}:
        return "keep", "the user properties are still there"
    if not left:
        return "clear", "the user properties are gone"
    raise UnsettledError(f"the user properties became {left!r:.60}")


def message_without_timestamp(scratch: ScratchProject) -> Answer:
    """What a message without a timestamp does."""
    reply = sync(scratch, {"id": "timeless", "messages": []})
    if reply.status in (400, 422):
        return reply.status, f"it answered {reply}"
    matches = _read(scratch, "timeless")
    if not reply.ok or matches is None:
        raise UnsettledError(f"it answered {reply}, and the message is {'not ' if matches is None else ''}there")
    same = str(matches.get("timestamp"))[:13] == str(matches.get("created_at"))[:13]
    if not same:
        raise UnsettledError(f"the message got the timestamp {matches.get('timestamp')!r:.40}")
    return "now", "it got the time of its creation"


def naive_timestamp(scratch: ScratchProject) -> Answer:
    """What a timestamp without an offset means."""
    reply = sync(scratch, message("naive", timestamp="2026-01-05T09:12:00"))
    if reply.status in (400, 422):
        return reply.status, f"it answered {reply}"
    output = str((_read(scratch, "naive") or {}).get("timestamp"))
    if output.startswith("2026-01-05T09:12:00") and output.endswith(("Z", "+00:00")):
        return "utc", f"it is shown as {output:.40}"
    raise UnsettledError(f"it is shown as {output!r:.40}")


def range_end(scratch: ScratchProject) -> Answer:
    """Whether the maximum of a filter belongs to the range."""
    load(scratch, message("edge", timestamp=EARLIER))
    window = {"minimum": "2025-02-28T00:00:00+00:00", "maximum": "2025-03-02T00:00:00+00:00"}
    began = time.monotonic()
    while not _count(scratch, timestamp=window):
        if time.monotonic() - began > LONGEST_LAG:
            raise UnsettledError(f"the message was not counted within {LONGEST_LAG:.0f} s")
        scratch.client.rest(min(1.0, scratch.client.backoff))
    inside = _count(scratch, timestamp={**window, "maximum": EARLIER})
    return ("inclusive" if inside else "exclusive"), f"a message at the maximum is {'' if inside else 'not '}counted"


def billed_text(scratch: ScratchProject) -> Answer:
    """Whether a change of the subject counts as one of the text."""
    first = message("subject")
    first["messages"][0]["subject"] = {"text": "one"}
    load(scratch, first)
    first["messages"][0]["subject"] = {"text": "two"}
    reply = load(scratch, first)
    changed = reply.body.get("updated_text_changed")
    if changed not in (0, 1):
        raise UnsettledError("it does not say how many texts have changed")
    return ("all" if changed else "body"), f"a change of the subject counts as {changed} changed texts"


def max_delete_ids(scratch: ScratchProject) -> Answer:
    """How many ids a delete may name; none of them exists."""
    for least, most in ((33, 32), (129, 128)):
        ids = [("id", f"absent-{number}") for number in range(least)]
        reply = scratch.client.call("DELETE", *scratch.place(), "comments", query=ids)
        if not reply.ok:
            return most, f"{least} ids answered {reply}"
    raise UnsettledError("129 ids are accepted")


def max_body_bytes(scratch: ScratchProject) -> Answer:
    """How long a body may be, within a hundredth; tried with bodies from which nothing can be stored."""

    def status(length: int) -> int:
        bad = {"id": "bad/id", "x_probe": "x" * length}
        return scratch.client.call("POST", *scratch.place(), "sync", body={"comments": [bad]}).status

    most = _MEGABYTES * 10**6
    if (answered := status(most)) != 413:
        return None, f"{_MEGABYTES} MB answered {answered}, so they were read"
    good, bad = 0, most
    while bad - good > max(good // 100, 1024):
        middle = (good + bad) // 2
        good, bad = (good, middle) if status(middle) == 413 else (middle, bad)
    return good, f"about {good} bytes were read, and about {bad} answered 413"


def max_batch(scratch: ScratchProject) -> Answer:
    """How many messages a batch may hold, tried with one message many times."""
    again = message("lag")
    return _most_at_once(scratch, DEFAULT.max_batch, "sync", lambda number: {"comments": [again] * number})


def max_raw_email_batch(scratch: ScratchProject) -> Answer:
    """How many emails a batch may hold, tried with one email many times."""
    headers = {"parsed": {"Message-ID": "<probe@example.org>", "Date": "Mon, 05 Jan 2026 09:12:00 +0000"}}
    again = {"raw_email": {"headers": headers, "body": {"plain": "probe"}}, "comment_id": "email"}
    guess = DEFAULT.max_raw_email_batch
    return _most_at_once(scratch, guess, "sync-raw-emails", lambda number: {"documents": [again] * number})


def _most_at_once(scratch: ScratchProject, guess: int, operation: str, body: Callable[[int], object]) -> Answer:
    def accepts(number: int) -> bool:
        reply = scratch.client.call("POST", *scratch.place(), operation, body=body(number))
        if not reply.ok and reply.status not in (400, 413, 422):
            raise UnsettledError(f"{number} at once answered {reply}")
        return reply.ok

    for few in (1, 2):
        if not accepts(few):
            raise UnsettledError(f"it can't be asked: {'the same id twice' if few == 2 else 'one'} is refused")
    matches = longest(accepts, guess, 4 * guess)
    return matches, f"{matches} at once are accepted, and one more is not"


MESSAGE_QUESTIONS: dict[str, Ask] = {
    ask.__name__: ask
    for ask in (
        statistics_lag_s,
        bad_message,
        duplicate_messages,
        omitted_message_field,
        message_without_timestamp,
        naive_timestamp,
        range_end,
        billed_text,
        max_delete_ids,
        max_batch,
        max_raw_email_batch,
        max_body_bytes,
    )
}
