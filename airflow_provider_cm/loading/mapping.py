"""From a row to a message, by data that is checked before a row is read."""

from __future__ import annotations

from typing import Any

from airflow_provider_cm.api.errors import ConfigurationError


class MappingError(ConfigurationError):
    """A mapping that no row can be loaded with; the message names the field and the remedy."""


class Mapping:
    """Which columns make up a message.

    :param fields: names of the columns that the mapping uses, in the order of their appearance.
    """

    columns: tuple[str, ...]

    @classmethod
    def parse(cls, data: object) -> Mapping:
        """Check a mapping and compile it.

        :param data: an object with the keys ``id``, ``timestamp`` and ``body``, and any of ``subject``, ``signature``,
            ``sender``, ``to``, ``cc``, ``bcc``, ``sent_at``, ``language``, ``thread_id``, ``text_format``,
            ``properties``, ``timezone`` and ``id_escape``. A value is a text with columns in braces.
        :raises MappingError: naming the field, the problem and the remedy.
        """
        raise NotImplementedError

    def message(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the API's comment object of a row.

        :param row: values by column.
        :raises RowError: when a value does not fit, naming the column and not the value.
        """
        raise NotImplementedError
