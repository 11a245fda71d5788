"""The name of a key column, checked when a DAG is parsed."""

from __future__ import annotations

import re

from airflow_provider_cm.api.errors import ConfigurationError, printable

# A name, or a name in one of the databases' kinds of quotes.
_KEY = re.compile(r"""[^\W\d][\w$]*|"[^"]+"|`[^`]+`|\[[^\]]+\]""")


def check_key(value: object, field: str = "key") -> str:
    """Check the name of a key column.

    :param value: a column's name, in the database's own quotes where it needs them.
    :param field: what to call it in an error.
    :raises ConfigurationError: for anything else.
    """
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ConfigurationError(
            f"{field}: {printable(repr(value), 80)} is not the name of a column; give one column of the query's "
            "result, without the table, in the database's quotes if it needs them"
        )
    return value
