"""The messages of a dataset: in order, filtered, and with what is annotated and predicted."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING, Any, Literal

import orjson

from airflow_provider_cm.emulator.errors import RefusedRequestError
from airflow_provider_cm.emulator.message_filter import MessageFilter
from airflow_provider_cm.emulator.message_sync import SyncTarget, message_jsons
from airflow_provider_cm.emulator.message_times import microseconds
from airflow_provider_cm.emulator.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from airflow_provider_cm.emulator.dataset_records import Annotation, StoredDataset
    from airflow_provider_cm.emulator.message_records import StoredMessage
    from airflow_provider_cm.emulator.message_store import MessageStore
    from airflow_provider_cm.emulator.settings import EmulatorSettings
    from airflow_provider_cm.emulator.tenant import Tenant

Json = dict[str, Any]
Order = Literal["timestamp", "created"]
Position = tuple[int, int]
_SECOND = 1_000_000
# SQLite keeps no greater numbers.
_MOST = 2**63


@dataclass(frozen=True, slots=True)
class DatasetMessage:
    """
    One message of a dataset.

    :param position: in the requested order.
    """

    position: Position
    source_id: str
    message: StoredMessage

    @property
    def uid(self) -> str:
        """The id that it has in its tenant."""
        return f"{self.source_id}.{self.message.id}"


class DatasetMessages:
    """
    The messages of one dataset at one time.

    :param now: the time, by the emulator's clock.
    """

    def __init__(
        self, dataset: StoredDataset, tenant: Tenant, store: MessageStore, settings: EmulatorSettings, now: datetime
    ) -> None:
        self.dataset, self.settings = dataset, settings
        self.sources = [each for each in dataset.source_ids if each in tenant.sources]
        self._tenant, self._store, self._now = tenant.path, store, now
        self._until = self._before(settings.dataset_lag_s)
        self.predictions = Predictions(dataset, settings, self._before(settings.prediction_lag_s))

    # Which

    def walk(
        self,
        by: Order,
        *,
        least: int | None = None,
        most: int | None = None,
        after: Position | None = None,
        descending: bool = False,
        sources: Iterable[str] | None = None,
    ) -> Iterator[DatasetMessage]:
        """Return the messages in an order, lazily; parameters as of :meth:`MessageStore.walk`."""

        def of_source(source: str) -> Iterator[DatasetMessage]:
            matches = self._store.walk(
                self._tenant, source, by=by, least=least, most=most, after=after, descending=descending
            )
            return (DatasetMessage(position, source, message) for position, message in matches)

        chosen = self.sources if sources is None else [each for each in self.sources if each in set(sources)]
        merged = merge(*map(of_source, chosen), key=lambda each: each.position, reverse=descending)
        return (each for each in merged if self._shows(each.message))

    def find(self, uids: Iterable[str]) -> list[DatasetMessage]:
        """Return the messages that exist, in the order of the uids."""
        matches: list[DatasetMessage] = []
        for uid in dict.fromkeys(uids):
            source, _, message_id = uid.partition(".")
            there = self._store.get(self._tenant, source, [message_id]) if source in self.sources else {}
            matches += [
                DatasetMessage((each.timestamp, 0), source, each) for each in there.values() if self._shows(each)
            ]
        return matches

    def count(self, *, predicted: bool = False) -> int:
        """Count them all, or those that have been predicted."""
        until = self._before(self.settings.prediction_lag_s) if predicted else self._until
        if until is None:
            return sum(self._store.count(self._tenant, each) for each in self.sources)
        return sum(self._store.count_created(self._tenant, each, until) for each in self.sources)

    def filter(self, rules: Json, attributes: Iterable[Json] = ()) -> Callable[[DatasetMessage], bool]:
        """
        Make a test of whether a ``comment_filter`` and ``attribute_filters`` let a message through.

        :raises RefusedRequestError: 422 for what is no time, or an attribute that the emulator does not know.
        """
        reviewed = rules.get("reviewed")
        rest = {name: rule for name, rule in rules.items() if name != "reviewed"}
        filters = {each: MessageFilter(rest, self._store, self._tenant, each, self.settings) for each in self.sources}
        tests = [self._attribute(each) for each in attributes]

        def passes(each: DatasetMessage) -> bool:
            judge = filters[each.source_id]
            time = each.message.timestamp
            if (judge.least is not None and time < judge.least) or (judge.most is not None and time > judge.most):
                return False
            annotation = self.annotation(each)
            if reviewed is not None and (annotation is None) == (reviewed == "only_reviewed"):
                return False
            labels = [label["name"] for label in annotation.assigned] if annotation else []
            return judge.matches(each.message, labels) and all(test(each) for test in tests)

        return passes

    # What

    def annotation(self, each: DatasetMessage) -> Annotation | None:
        """Return the annotation of a message, if it has one."""
        matches = self.dataset.annotations.get(each.uid)
        # A message that was deleted and created again is another message.
        return matches if matches is not None and matches.created == each.message.created else None

    def labels(self, each: DatasetMessage) -> list[str]:
        """Name the labels that are assigned, or else predicted."""
        annotation = self.annotation(each)
        output = annotation.assigned if annotation else self.predictions.labels(each.uid, each.message)
        return [label["name"] for label in output]

    def comment_json(self, each: DatasetMessage) -> Json:
        """Write the message itself."""
        target = SyncTarget(self._store, self._tenant, each.source_id, self._now, self.settings)
        return message_jsons([each.message], target, markup=False)[0]

    def mark(self, each: DatasetMessage, *, annotated: bool) -> None:
        """Store with the message itself whether it is annotated."""
        self._store.annotate(self._tenant, each.source_id, each.message.id, annotated=annotated)

    def _shows(self, message: StoredMessage) -> bool:
        return self._until is None or message.created <= self._until

    def _before(self, seconds: float) -> int | None:
        return microseconds(self._now) - int(seconds * _SECOND) if seconds else None

    def _attribute(self, rule: Json) -> Callable[[DatasetMessage], bool]:
        attribute, condition = rule["attribute"], rule["filter"]
        kind = condition["kind"]
        if attribute == "labels" and kind in ("string_any_of", "string_none_of"):
            labels = set(condition.get("any_of", condition.get("none_of", ())))
            return lambda each: labels.isdisjoint(self.labels(each)) == (kind == "string_none_of")
        if attribute == "attachment_property_num_attachments" and kind == "number_range":
            least, most = condition.get("minimum"), condition.get("maximum")

            def in_range(each: DatasetMessage) -> bool:
                number = len(each.message.fields.get("attachments", ()))
                return (least is None or number >= least) and (most is None or number <= most)

            return in_range
        raise RefusedRequestError(422, f"The emulator does not filter by '{attribute}' with '{kind}'")


def token(*parts: object) -> str:
    """Write the place to continue from as a text that is opaque to a client."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def read_token(text: str, kind: str, count: int) -> list[Any]:
    """
    Read where to go on.

    :param kind: what the first part must be.
    :param count: how many numbers must follow.
    :raises RefusedRequestError: 422 for a text that the emulator has not given for this.
    """
    rest: list[Any] = []
    try:
        matches, *rest = orjson.loads(base64.urlsafe_b64decode(text))
    except (ValueError, TypeError):
        matches = None
    if matches != kind or len(rest) != count or not all(type(each) is int and abs(each) < _MOST for each in rest):
        raise RefusedRequestError(422, "The continuation is not one that this request can go on from")
    return rest
