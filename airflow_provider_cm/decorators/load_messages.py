"""``@task.load_messages``: a function whose rows are loaded into a source, without passing through an XCom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.operators.loading import BaseLoadOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.providers.common.compat.sdk import TaskDecorator


class LoadMessagesDecoratedOperator(DecoratedOperator, BaseLoadOperator):
    """Load the rows that a Python function gives; see :func:`load_messages_task`."""

    custom_operator_name = "@task.load_messages"
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *BaseLoadOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **BaseLoadOperator.template_fields_renderers,
    }
    shallow_copy_attrs: Sequence[str] = (*DecoratedOperator.shallow_copy_attrs, *BaseLoadOperator.shallow_copy_attrs)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_literals()

    def rows(self, context: Any) -> Iterator[Mapping[str, Any]]:
        """Call the function and give what it yields or returns, one row after the other."""
        context_merge(context, self.op_kwargs)
        found = self.python_callable(*self.op_args, **determine_kwargs(self.python_callable, self.op_args, context))
        if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
            raise ConfigurationError(
                f"the function of @task.load_messages gave a {type(found).__name__}; it has to yield rows or return "
                "a list or another iterable of them"
            )
        yield from found


def load_messages_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function whose rows are loaded: ``@task.load_messages(project=..., source_name=..., ...)``.

    The function yields rows, or returns an iterable of them; it may ask for the context as any task's function. Rows
    are read lazily, while those before them are sent. A retry calls the function again, and skips the rows that were
    loaded as long as they are the same.

    :param python_callable: the function.
    :param kwargs: arguments of :class:`airflow_provider_cm.operators.loading.BaseLoadOperator` and of the task.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=LoadMessagesDecoratedOperator, **kwargs
    )
