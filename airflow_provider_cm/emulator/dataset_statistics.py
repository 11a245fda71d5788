"""Counting the messages of a dataset: in all, by label, by period, by source, and by user property."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_times import moment_of
from airflow_provider_cm.emulator.serializers import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo

    from airflow_provider_cm.emulator.dataset_messages import DatasetMessage, DatasetMessages

Json = dict[str, Any]

_STRING, _NUMBER = "string:", "number:"
# What a request names that has no time_resolution.
_USUAL_RESOLUTION = "month"


class _Group:
    """How many messages are in a group, and how many of them have each label."""

    def __init__(self) -> None:
        self.messages = 0
        self.labeled = 0
        self.labels: Counter[str] = Counter()

    def add(self, labels: set[str]) -> None:
        self.messages += 1
        self.labeled += bool(labels)
        self.labels.update(labels)

    def numbers(self, labels: list[str]) -> list[float]:
        return [float(self.labels[name]) for name in labels]


class _Groups:
    """
    Messages in groups.

    :param keys: the groups that a message belongs to.
    """

    def __init__(self, keys: Callable[[DatasetMessage], Iterable[str]]) -> None:
        self._keys = keys
        self._groups: defaultdict[str, _Group] = defaultdict(_Group)

    def add(self, each: DatasetMessage, labels: set[str]) -> None:
        for key in self._keys(each):
            self._groups[key].add(labels)

    def series(self, labels: list[str]) -> list[Json]:
        """Write the groups as a time series; every label counts as positive."""
        return [
            {
                "timestamp_str": key,
                "expected_count_any": float(group.messages),
                "expected_count_positive": float(group.labeled),
                "expected_count_negative": 0.0,
                "label_sentiment_counts": [part for number in group.numbers(labels) for part in (number, 0.0)],
            }
            for key, group in sorted(self._groups.items())
        ]

    def counts(self, settings: Json, labels: list[str]) -> Json:
        """Write the groups that the request names, or the largest ones."""
        largest = sorted(self._groups, key=lambda key: (-self._groups[key].messages, key))
        values = settings.get("values", largest)[: max(int(settings.get("limit", len(largest))), 0)]
        groups = [self._groups.get(value, _Group()) for value in values]
        return {
            "settings": settings,
            "values": values,
            "labels": labels,
            "num_comments": [float(group.messages) for group in groups],
            "num_labels": [group.numbers(labels) for group in groups],
        }


def counted_labels(request: Json, messages: DatasetMessages) -> list[str]:
    """Name the labels that a request wants to have counted."""
    by_labels = request.get("by_labels", {})
    if "include" in by_labels:
        return list(by_labels["include"]["include_labels"])
    if "top" in by_labels:
        top = by_labels["top"]
        names = [name for name in messages.predictions.names if name not in top["exclude_labels"]]
        return names[: max(int(top["num_top_labels"]), 0)]
    return []


def count_messages(messages: DatasetMessages, request: Json, labels: list[str]) -> Json:
    """
    Count the messages that a request lets through.

    :param labels: the labels to count.
    :return: the statistics of a response.
    :raises RefusedRequestError: 422 for a time zone that does not exist.
    """
    rules, attributes = request.get("comment_filter", {}), request.get("attribute_filters", ())
    groups = _groups_of(request)
    if labels or groups or attributes or any(rules.get(name) for name in rules):
        chosen = filter(messages.filter(rules, attributes), messages.walk("timestamp"))
        total, edges = _count(chosen, messages, labels, list(groups.values()))
    else:
        total, edges = _Group(), _edges(messages)
        total.messages = messages.count()
    output = [timestamp(moment_of(edge), messages.settings) for edge in edges]
    properties = request.get("string_user_property_counts", ())
    answer: Json = {
        "thread_mode": bool(request.get("thread_mode", False)),
        "by_labels": labels,
        "by_label_properties": list(request["by_label_properties"]),
        "num_comments": float(total.messages),
        "min_timestamp": output[0] if output else None,
        "max_timestamp": output[-1] if output else None,
        "label_counts": {name: {"positive": float(total.labels[name]), "negative": 0.0} for name in labels},
        "string_user_property_counts": [
            groups[f"property {number}"].counts(settings, labels) for number, settings in enumerate(properties)
        ],
        "email_property_counts": {},
        "thread_histogram_counts": {},
        "timezone": request.get("timezone", "UTC"),
    }
    if "series" in groups:
        answer["label_timeseries"] = groups["series"].series(labels)
    if "sources" in groups:
        answer["source_counts"] = groups["sources"].counts(request["source_counts"], labels)
    return answer


def _groups_of(request: Json) -> dict[str, _Groups]:
    groups: dict[str, _Groups] = {}
    zone = _zone(request.get("timezone", "UTC"))
    if request.get("label_timeseries"):
        resolution = request.get("time_resolution", _USUAL_RESOLUTION)
        groups["series"] = _Groups(lambda each: [_period(each, resolution, zone)])
    if "source_counts" in request:
        groups["sources"] = _Groups(lambda each: [each.source_id])
    for number, settings in enumerate(request.get("string_user_property_counts", ())):
        groups[f"property {number}"] = _Groups(_values_of(settings["group_by"]))
    return groups


def _count(
    chosen: Iterable[DatasetMessage], messages: DatasetMessages, names: list[str], groups: list[_Groups]
) -> tuple[_Group, list[int]]:
    total, edges = _Group(), list[int]()
    for each in chosen:
        edges = [*edges[:1], each.message.timestamp]
        labels = set(messages.labels(each)) if names or groups else set()
        total.add(labels)
        for group in groups:
            group.add(each, labels)
    return total, edges


def _edges(messages: DatasetMessages) -> list[int]:
    both = (islice(messages.walk("timestamp", descending=descending), 1) for descending in (False, True))
    return [each.message.timestamp for matches in both for each in matches]


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise RefusedRequestError(422, f"'{name[:64]}' is not a time zone") from None


def _period(each: DatasetMessage, resolution: str, zone: tzinfo) -> str:
    """Return the first day of the day, week, month or year of a message."""
    moment = moment_of(each.message.timestamp)
    with suppress(OverflowError):  # the last hours of the year 9999
        moment = moment.astimezone(zone)
    day = moment.date()
    if resolution == "week":
        day -= timedelta(days=day.weekday())
    elif resolution != "day":
        day = day.replace(day=1) if resolution == "month" else day.replace(month=1, day=1)
    return day.isoformat()


def _values_of(name: str) -> Callable[[DatasetMessage], list[str]]:
    full_name = name if name.startswith(_STRING) else _STRING + name

    def values(each: DatasetMessage) -> list[str]:
        matches = each.message.fields.get("user_properties", {}).get(full_name)
        return [] if matches is None else [str(matches)]

    return values


def summarize(messages: DatasetMessages, request: Json) -> Json:
    """List the user properties of the messages that a request lets through, with the values of those that are texts."""
    strings: defaultdict[str, set[str]] = defaultdict(set)
    numbers: set[str] = set()
    chosen = messages.filter(request["filter"], request.get("attribute_filters", ()))
    for each in filter(chosen, messages.walk("timestamp")):
        for name, value in each.message.fields.get("user_properties", {}).items():
            if name.startswith(_NUMBER):
                numbers.add(name.removeprefix(_NUMBER))
            else:
                strings[name.removeprefix(_STRING)].add(str(value))
    return {
        "string": [
            {"full_name": name, "values": [{"value": value} for value in sorted(values)]}
            for name, values in sorted(strings.items())
        ],
        "number": [{"full_name": name} for name in sorted(numbers)],
    }
