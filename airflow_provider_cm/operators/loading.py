"""What every task that loads messages shares, wherever its rows come from.

A subclass gives the rows. This module gives the arguments, their checks, and what a load leaves behind: a checkpoint
for the next try, a file of rejected rows, a report, asset events, lineage and metrics. No text, address or id of a
message reaches a log, an XCom or a rendered template from here.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.exceptions import task_errors
from airflow_provider_cm.loading import LoadOptions, Mapping
from airflow_provider_cm.operators.base import CommsMiningOperator
from airflow_provider_cm.operators.template_files import TemplateFiles
from airflow_provider_cm.task import is_literal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from collections.abc import Mapping as MappingOf

    from airflow_provider_cm.loading import LoadReport

_OPTIONS = (
    "batch_size",
    "max_batch_bytes",
    "concurrency",
    "on_duplicate",
    "max_rejected",
    "rejects_path",
    "reject_rows",
    "max_billable",
    "dry_run",
    "verify",
    "log_ids",
)
_MAPPING_FILES = (".json", ".yaml", ".yml")
_ON_DUPLICATE = ("fail", "last")


def _mapping(value: object, field: str) -> Mapping | None:
    value = arguments.given(value, field)
    if isinstance(value, str):
        if value.endswith(_MAPPING_FILES) and "\n" not in value:
            return None  # it is read after this check
        from airflow_provider_cm.loading.mapping_text import mapping_from_text

        value = mapping_from_text(value, field)
    return Mapping.parse(value)


def _max_rejected(value: object, field: str) -> float:
    value = arguments.given(value, field)
    if isinstance(value, str):
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{field}: it is neither a number of rows nor a fraction below 1, such as 0.01")
    return value


_PARSERS: MappingOf[str, Any] = {
    "project": arguments.project,
    "source_name": arguments.source_name,
    "mapping": _mapping,
    "batch_size": partial(arguments.integer, minimum=1),
    "max_batch_bytes": partial(arguments.integer, minimum=1),
    "concurrency": partial(arguments.integer, minimum=1),
    "on_duplicate": arguments.one_of(_ON_DUPLICATE),
    "max_rejected": _max_rejected,
    "rejects_path": arguments.filled_text,
    "reject_rows": arguments.boolean,
    "max_billable": partial(arguments.integer, minimum=0),
    "dry_run": arguments.boolean,
    "verify": arguments.boolean,
    "log_ids": arguments.boolean,
    "partition_key": arguments.filled_text,
    **CommsMiningOperator.parsers,
}


class BaseLoadOperator(TemplateFiles, CommsMiningOperator):
    """Load rows into a source; a subclass says where they come from.

    A subclass implements :meth:`rows`, may override :meth:`origin`, :meth:`load_arguments` and :meth:`lineage_inputs`,
    adds its own arguments to :attr:`template_fields` and :attr:`parsers`, names those that may be files in
    :attr:`file_fields`, and ends its constructor with :meth:`check_literals`.

    :param project: the project. (templated)
    :param source_name: the source, which must exist. (templated)
    :param mapping: from columns to a message, see :class:`airflow_provider_cm.loading.Mapping`: an object, or the path
        of a ``.yaml`` or ``.json`` file, which is searched for like every template file. Without one, a row is the
        API's comment object. (templated)
    :param batch_size: most messages in one request, 1 to 16384; 500 by default. (templated)
    :param max_batch_bytes: most bytes of messages in one request; 4 MiB by default. (templated)
    :param concurrency: requests in flight, 1 to 8; 1 by default. (templated)
    :param on_duplicate: two rows with one id: ``fail`` (default), or ``last`` to let the later one win. (templated)
    :param max_rejected: rows that may be left out before the task fails: a number, or a fraction below 1; 0 by
        default. The good rows are loaded in any case. (templated)
    :param rejects_path: path or URL of a file for the rows that are left out, one JSON object a line: number of the
        row, id, stage (``mapping``, ``validation`` or ``api``) and reason. In a mapped task ``-<map index>`` is added
        to its name, unless its template names ``map_index``. (templated)
    :param reject_rows: put the row itself there too, which is somebody's message; ``False`` by default. (templated)
    :param max_billable: stop before the batch that could make the load cost more messages than this. (templated)
    :param dry_run: read, map, validate and count, and send nothing; ``False`` by default. (templated)
    :param verify: ask for the number of messages before and after, and wait until it has grown by those created;
        ``True`` by default. (templated)
    :param log_ids: let errors name ids of messages; ``False`` by default. (templated)
    :param partition_key: for the task's asset events (Airflow 3.2 and later), such as ``{{ ds }}``;
        none by default, since an event with a key starts only DAGs that are scheduled by partitions. A run that has a
        key of its own needs none here. (templated)
    :param comms_mining_conn_id: the connection. (templated)
    :return: the :class:`~airflow_provider_cm.loading.LoadReport` as a dict.
    """

    template_fields: Sequence[str] = tuple(_PARSERS)
    template_ext: Sequence[str] = _MAPPING_FILES
    template_fields_renderers: ClassVar[dict[str, str]] = {"mapping": "json"}
    file_fields: ClassVar[Sequence[str]] = ("mapping",)
    parsers = _PARSERS

    _stop: threading.Event | None = None
    _report: LoadReport | None = None

    def __init__(
        self,
        *,
        project: str,
        source_name: str,
        mapping: MappingOf[str, Any] | str | NotGiven = NOT_GIVEN,
        batch_size: int | str = 500,
        max_batch_bytes: int | str = 4 * 1024 * 1024,
        concurrency: int | str = 1,
        on_duplicate: str = "fail",
        max_rejected: float | str = 0,
        rejects_path: str | NotGiven = NOT_GIVEN,
        reject_rows: bool | str = False,
        max_billable: int | str | NotGiven = NOT_GIVEN,
        dry_run: bool | str = False,
        verify: bool | str = True,
        log_ids: bool | str = False,
        partition_key: str | NotGiven = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.source_name = source_name
        self.mapping = mapping
        self.batch_size = batch_size
        self.max_batch_bytes = max_batch_bytes
        self.concurrency = concurrency
        self.on_duplicate = on_duplicate
        self.max_rejected = max_rejected
        self.rejects_path = rejects_path
        self.reject_rows = reject_rows
        self.max_billable = max_billable
        # It hides a method of Airflow's that nothing in Airflow 3 calls.
        self.dry_run = dry_run  # type: ignore[method-assign,assignment]
        self.verify = verify
        self.log_ids = log_ids
        self.partition_key = partition_key
        self._one_rejects_path = isinstance(rejects_path, str) and "map_index" not in rejects_path

    # --- what a subclass gives

    @abstractmethod
    def rows(self, context: Any) -> Iterator[MappingOf[str, Any]]:
        """Return the rows, one after the other; called once, and read lazily.

        A generator's ``finally`` is run when the load ends early, so it may hold a cursor or a file open.

        :param context: the task's context.
        """

    def origin(self, context: Any) -> str:
        """Say where the rows come from, so that a checkpoint of other rows is not used; not shown to anybody.

        :param context: the task's context.
        """
        return ""

    def load_arguments(self) -> dict[str, Any]:
        """Return what :func:`airflow_provider_cm.loading.load` is to be given beside the arguments of all loads."""
        return {}

    def lineage_inputs(self) -> list[Any]:
        """Return the OpenLineage datasets that were read."""
        return []

    # --- the task

    def execute(self, context: Any) -> dict[str, Any]:
        """Load the rows.

        :raises CommsMiningFailure: when rows are missing and trying again would end the same way.
        :raises CommsMiningRetryable: when trying again may help; the next try goes on where this one ended.
        """
        with task_errors():
            project, source_name = self.argument("project"), self.argument("source_name")
            self.link_project(context, project)
            report = self._load(context, project, source_name)
            self.emit_events(context, report.as_dict(), [(project, source_name, {})])
            self._write_partition(context)
        return report.as_dict()

    def _load(self, context: Any, project: str, source_name: str) -> LoadReport:
        # Imported here, since a DAG that is parsed must not pay for it.
        from contextlib import closing

        from airflow_provider_cm.loading import LoadError, load
        from airflow_provider_cm.operators.load_state import LoadProgress, TaskCheckpoint, count_load, open_rejects

        options = {name: self.argument(name) for name in _OPTIONS}
        options["rejects_path"] = self._rejects_path(context)
        checkpoint = TaskCheckpoint.of(context, self.retries)
        try:
            with closing(_generator(self.rows(context))) as rows:
                report = load(
                    rows,
                    self.hook.messages,
                    project=project,
                    source_name=source_name,
                    mapping=self.argument("mapping"),
                    **options,
                    **self.load_arguments(),
                    checkpoint=checkpoint,
                    fingerprint=self.origin(context),
                    open_text=open_rejects,
                    on_progress=LoadProgress(self.log),
                    should_stop=self._stopping().is_set,
                )
        except LoadError as error:
            if error.report is not None:
                count_load(error.report, checkpoint)
                self._leave(context, error.report)
            raise
        self._report = report
        count_load(report, checkpoint)
        self.log.info("Loaded %s/%s: %s", project, source_name, report)
        return report

    def _leave(self, context: Any, report: LoadReport) -> None:
        """Put the report of a load that failed where one that succeeds has it."""
        from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY

        context["ti"].xcom_push(key=XCOM_RETURN_KEY, value=report.as_dict())

    def _rejects_path(self, context: Any) -> str | None:
        path: str | None = self.argument("rejects_path")
        map_index = getattr(context.get("ti"), "map_index", None)
        if path is None or map_index is None or map_index < 0 or not self._one_rejects_path:
            return path
        folder, slash, name = path.rpartition("/")
        stem, dot, ending = name.partition(".")
        return f"{folder}{slash}{stem}-{map_index}{dot}{ending}"

    def _write_partition(self, context: Any) -> None:
        if self.is_given("partition_key"):
            from airflow_provider_cm.assets import write_partition

            write_partition(self, context, self.argument("partition_key"))

    def on_kill(self) -> None:
        """Begin no further batch; the one under way is finished, and the checkpoint is left for the next try.

        Airflow calls it from the signal handler, in the midst of the task, so it only sets a mark.
        """
        self._stopping().set()

    def _stopping(self) -> threading.Event:
        # Not made in the constructor, since an operator is copied deeply, and this cannot be.
        if self._stop is None:
            self._stop = threading.Event()
        return self._stop

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return OpenLineage what was read and written, and how many rows.

        :param task_instance: of this task, not used.
        """
        from airflow_provider_cm.lineage import load_lineage

        return load_lineage(self.hook.get_conn().endpoint, self.lineage_inputs(), self._report)

    # --- checks when the DAG is parsed

    def check_together(self) -> None:
        """Judge the limits of the arguments whose values are known."""
        known = {name: self.argument(name) for name in _OPTIONS if self.is_settled(name) and self.is_given(name)}
        LoadOptions(**known)

    def prepare_template(self) -> None:
        """Judge the mapping that was read from a file, when the DAG is parsed."""
        super().prepare_template()
        if isinstance(self.mapping, str) and is_literal(self.mapping):
            with task_errors():
                self.argument("mapping")


def _generator(rows: Any) -> Generator[Any]:
    """Make whatever gives rows something that can be closed."""
    yield from rows
