"""
What the probe asks: one function for each setting of the emulator that can be settled from outside.

Each is given the :class:`~airflow_provider_cm.emulator.probe.scratch.ScratchProject`, tries something on sources of
its own, and returns the setting's value with the evidence for it; or raises
:class:`~airflow_provider_cm.emulator.probe.unsettled.UnsettledError`.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.probe.limits import max_description, max_sensitive_properties, max_title
from airflow_provider_cm.emulator.probe.unsettled import Answer, UnsettledError

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.probe.client import ProbeReply
    from airflow_provider_cm.emulator.probe.scratch import Ask, ScratchProject

_MOST_UPDATES = 25
_PUBLIC_TAGS = ("generic.0.CONVKER5",)


def _status(reply: ProbeReply, *allowed: int) -> int:
    if reply.status not in allowed:
        raise UnsettledError(f"it answered {reply}, which the emulator has no setting for")
    return reply.status


def shapes(scratch: ScratchProject) -> Answer:
    """Which keys each endpoint shows."""
    source = scratch.bench()
    call = scratch.client.call
    output = {
        "list all": next((each for each in call("GET").sources if each.get("id") == source["id"]), {}),
        "list project": next(
            (each for each in call("GET", scratch.project).sources if each.get("id") == source["id"]), {}
        ),
        "by name": call("GET", scratch.project, source["name"]).source,
        "by id": scratch.read(source),
        "create": source,
    }
    missing = [name for name, each in output.items() if not each]
    if missing:
        raise UnsettledError(f"the new source was not shown by: {', '.join(missing)}")
    every = set().union(*output.values())
    gaps = {name: sorted(every - set(each)) for name, each in output.items()}
    lacking = [f"{name} lacks {', '.join(keys)}" for name, keys in gaps.items() if keys]
    evidence = f"keys: {', '.join(sorted(every))}; {'; '.join(lacking) or 'the same everywhere'}"
    if all({"language", "_kind"} <= set(each) for each in output.values()):
        return "full", evidence
    bare = all(not {"language", "_kind"} & set(output[name]) for name in ("list all", "list project", "by name"))
    if bare and "language" in output["by id"] and "_kind" not in every:
        return "docs", evidence
    raise UnsettledError(f"neither what the vendor's client needs nor what its pages show; {evidence}")


def default_title(scratch: ScratchProject) -> Answer:
    """What the title is when none is given."""
    source = scratch.bench()
    title = source.get("title")
    if title == "":
        return "empty", "the title is empty"
    if title == source["name"]:
        return "name", "the title is the name"
    raise UnsettledError(f"the title is {title!r:.80}")


def duplicate_put(scratch: ScratchProject) -> Answer:
    """What a create does to a source that exists."""
    source = scratch.create(title="a")
    reply = scratch.put(source["name"], {"title": "b"})
    if not reply.ok:
        return _status(reply, 400, 409, 422), f"it answered {reply}"
    after = scratch.read(source)
    if reply.source.get("id") == source["id"] and after.get("title") == "b":
        return "upsert", "it answered 200, and the source has the new title"
    raise UnsettledError(f"it answered 200, and the source that was there has the title {after.get('title')!r:.40}")


def missing_project(scratch: ScratchProject) -> Answer:
    """What a create in a project answers that does not exist."""
    reply = scratch.put(scratch.name(), {}, project=scratch.absent_project)
    if reply.ok:
        scratch.left_projects.append(scratch.absent_project)
        raise UnsettledError(f"it made the project {scratch.absent_project}, which is left there")
    return _status(reply, 400, 403, 404), f"it answered {reply}"


def missing_project_list(scratch: ScratchProject) -> Answer:
    """What listing a project answers that does not exist."""
    reply = scratch.client.call("GET", scratch.absent_project)
    if reply.ok and not reply.sources:
        return "empty", "it answered 200 and no sources"
    return _status(reply, 403, 404), f"it answered {reply}"


def delete_missing(scratch: ScratchProject) -> Answer:
    """What deleting twice answers."""
    source = scratch.create()
    first = scratch.delete(source["id"])
    if not first.ok:
        raise UnsettledError(f"the first delete answered {first}")
    second = scratch.delete(source["id"])
    return _status(second, 200, 404), f"the second delete answered {second}"


def invalid_name(scratch: ScratchProject) -> Answer:
    """What a create answers whose name breaks the rules."""
    reply = scratch.put(scratch.name(".dot"), {})
    if reply.ok:
        raise UnsettledError("a name with a dot is valid there")
    return _status(reply, 400, 404, 422), f"a name with a dot answered {reply}"


def null_field(scratch: ScratchProject) -> Answer:
    """What null does in each field."""
    bench = scratch.bench()
    before = scratch.read(bench)
    results: dict[str, str] = {}
    for field in ("title", "description", "should_translate", "sensitive_properties", "email_transform_tag"):
        reply = scratch.update(bench, {field: None})
        remaining = reply.source.get(field) == before.get(field)
        results[field] = ("ignored" if remaining else "taken") if reply.ok else str(reply.status)
    reply = scratch.put(scratch.name(), {"language": None})
    results["language on create"] = "ignored" if reply.ok else str(reply.status)
    evidence = ", ".join(f"{field}: {result}" for field, result in results.items())
    if set(results.values()) == {"400"}:
        return 400, evidence
    if set(results.values()) == {"ignored"}:
        return "ignore", evidence
    raise UnsettledError(f"not the same for all: {evidence}")


def unknown_field(scratch: ScratchProject) -> Answer:
    """What a key does that the API does not know."""
    reply = scratch.update(scratch.bench(), {"x_probe": "x"})
    if reply.ok:
        return "ignore", "it answered 200"
    return _status(reply, 400), f"it answered {reply}"


def unknown_bucket(scratch: ScratchProject) -> Answer:
    """What the id of a bucket answers that does not exist."""
    reply = scratch.put(scratch.name(), {"bucket_id": secrets.token_hex(8)})
    if reply.ok:
        return "accept", "it answered 200"
    return _status(reply, 400, 404, 422), f"it answered {reply}"


def languages(scratch: ScratchProject) -> Answer:
    """Which languages are accepted."""
    reply = scratch.put(scratch.name(), {"language": "probe"})
    if reply.ok:
        raise UnsettledError("it accepts a language that is none")
    named = re.search(r"is not one of \[([^\]]*)\]", str(reply.body.get("message")))
    matches = tuple(re.findall(r"'([^']*)'", named[1])) if named else ()
    if matches:
        scratch.accepted_languages = matches
        return matches, "it names them when it refuses another"
    tried = {each: scratch.put(scratch.name(), {"language": each}) for each in scratch.languages}
    accepted = tuple(each for each, answer in tried.items() if answer.ok)
    if not accepted:
        raise UnsettledError(f"none of {', '.join(tried)} is accepted")
    scratch.accepted_languages = accepted
    refused = [each for each in tried if each not in accepted]
    return accepted, f"accepted of those tried; refused: {', '.join(refused) or 'none'}"


def language_on_update(scratch: ScratchProject) -> Answer:
    """What an update does with the language."""
    if not scratch.accepted_languages:
        languages(scratch)
    source = scratch.create()
    before = source.get("language") or scratch.read(source).get("language")
    other = next((each for each in scratch.accepted_languages if each != before), before)
    reply = scratch.update(source, {"language": other})
    if reply.status in (400, 422):
        return "refuse", f"it answered {reply}"
    _status(reply, 200)
    if other == before:
        raise UnsettledError("it answered 200, but there is no second language to tell by")
    after = scratch.read(source).get("language")
    if after not in (before, other):
        raise UnsettledError(f"the language became {after!r:.40}")
    return ("ignore" if after == before else "accept"), f"it answered 200, and the language is {after!r:.40}"


def kind_on_update(scratch: ScratchProject) -> Answer:
    """What an update does with the kind."""
    source = scratch.create(_kind="call")
    reply = scratch.update(source, {"_kind": "chat"})
    if reply.status in (400, 422):
        return "refuse", f"it answered {reply}"
    _status(reply, 200)
    after = scratch.read(source).get("_kind")
    if after is None:
        raise UnsettledError("it answered 200, and the kind is not shown")
    if after not in ("call", "chat"):
        raise UnsettledError(f"it answered 200, and the kind is {after!r:.40}")
    return ("ignore" if after == "call" else "accept"), f"it answered 200, and the kind is {after!r}"


def transform_tags(scratch: ScratchProject) -> Answer:
    """Which of the transform tags that are public are known."""
    replies = {tag: scratch.put(scratch.name(), {"email_transform_tag": tag}) for tag in _PUBLIC_TAGS}
    for reply in replies.values():
        _status(reply, 200, 422)
    known = tuple(tag for tag, reply in replies.items() if reply.ok)
    unknown = scratch.put(scratch.name(), {"email_transform_tag": "probe.0.NOSUCHTG"})
    if unknown.ok:
        raise UnsettledError("it accepts a tag that is none")
    _status(unknown, 422)
    return known, f"accepted of those tried, which were {', '.join(_PUBLIC_TAGS)}; another answered {unknown}"


def sensitive_properties_update(scratch: ScratchProject) -> Answer:
    """What an update does with the list of sensitive properties."""
    source = scratch.create(sensitive_properties=["string:A"])
    reply = scratch.update(source, {"sensitive_properties": ["string:B"]})
    if not reply.ok:
        raise UnsettledError(f"it answered {reply}")
    matches = sorted(scratch.read(source).get("sensitive_properties") or ())
    if matches == ["string:B"]:
        return "replace", "A then B gives B"
    if matches == ["string:A", "string:B"]:
        return "merge", "A then B gives both"
    raise UnsettledError(f"A then B gives {matches!r:.80}")


def updated_at_moves(scratch: ScratchProject) -> Answer:
    """Which updates move updated_at."""
    source = scratch.create(title="a")
    last = source["updated_at"]
    moved: list[bool] = []
    for fields in ({}, {"title": "a"}, {"title": "b"}):
        scratch.client.rest(_tick(scratch))
        reply = scratch.update(source, fields)
        if not reply.ok:
            raise UnsettledError(f"an update with {fields or 'nothing'} answered {reply}")
        now = reply.source.get("updated_at") or scratch.read(source)["updated_at"]
        moved.append(now != last)
        last = now
    names = ("an empty update", "one that changes nothing", "one that changes the title")
    evidence = ", ".join(f"{name}: {'moves' if yes else 'stays'}" for name, yes in zip(names, moved, strict=True))
    known = {(True, True, True): "always", (False, True, True): "sent", (False, False, True): "changed"}
    if tuple(moved) not in known:
        raise UnsettledError(evidence)
    return known[moved[0], moved[1], moved[2]], evidence


def names_case_sensitive(scratch: ScratchProject) -> Answer:
    """Whether names that differ in case are two names."""
    upper = scratch.name("-Case")
    lower = upper.lower()
    first = scratch.put(upper, {})
    if not first.ok:
        raise UnsettledError(f"a name with a capital letter answered {first}")
    lookup = scratch.client.call("GET", scratch.project, lower)
    if lookup.ok:
        return False, "one is found by the name of the other"
    second = scratch.put(lower, {})
    if second.ok and second.source.get("id") != first.source.get("id"):
        return True, "both can be created"
    raise UnsettledError(
        f"one is not found by the name of the other ({lookup}), and can't be created either ({second})"
    )


def timestamp_digits(scratch: ScratchProject) -> Answer:
    """How many digits the times have after the second."""
    source = scratch.create()
    for number in range(_MOST_UPDATES):
        digits = _fractions(scratch)
        if len({len(each) for each in digits}) > 1:
            return "trim", f"{len(digits)} times had from {min(map(len, digits))} to {max(map(len, digits))} digits"
        if any(each.endswith("0") for each in digits) or (number > 1 and len(digits[0]) < 6):
            return len(digits[0]), f"{len(digits)} times had {len(digits[0])} digits"
        scratch.update(source, {"description": str(number % 10)})
    raise UnsettledError(f"{len(digits)} times had {len(digits[0])} digits, and none ended in 0: fixed or trimmed")


def no_permission(scratch: ScratchProject) -> Answer:
    """What a token without the permission is answered."""
    if scratch.viewer_token is None:
        raise UnsettledError("needs a token that may only look (--viewer-token-env)")
    looked = scratch.client.call("GET", scratch.project, token=scratch.viewer_token)
    if not looked.ok:
        raise UnsettledError(f"the second token may not even look: {looked}")
    reply = scratch.put(scratch.name(), {}, token=scratch.viewer_token)
    if reply.ok:
        raise UnsettledError("the second token may create sources")
    return _status(reply, 401, 403, 404), f"it answered {reply}"


def _fractions(scratch: ScratchProject) -> list[str]:
    matches = (re.search(r"T\d\d:\d\d:\d\d(?:\.(\d+))?", each) for each in sorted(scratch.client.timestamps))
    return [match[1] or "" for match in matches if match]


def _tick(scratch: ScratchProject) -> float:
    """How long it takes until a time that is shown must have moved."""
    longest_seen = max((len(each) for each in _fractions(scratch)), default=0)
    return 1.1 * 10.0**-longest_seen


QUESTIONS: dict[str, Ask] = {
    ask.__name__: ask
    for ask in (
        default_title,
        shapes,
        max_title,
        max_description,
        max_sensitive_properties,
        null_field,
        unknown_field,
        languages,
        language_on_update,
        kind_on_update,
        transform_tags,
        duplicate_put,
        missing_project,
        missing_project_list,
        delete_missing,
        invalid_name,
        unknown_bucket,
        sensitive_properties_update,
        updated_at_moves,
        names_case_sensitive,
        timestamp_digits,
        no_permission,
    )
}
