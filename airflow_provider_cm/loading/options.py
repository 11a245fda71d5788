"""The arguments of a load, checked in one place for scripts, operators and the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import ConfigurationError

MAX_BATCH = 16_384
MAX_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load; the names and defaults of :func:`airflow_provider_cm.loading.load`.

    Numbers and booleans may be text, as templates give them.

    :raises ConfigurationError: naming the argument, the problem and the remedy.
    """

    batch_size: int = 500
    max_batch_bytes: int = 4 * 1024 * 1024
    concurrency: int = 1
    on_duplicate: str = "fail"
    max_rejected: int | float = 0
    rejects_path: str | None = None
    reject_rows: bool = False
    max_billable: int | None = None
    dry_run: bool = False
    verify: bool = True
    log_ids: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in {"rejects_path", "max_billable"}:
                continue
            object.__setattr__(self, field.name, checked(field.name, value))
        if self.reject_rows and self.rejects_path is None:
            raise ConfigurationError("reject_rows: there is no `rejects_path` to write them to; give one")


def checked(name: str, value: object) -> object:
    """Check one argument.

    :param name: one of the fields of :class:`LoadOptions`.
    :param value: its value.
    :return: the value, of the right type.
    :raises ConfigurationError: naming the argument, the problem and the remedy.
    """
    if name in {"batch_size", "concurrency"}:
        most = MAX_BATCH if name == "batch_size" else MAX_CONCURRENCY
        number = arguments.integer(value, name, minimum=1)
        if number > most:
            raise ConfigurationError(f"{name}: {number} is too large; use 1 to {most}")
        return number
    if name == "max_batch_bytes":
        return arguments.integer(value, name, minimum=1)
    if name == "max_billable":
        return arguments.integer(value, name, minimum=0)
    if name == "on_duplicate":
        return arguments.choice(value, name, ("fail", "last"))
    if name == "rejects_path":
        return arguments.filled_text(value, name)
    if name == "max_rejected":
        return _count_or_fraction(value, name)
    return arguments.boolean(value, name)


def _count_or_fraction(value: object, name: str) -> int | float:
    try:
        number = float(value) if isinstance(value, str) and "." in value else value
    except ValueError:
        number = value
    if isinstance(number, float):
        if 0 <= number < 1:
            return number
        if number != int(number) if number == number and abs(number) != float("inf") else True:
            raise ConfigurationError(
                f"{name}: {arguments.excerpt(value)} is neither a number of rows nor a fraction; use 100 or 0.01"
            )
        number = int(number)
    return arguments.integer(number, name, minimum=0)
