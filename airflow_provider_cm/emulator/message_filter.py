"""
``comment_filter``: which messages it lets through.

What needs a dataset (labels, entities, exceptions of streams) is evaluated as for a message that has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_times import read_time

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_cm.emulator.message_records import StoredMessage
    from airflow_provider_cm.emulator.message_store import MessageStore
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]


class MessageFilter:
    """
    One filter, for the messages of one source.

    :param rules: as the contract has them.
    :raises RefusedRequestError: 422 for a timestamp that is none.
    """

    def __init__(self, rules: Json, store: MessageStore, tenant: str, source: str, settings: EmulatorSettings) -> None:
        self._rules = {name: rule for name, rule in rules.items() if name != "timestamp"}
        self._store, self._tenant, self._source = store, tenant, source
        self.least, self.most = time_range(rules.get("timestamp", {}), "minimum", "maximum", settings)
        self._threads: dict[str, Json] = {}

    @property
    def everything(self) -> bool:
        """Whether it lets every message through."""
        return not self._rules and self.least is None and self.most is None

    def matching(self, created_until: int | None = None) -> list[StoredMessage]:
        """
        Return the messages that it lets through.

        :param created_until: microseconds since 1970; later ones are left out.
        """
        results = self._store.scan(self._tenant, self._source, least=self.least, most=self.most)
        return [
            each for each in results if (created_until is None or each.created <= created_until) and self.matches(each)
        ]

    def matches(self, message: StoredMessage, labels: Collection[str] = ()) -> bool:
        """
        Return whether it lets a message through whose timestamp is in its range.

        :param labels: the names of the message's labels.
        """
        rules, fields = self._rules, message.fields if self._rules else {}
        properties = fields.get("user_properties", {})
        return (
            self._source in rules.get("sources", [self._source])
            and message.annotated in _REVIEWED[rules.get("reviewed")]
            and all(_value(properties.get(name), rule) for name, rule in rules.get("user_properties", {}).items())
            and _participants(fields.get("messages", ()), rules.get("messages", {}))
            and _values(labels, rules.get("annotations", {}).get("labels", {}))
            and all(_values((), rule) for rule in rules.get("trigger_exceptions", {}).values())
            and not rules.get("entities", {}).get("presence")
            and self._thread(message, rules.get("thread_properties", {}))
        )

    def _thread(self, message: StoredMessage, rules: Json) -> bool:
        if not rules:
            return True
        if message.thread is None:
            return _values((), rules.get("id", {})) and set(rules) <= {"id"}
        if message.thread not in self._threads:
            messages = self._store.thread(self._tenant, self._source, message.thread)
            self._threads[message.thread] = Thread(messages).facts()
        facts = {**self._threads[message.thread], "id": [message.thread]}
        facts["thread_position"] = facts.pop("positions")[message.id]
        return all(
            _values(facts[name], rule) if isinstance(facts[name], list) else _value(facts[name], rule)
            for name, rule in rules.items()
        )


_REVIEWED: dict[str | None, tuple[bool, ...]] = {
    None: (True, False),
    "only_reviewed": (True,),
    "only_unreviewed": (False,),
}


class Thread:
    """
    What is known of a thread.

    :param messages: its messages, the earliest first.
    """

    def __init__(self, messages: list[StoredMessage]) -> None:
        self._messages = messages
        self._parts = [(each.fields.get("messages") or [{}])[0] for each in messages]

    def properties(self, message_id: str) -> Json:
        """Write the properties as the API shows them with one of its messages."""
        facts = self.facts()
        output = {name: facts[name] for name in ("duration", "response_time", "num_messages", "num_participants")}
        first = facts["first_sender"]
        return {
            **output,
            "first_sender": first[0] if first else None,
            "thread_position": facts["positions"][message_id],
        }

    def facts(self) -> Json:
        """Return all facts that a filter may ask for."""
        senders = [part.get("from") for part in self._parts]
        recipients = [_recipients(part) for part in self._parts]
        everybody = {each for each in senders if each} | {each for some in recipients for each in some}
        times = [each.timestamp for each in self._messages]
        answers = [time for time, sender in zip(times, senders, strict=True) if sender and sender != senders[0]]
        return {
            "duration": (times[-1] - times[0]) / 1e6,
            "response_time": (answers[0] - times[0]) / 1e6 if answers and senders[0] else None,
            "num_messages": len(times),
            "num_participants": len(everybody),
            "all_senders": [each for each in senders if each],
            "all_recipients": [each for some in recipients for each in some],
            "first_sender": [senders[0]] if senders[0] else [],
            "first_recipients": recipients[0],
            "positions": {each.id: position for position, each in enumerate(self._messages)},
        }


def time_range(
    rule: Json, least_name: str, most_name: str, settings: EmulatorSettings
) -> tuple[int | None, int | None]:
    """
    Read a range of timestamps.

    :return: the earliest and the latest timestamp in it.
    :raises RefusedRequestError: 422 for what is no time.
    """
    limits: list[int | None] = []
    for name in (least_name, most_name):
        text = rule.get(name)
        try:
            limits.append(None if text is None else read_time(text))
        except (ValueError, OverflowError):
            raise RefusedRequestError(422, f"{name} is not a valid timestamp") from None
    least, most = limits
    if most is not None and settings.range_end == "exclusive":
        most -= 1
    return least, most


def _value(value: Any, rule: Json) -> bool:
    """Check the value of a property, which may be missing."""
    if value is None:
        return _values((), rule) and rule.get("minimum") is None and rule.get("maximum") is None
    least, most = rule.get("minimum"), rule.get("maximum")
    inside = (least is None or value >= least) and (most is None or value <= most)
    return inside and _values((value,), rule)


def _values(values: Collection[Any], rule: Json, prefix: str = "") -> bool:
    """Check a list of values: ``one_of`` must have one of them, and ``not_one_of`` none."""
    if not values and rule.get("include_missing"):
        return True
    required, forbidden = rule.get(f"{prefix}one_of"), rule.get(f"{prefix}not_one_of")
    if required is not None and not any(value in required for value in values):
        return False
    return forbidden is None or not any(value in forbidden for value in values)


def _participants(messages: Collection[Json], rules: Json) -> bool:
    if not rules:
        return True
    results: dict[str, list[str]] = {
        "from": [each["from"] for each in messages if "from" in each],
        "recipient": [address for each in messages for address in _recipients(each)],
        **{name: [address for each in messages for address in each.get(name, ())] for name in ("to", "cc", "bcc")},
    }
    return all(_addresses(results[name], rule) for name, rule in rules.items())


def _addresses(addresses: list[str], rule: Json) -> bool:
    # What an organization is, nobody outside the vendor knows; here it is the domain.
    domains = [address.rpartition("@")[2].rstrip(">").lower() for address in addresses]
    return _values(addresses, rule) and all(_values(domains, rule, prefix) for prefix in ("domain_", "organisation_"))


def _recipients(message: Json) -> list[str]:
    return [*message.get("to", ()), *message.get("cc", ()), *message.get("bcc", ())]
