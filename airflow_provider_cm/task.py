"""What operators and the sensor share: the hook, and arguments that are judged when the DAG is parsed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN
from airflow_provider_cm.exceptions import task_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

_TEMPLATE_MARKS = ("{{", "{%", "{#")


def is_literal(value: object) -> bool:
    """Whether a value is what the task will work with: it holds no template and no other task's output.

    :param value: an argument, as the DAG file gives it.
    """
    if isinstance(value, str):
        return not any(mark in value for mark in _TEMPLATE_MARKS)
    if isinstance(value, dict):
        return all(is_literal(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_literal(each) for each in value)
    return not hasattr(value, "resolve")  # another task's output, or Airflow's literal()


class CommsMiningTask:
    """A task with a connection to Communications Mining; mixed into operators and sensors.

    A subclass names the parser of each argument in :attr:`parsers`, and ends its constructor with
    :meth:`check_literals`. So a value that can never be right is an import error of the DAG, with the message that the
    task would have failed with.
    """

    #: How each argument is parsed: given a value and the argument's name, it returns what the task works with.
    parsers: ClassVar[Mapping[str, Callable[[Any, str], Any]]] = {}

    #: The hook holds a lock, which cannot be copied deeply.
    shallow_copy_attrs: Sequence[str] = ("hook",)

    comms_mining_conn_id: str

    @cached_property
    def hook(self) -> CommsMiningHook:
        """The hook, one for each run of the task.

        Imported here, since DAG parsing must not pay for what only running tasks need.
        """
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

        return CommsMiningHook(arguments.filled_text(self.comms_mining_conn_id, "comms_mining_conn_id"))

    def check_literals(self) -> None:
        """Judge the arguments that hold no template.

        :raises CommsMiningFailure: for a value that can never be right; a DAG that is parsed cannot be imported then,
            and a mapped task, whose arguments are known when it runs, fails at once.
        """
        # Where Airflow's literal("None") was given, the word is meant.
        self._literals = frozenset(
            name for name in self.parsers if type(getattr(self, name)).__name__ == "LiteralValue"
        )
        with task_errors():
            for name in self.parsers:
                if self.is_settled(name):
                    self.argument(name)
            self.check_together()

    def check_together(self) -> None:
        """Judge arguments that depend on each other, as far as :meth:`is_settled` says that they are known.

        :raises ConfigurationError: when they contradict each other.
        """

    def is_settled(self, *names: str) -> bool:
        """Whether none of these arguments holds a template or another task's output.

        :param names: of the arguments.
        """
        return all(is_literal(getattr(self, name)) for name in names)

    def is_given(self, name: str) -> bool:
        """Whether an optional argument was given.

        :param name: of the argument.
        """
        return getattr(self, name) is not NOT_GIVEN

    def argument(self, name: str) -> Any:
        """Parse an argument.

        :param name: of the argument.
        :return: what its parser makes of it; ``None`` for an argument that was not given.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        value = getattr(self, name)
        if value is NOT_GIVEN:
            return None
        if name in self._literals and value in arguments.NOTHING:
            return value
        return self.parsers[name](value, name)
