"""Arguments that hold messages or their ids: Airflow shows rendered arguments to everybody who may see the DAG."""

from __future__ import annotations

from typing import Any

from airflow_provider_cm.api.arguments import NOT_GIVEN
from airflow_provider_cm.task import is_literal


class Unshown:
    """A value that Airflow neither renders nor shows.

    :param value: the value.
    :param noun: what it holds, for people.
    """

    def __init__(self, value: Any, noun: str) -> None:
        self.value = value
        self._noun = noun

    def resolve(self, context: Any) -> Unshown:
        """Return itself, when Airflow renders the task's templates."""
        return self

    def __repr__(self) -> str:
        try:
            number = f"{len(self.value)} "
        except TypeError:
            number = ""
        return f"<{number}{self._noun}, not shown>"


class UnshownArgument:
    """An argument of an operator whose value is :class:`Unshown` as soon as there is one.

    Another task's output is left to Airflow, which sets what it resolves to.

    :param noun: what it holds, for people.
    :param templated: leave values with a template to Airflow as well, ``False`` by default: a message may say
        ``{{ ... }}`` and mean just that.
    """

    def __init__(self, noun: str, *, templated: bool = False) -> None:
        self._noun = noun
        self._templated = templated

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_unshown_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: Any, value: Any) -> None:
        pending = hasattr(value, "resolve") or (self._templated and not is_literal(value))
        if not pending and value is not None and value is not NOT_GIVEN:
            value = Unshown(value, self._noun)
        instance.__dict__[self._name] = value
