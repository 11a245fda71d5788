"""load(): rows into a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Mapping as MappingOf
    from typing import TextIO

    from airflow_provider_cm.api.messages import MessagesApi
    from airflow_provider_cm.loading.checkpoint import CheckpointStore
    from airflow_provider_cm.loading.mapping import Mapping
    from airflow_provider_cm.loading.report import LoadReport, Progress


def load(
    rows: Iterable[MappingOf[str, Any]],
    messages: MessagesApi,
    *,
    project: str,
    source_name: str,
    mapping: Mapping | MappingOf[str, Any] | None = None,
    batch_size: int = 500,
    max_batch_bytes: int = 4 * 1024 * 1024,
    concurrency: int = 1,
    on_duplicate: str = "fail",
    max_rejected: int | float = 0,  # noqa: PYI041  # a fraction is a float, and a count is none
    rejects_path: str | None = None,
    reject_rows: bool = False,
    max_billable: int | None = None,
    dry_run: bool = False,
    verify: bool = True,
    log_ids: bool = False,
    raw_emails: bool = False,
    transform_tag: str | None = None,
    checkpoint: CheckpointStore | None = None,
    fingerprint: str = "",
    open_text: Callable[[str], TextIO] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> LoadReport:
    """Load rows into a source, each of them once.

    :param rows: consumed lazily, once, in the thread of this call; memory holds ``concurrency + 1`` batches.
    :param messages: the tenant.
    :param project: the project.
    :param source_name: the source, which must exist.
    :param mapping: from columns to a message, see :class:`Mapping`; without one a row is the API's comment object,
        bare or as ``{"comment": {...}}``.
    :param batch_size: most messages in one request, 1 to 16384.
    :param max_batch_bytes: most bytes of messages in one request.
    :param concurrency: requests in flight, 1 to 8.
    :param on_duplicate: two rows with one id: ``fail``, or ``last`` to let the later one overwrite the earlier one.
    :param max_rejected: rows that may be left out: a number, or a fraction of all rows below 1.
    :param rejects_path: where the rows that are left out are listed, one JSON object a line.
    :param reject_rows: put the row itself there too, which is somebody's message.
    :param max_billable: stop before the batch that could make the load cost more messages than this.
    :param dry_run: send nothing; the report has the most that the load could cost.
    :param verify: ask for the number of messages before and after, and wait until it has grown by those created.
    :param log_ids: let errors and reasons name ids of messages.
    :param raw_emails: rows are documents of ``sync-raw-emails``: ``raw_email``, ``comment_id``, ``user_properties``.
    :param transform_tag: for ``raw_emails``, how they become messages.
    :param checkpoint: where to keep how far the load has got, so that another attempt can skip it.
    :param fingerprint: identifies the rows' origin; a checkpoint of another origin is not used. The mapping, project
        and source are part of it without being named here.
    :param open_text: opens ``rejects_path`` for writing text; by default a local file.
    :param on_progress: called after each batch, in the thread of this call.
    :param should_stop: asked before each batch; if true the load ends with a :class:`LoadError` and its checkpoint.
    :raises LoadError: with ``report``, when a row is missing or may be.
    :raises ConfigurationError: for an argument that cannot be right; nothing was sent.
    """
    raise NotImplementedError
