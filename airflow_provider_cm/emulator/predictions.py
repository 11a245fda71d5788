"""The labels that a dataset predicts: always the same for the same text and model, or what a test has set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_cm.emulator.dataset_records import StoredDataset
    from airflow_provider_cm.emulator.message_records import StoredMessage
    from airflow_provider_cm.emulator.settings import EmulatorSettings

Json = dict[str, Any]

_LEAST_PROBABLE = 0.5
_SEPARATOR = " > "


class Predictions:
    """
    What one dataset predicts.

    :param until: when the latest message was created that has predictions, in microseconds; ``None`` for all.
    """

    def __init__(self, dataset: StoredDataset, settings: EmulatorSettings, until: int | None) -> None:
        self._dataset = dataset
        self._settings = settings
        self._until = until
        # The labels that it knows.
        self.names = dataset.label_names or list(settings.predicted_labels)

    def labels(self, uid: str, message: StoredMessage) -> list[Json]:
        """Return the labels of a message, the most probable first: name as one text, probability, and sentiment."""
        if uid in self._dataset.predictions:
            return self._dataset.predictions[uid]
        if self._until is not None and message.created > self._until:
            return []
        text = "\n".join(_texts(message))
        matches = []
        for name in self.names:
            probability, sentiment = _two_numbers(f"{self._dataset.model_version}\n{name}\n{text}")
            if probability >= _LEAST_PROBABLE:
                label: Json = {"name": name, "probability": probability}
                if self._dataset.fields["has_sentiment"]:
                    label["sentiment"] = round(2 * sentiment - 1, 6)
                matches.append(label)
        return sorted(matches, key=lambda each: (-each["probability"], each["name"]))

    def to_json(self, labels: Iterable[Json]) -> list[Json]:
        """Write labels as exports and fetches show them."""
        if self._settings.predicted_label_names == "text":
            return list(labels)
        return [{**each, "name": each["name"].split(_SEPARATOR)} for each in labels]


def sentiment_of(labels: list[Json]) -> Json:
    """Write the sentiment of a message, of the labels that have one; nothing if none has."""
    matches = [each["sentiment"] for each in labels if "sentiment" in each]
    return {"sentiment": {"total": round(sum(matches) / len(matches), 6)}} if matches else {}


def _texts(message: StoredMessage) -> Iterable[str]:
    for each in message.fields.get("messages", ()):
        for part in ("subject", "body"):
            if part in each:
                yield each[part]["text"]


def _two_numbers(text: str) -> tuple[float, float]:
    """Return two numbers from 0 to 1 that depend on nothing but a text."""
    digest = hashlib.sha256(text.encode()).digest()
    first, second = (int.from_bytes(digest[start : start + 8], "big") / 2**64 for start in (0, 8))
    return round(first, 6), round(second, 6)
