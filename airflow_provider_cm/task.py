"""The base of operators and sensors: the hook, arguments checked at DAG parse, the link, asset events and lineage."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN
from airflow_provider_cm.assets import write_outlet_events
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.links import ProjectLink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    Parsers: TypeAlias = Mapping[str, Callable[[Any, str], Any]]

_TEMPLATE_MARKS = ("{{", "{%", "{#")


def is_literal(value: object) -> bool:
    """Whether an argument is final when the DAG is parsed: it holds no template and no other task's output.

    :param value: an argument, as the DAG file gives it.
    """
    if isinstance(value, str):
        return not any(mark in value for mark in _TEMPLATE_MARKS)
    if isinstance(value, dict):
        return all(is_literal(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_literal(each) for each in value)
    return not hasattr(value, "resolve")  # another task's output, or Airflow's literal()


def unrendered(value: Any) -> Any:
    """Keep the text in a value from Jinja: wrap it in Airflow's ``literal``.

    :param value: of a template field. Another task's output stays as it is: Airflow resolves it, and does not render
        the result.
    """
    if value is None or value is NOT_GIVEN or hasattr(value, "resolve"):
        return value
    # Imported here, since few DAGs need it.
    from airflow.providers.common.compat.sdk import literal

    return literal(value)


def unwrapped(value: object, field: str) -> Any:
    """Parse an argument that :func:`unrendered` has wrapped; until Airflow renders the task, it is still wrapped.

    :param value: the argument.
    :param field: its name in an error.
    :raises ConfigurationError: if there is no value.
    """
    return arguments.given(value.value if _is_wrapped(value) else value, field)  # type: ignore[attr-defined]


def _is_wrapped(value: object) -> bool:
    return type(value).__name__ == "LiteralValue"  # Airflow does not export the class


class CommsMiningTask:
    """A task with a connection to Communications Mining; a mixin for operators and sensors.

    A subclass names the parser of each argument in :attr:`parsers`, and calls :meth:`check_literals` at the end of its
    constructor. A literal that can never be right is then an import error of the DAG, with the message that the task
    would have failed with.
    """

    #: The parser of each argument: from the value and the argument's name to what the task works with.
    parsers: ClassVar[Parsers] = {}

    operator_extra_links: Collection[BaseOperatorLink] = (ProjectLink(),)
    #: Address of the page that the task links to, once it is known; ``None`` if another process may know it.
    project_url: str | None = ""
    ui_color = "#f7e3d4"
    ui_fgcolor = "#1f2a37"

    #: The hook holds a lock, which cannot be copied deeply.
    shallow_copy_attrs: Sequence[str] = ("hook",)

    comms_mining_conn_id: str

    _linked_project: str | None = None
    # For OpenLineage: project and name of each source that was read, and of each that was written, with the change.
    _sources_read: Sequence[tuple[str, str]] = ()
    _sources_written: Sequence[tuple[str, str, str]] = ()

    @cached_property
    def hook(self) -> CommsMiningHook:
        """The hook, one for each run of the task.

        Imported here, since DAG parsing must not pay for what only running tasks need.
        """
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

        return CommsMiningHook(
            arguments.filled_text(self.comms_mining_conn_id, "comms_mining_conn_id"), **self.hook_options()
        )

    def hook_options(self) -> dict[str, Any]:
        """Return the settings of the connection that this task overrides, as arguments of the hook."""
        return {}

    def check_literals(self) -> None:
        """Check the arguments that are final when the DAG is parsed.

        :raises CommsMiningFailure: for a value that can never be right. The DAG cannot be imported then; a mapped task,
            whose arguments are only known when it runs, fails at once.
        """
        # Whoever writes literal("None") means the word.
        self._literals = frozenset(name for name in self.parsers if _is_wrapped(getattr(self, name)))
        with task_errors():
            for name in self.parsers:
                if self.is_settled(name):
                    self.argument(name)
            self.check_together()

    def check_together(self) -> None:
        """Check arguments that depend on each other, as far as :meth:`is_settled` says that they are known.

        :raises ConfigurationError: if they contradict each other.
        """

    def is_settled(self, *names: str) -> bool:
        """Whether none of these arguments holds a template or another task's output.

        :param names: names of arguments.
        """
        return all(is_literal(getattr(self, name)) for name in names)

    def is_given(self, name: str) -> bool:
        """Whether the DAG gives an optional argument.

        :param name: name of the argument.
        """
        return getattr(self, name) is not NOT_GIVEN

    def argument(self, name: str) -> Any:
        """Parse an argument.

        :param name: name of the argument.
        :return: the result of its parser; ``None`` for an optional argument that the DAG does not give.
        :raises ConfigurationError: naming the argument, the problem and the remedy.
        """
        value = getattr(self, name)
        if value is NOT_GIVEN:
            return None
        if name in self._literals and value in arguments.NOTHING:
            return value
        return self.parsers[name](value, name)

    def link_project(self, context: Any, project: object) -> None:
        """Link the task to a project's page, once for a project and not at every poke.

        :param context: the task's context.
        :param project: the project; a value that is not text has no page.
        """
        if isinstance(project, str) and project != self._linked_project:
            ProjectLink.persist(self, context, self.hook, project)
            self._linked_project = project

    def emit_events(
        self, context: Any, extra: Mapping[str, Any], sources: Iterable[tuple[str, str, Mapping[str, Any]]] = ()
    ) -> None:
        """Describe the run in the task's asset events; see :func:`airflow_provider_cm.assets.write_outlet_events`.

        :param context: the task's context.
        :param extra: JSON values for every event.
        :param sources: project, name and further JSON values of each source that an asset alias gets.
        """
        write_outlet_events(self, context, self.hook, extra, sources)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Name the sources that the task has read and written; called by Airflow's OpenLineage provider.

        :param task_instance: the task's instance, which is not used.
        """
        from airflow_provider_cm.lineage import operator_lineage

        written = self._sources_written
        # A task that names no source needs no endpoint, and so no connection.
        endpoint = self.hook.get_conn().endpoint if self._sources_read or written else ""
        return operator_lineage(endpoint, self._sources_read, written)
