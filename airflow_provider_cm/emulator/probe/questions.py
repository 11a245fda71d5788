"""
What the probe asks: one function for each setting of the emulator that can be settled from outside.

Each is given the :class:`~airflow_provider_cm.emulator.probe.lab.Lab`, tries something on sources of its own, and
returns the setting's value with the evidence for it; or raises
:class:`~airflow_provider_cm.emulator.probe.lab.UnsettledError`.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.probe.lab import Answer, Ask, UnsettledError
from airflow_provider_cm.emulator.probe.limits import max_description, max_sensitive_properties, max_title

if TYPE_CHECKING:
    from airflow_provider_cm.emulator.probe.client import Reply
    from airflow_provider_cm.emulator.probe.lab import Lab

_MOST_UPDATES = 25


def _status(reply: Reply, *allowed: int) -> int:
    if reply.status not in allowed:
        raise UnsettledError(f"it answered {reply}, which the emulator has no setting for")
    return reply.status


def shapes(lab: Lab) -> Answer:
    """Which keys each endpoint shows."""
    source = lab.bench()
    call = lab.client.call
    shown = {
        "list all": next((each for each in call("GET").sources if each.get("id") == source["id"]), {}),
        "list project": next((each for each in call("GET", lab.project).sources if each.get("id") == source["id"]), {}),
        "by name": call("GET", lab.project, source["name"]).source,
        "by id": lab.read(source),
        "create": source,
    }
    missing = [name for name, each in shown.items() if not each]
    if missing:
        raise UnsettledError(f"the new source was not shown by: {', '.join(missing)}")
    every = set().union(*shown.values())
    gaps = {name: sorted(every - set(each)) for name, each in shown.items()}
    lacking = [f"{name} lacks {', '.join(keys)}" for name, keys in gaps.items() if keys]
    evidence = f"keys: {', '.join(sorted(every))}; {'; '.join(lacking) or 'the same everywhere'}"
    if all({"language", "_kind"} <= set(each) for each in shown.values()):
        return "full", evidence
    bare = all(not {"language", "_kind"} & set(shown[name]) for name in ("list all", "list project", "by name"))
    if bare and "language" in shown["by id"] and "_kind" not in every:
        return "docs", evidence
    raise UnsettledError(f"neither what the vendor's client needs nor what its pages show; {evidence}")


def default_title(lab: Lab) -> Answer:
    """What the title is when none is given."""
    source = lab.bench()
    title = source.get("title")
    if title == "":
        return "empty", "the title is empty"
    if title == source["name"]:
        return "name", "the title is the name"
    raise UnsettledError(f"the title is {title!r:.80}")


def duplicate_put(lab: Lab) -> Answer:
    """What a create does to a source that exists."""
    source = lab.create(title="a")
    reply = lab.put(source["name"], {"title": "b"})
    if not reply.ok:
        return _status(reply, 400, 409, 422), f"it answered {reply}"
    after = lab.read(source)
    if reply.source.get("id") == source["id"] and after.get("title") == "b":
        return "upsert", "it answered 200, and the source has the new title"
    raise UnsettledError(f"it answered 200, and the source that was there has the title {after.get('title')!r:.40}")


def missing_project(lab: Lab) -> Answer:
    """What a create in a project answers that does not exist."""
    reply = lab.put(lab.name(), {}, project=lab.absent_project)
    if reply.ok:
        lab.left_projects.append(lab.absent_project)
        raise UnsettledError(f"it made the project {lab.absent_project}, which is left there")
    return _status(reply, 400, 403, 404), f"it answered {reply}"


def missing_project_list(lab: Lab) -> Answer:
    """What listing a project answers that does not exist."""
    reply = lab.client.call("GET", lab.absent_project)
    if reply.ok and not reply.sources:
        return "empty", "it answered 200 and no sources"
    return _status(reply, 403, 404), f"it answered {reply}"


def delete_missing(lab: Lab) -> Answer:
    """What deleting twice answers."""
    source = lab.create()
    first = lab.delete(source["id"])
    if not first.ok:
        raise UnsettledError(f"the first delete answered {first}")
    second = lab.delete(source["id"])
    return _status(second, 200, 404), f"the second delete answered {second}"


def invalid_name(lab: Lab) -> Answer:
    """What a create answers whose name breaks the rules."""
    reply = lab.put(lab.name(".dot"), {})
    if reply.ok:
        raise UnsettledError("a name with a dot is valid there")
    return _status(reply, 400, 404, 422), f"a name with a dot answered {reply}"


def null_field(lab: Lab) -> Answer:
    """What null does in each field."""
    bench = lab.bench()
    before = lab.read(bench)
    results: dict[str, str] = {}
    for field in ("title", "description", "should_translate", "sensitive_properties", "email_transform_tag"):
        reply = lab.update(bench, {field: None})
        kept = reply.source.get(field) == before.get(field)
        results[field] = ("ignored" if kept else "taken") if reply.ok else str(reply.status)
    for field in ("language", "bucket_id"):
        reply = lab.put(lab.name(), {field: None})
        results[f"{field} on create"] = "ignored" if reply.ok else str(reply.status)
    evidence = ", ".join(f"{field}: {result}" for field, result in results.items())
    if set(results.values()) == {"400"}:
        return 400, evidence
    if set(results.values()) == {"ignored"}:
        return "ignore", evidence
    raise UnsettledError(f"not the same for all: {evidence}")


def unknown_field(lab: Lab) -> Answer:
    """What a key does that the API does not know."""
    reply = lab.update(lab.bench(), {"x_probe": "x"})
    if reply.ok:
        return "ignore", "it answered 200"
    return _status(reply, 400), f"it answered {reply}"


def unknown_bucket(lab: Lab) -> Answer:
    """What the id of a bucket answers that does not exist."""
    reply = lab.put(lab.name(), {"bucket_id": secrets.token_hex(8)})
    if reply.ok:
        return "accept", "it answered 200"
    return _status(reply, 400, 404, 422), f"it answered {reply}"


def languages(lab: Lab) -> Answer:
    """Which languages are accepted."""
    reply = lab.put(lab.name(), {"language": "probe"})
    if reply.ok:
        raise UnsettledError("it accepts a language that is none")
    named = re.search(r"is not one of \[([^\]]*)\]", str(reply.body.get("message")))
    found = tuple(re.findall(r"'([^']*)'", named[1])) if named else ()
    if found:
        lab.accepted_languages = found
        return found, "it names them when it refuses another"
    tried = {each: lab.put(lab.name(), {"language": each}) for each in lab.languages}
    accepted = tuple(each for each, answer in tried.items() if answer.ok)
    if not accepted:
        raise UnsettledError(f"none of {', '.join(tried)} is accepted")
    lab.accepted_languages = accepted
    refused = [each for each in tried if each not in accepted]
    return accepted, f"accepted of those tried; refused: {', '.join(refused) or 'none'}"


def language_on_update(lab: Lab) -> Answer:
    """What an update does with the language."""
    if not lab.accepted_languages:
        languages(lab)
    source = lab.create()
    before = source.get("language") or lab.read(source).get("language")
    other = next((each for each in lab.accepted_languages if each != before), before)
    reply = lab.update(source, {"language": other})
    if reply.status in (400, 422):
        return "refuse", f"it answered {reply}"
    _status(reply, 200)
    if other == before:
        raise UnsettledError("it answered 200, but there is no second language to tell by")
    after = lab.read(source).get("language")
    if after not in (before, other):
        raise UnsettledError(f"the language became {after!r:.40}")
    return ("ignore" if after == before else "accept"), f"it answered 200, and the language is {after!r:.40}"


def sensitive_properties_update(lab: Lab) -> Answer:
    """What an update does with the list of sensitive properties."""
    source = lab.create(sensitive_properties=["string:A"])
    reply = lab.update(source, {"sensitive_properties": ["string:B"]})
    if not reply.ok:
        raise UnsettledError(f"it answered {reply}")
    found = sorted(lab.read(source).get("sensitive_properties") or ())
    if found == ["string:B"]:
        return "replace", "A then B gives B"
    if found == ["string:A", "string:B"]:
        return "merge", "A then B gives both"
    raise UnsettledError(f"A then B gives {found!r:.80}")


def updated_at_moves(lab: Lab) -> Answer:
    """Which updates move updated_at."""
    source = lab.create(title="a")
    last = source["updated_at"]
    moved: list[bool] = []
    for fields in ({}, {"title": "a"}, {"title": "b"}):
        lab.client.rest(_tick(lab))
        reply = lab.update(source, fields)
        if not reply.ok:
            raise UnsettledError(f"an update with {fields or 'nothing'} answered {reply}")
        now = reply.source.get("updated_at") or lab.read(source)["updated_at"]
        moved.append(now != last)
        last = now
    names = ("an empty update", "one that changes nothing", "one that changes the title")
    evidence = ", ".join(f"{name}: {'moves' if yes else 'stays'}" for name, yes in zip(names, moved, strict=True))
    known = {(True, True, True): "always", (False, True, True): "sent", (False, False, True): "changed"}
    if tuple(moved) not in known:
        raise UnsettledError(evidence)
    return known[moved[0], moved[1], moved[2]], evidence


def names_case_sensitive(lab: Lab) -> Answer:
    """Whether names that differ in case are two names."""
    upper = lab.name("-Case")
    lower = upper.lower()
    first = lab.put(upper, {})
    if not first.ok:
        raise UnsettledError(f"a name with a capital letter answered {first}")
    found = lab.client.call("GET", lab.project, lower)
    if found.ok:
        return False, "one is found by the name of the other"
    second = lab.put(lower, {})
    if second.ok and second.source.get("id") != first.source.get("id"):
        return True, "both can be created"
    raise UnsettledError(f"one is not found by the name of the other ({found}), and can't be created either ({second})")


def timestamp_digits(lab: Lab) -> Answer:
    """How many digits the times have after the second."""
    source = lab.create()
    for number in range(_MOST_UPDATES):
        digits = _fractions(lab)
        if len({len(each) for each in digits}) > 1:
            return "trim", f"{len(digits)} times had from {min(map(len, digits))} to {max(map(len, digits))} digits"
        if any(each.endswith("0") for each in digits) or (number > 1 and len(digits[0]) < 6):
            return len(digits[0]), f"{len(digits)} times had {len(digits[0])} digits"
        lab.update(source, {"description": str(number % 10)})
    raise UnsettledError(f"{len(digits)} times had {len(digits[0])} digits, and none ended in 0: fixed or trimmed")


def no_permission(lab: Lab) -> Answer:
    """What a token without the permission is answered."""
    if lab.viewer_token is None:
        raise UnsettledError("needs a token that may only look (--viewer-token-env)")
    looked = lab.client.call("GET", lab.project, token=lab.viewer_token)
    if not looked.ok:
        raise UnsettledError(f"the second token may not even look: {looked}")
    reply = lab.put(lab.name(), {}, token=lab.viewer_token)
    if reply.ok:
        raise UnsettledError("the second token may create sources")
    return _status(reply, 401, 403, 404), f"it answered {reply}"


def _fractions(lab: Lab) -> list[str]:
    found = (re.search(r"T\d\d:\d\d:\d\d(?:\.(\d+))?", each) for each in sorted(lab.client.timestamps))
    return [match[1] or "" for match in found if match]


def _tick(lab: Lab) -> float:
    """How long it takes until a time that is shown must have moved."""
    longest_seen = max((len(each) for each in _fractions(lab)), default=0)
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
