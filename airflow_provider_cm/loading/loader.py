"""load(): rows into a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError
from airflow_provider_cm.api.frames import drop_frames
from airflow_provider_cm.api.messages import MAX_EMAILS
from airflow_provider_cm.loading.mapping import Mapping
from airflow_provider_cm.loading.options import LoadOptions
from airflow_provider_cm.loading.report import LoadError
from airflow_provider_cm.loading.running import Run
from airflow_provider_cm.loading.sending import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Mapping as MappingOf
    from types import TracebackType
    from typing import TextIO

    from airflow_provider_cm.api.messages import MessagesApi
    from airflow_provider_cm.loading.checkpoint import CheckpointStore
    from airflow_provider_cm.loading.report import LoadReport, Progress

_HERE = Path(__file__).parent


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
    :param batch_size: most messages in one request, 1 to 16384, for raw emails to 4096.
    :param max_batch_bytes: most bytes of messages in one request.
    :param concurrency: requests in flight, 1 to 8.
    :param on_duplicate: two rows with one id: ``fail``, or ``last`` to let the later one overwrite the earlier one. If
        their texts differ and they are in different batches, both are billed, and again with each load.
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
    options = LoadOptions(
        batch_size=batch_size,
        max_batch_bytes=max_batch_bytes,
        concurrency=concurrency,
        on_duplicate=on_duplicate,
        max_rejected=max_rejected,
        rejects_path=rejects_path,
        reject_rows=reject_rows,
        max_billable=max_billable,
        dry_run=dry_run,
        verify=verify,
        log_ids=log_ids,
    )
    target = _target(
        messages, arguments.project(project), arguments.source_name(source_name), raw_emails, transform_tag
    )
    if raw_emails and options.batch_size > MAX_EMAILS:
        raise ConfigurationError(f"batch_size: {options.batch_size} is too large for raw emails; use 1 to {MAX_EMAILS}")
    if raw_emails and mapping is not None:
        raise ConfigurationError("mapping: raw emails are not mapped; leave it out, or set raw_emails to false")
    run = Run(
        rows,
        target,
        options,
        None if mapping is None else Mapping.parse(mapping),
        store=checkpoint,
        origin=fingerprint,
        open_text=open_text,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    del rows  # a traceback that shows variables must not show messages
    try:
        return run.carry_out()
    except LoadError as error:
        failure = error
    except BaseException as error:
        error.__traceback__ = None if isinstance(error, CommsMiningError) else _beyond(error.__traceback__)
        raise
    drop_frames(failure)
    raise failure


def _target(
    messages: MessagesApi, project: str, source_name: str, raw_emails: bool, transform_tag: str | None
) -> Target:
    if not raw_emails:
        if transform_tag is not None:
            raise ConfigurationError("transform_tag: it is for raw emails only; leave it out, or set raw_emails")
        return Target(messages, project, source_name)
    rest = b"" if transform_tag is None else b',"transform_tag":' + json.dumps(transform_tag).encode()
    return Target(messages, project, source_name, "documents", "sync-raw-emails", rest)


def _beyond(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is not of this package, whose frames hold rows; without one, all of it."""
    at = trace
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename).parent not in {_HERE, _HERE / "readers"}:
            return at
        at = at.tb_next
    return trace
