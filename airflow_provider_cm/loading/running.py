"""One run of a load: batches out, answers in, and what they add up to."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import CommsMiningError, OutcomeUnknownError
from airflow_provider_cm.loading.batches import Limits, batches
from airflow_provider_cm.loading.checkpoint import Checkpoint, fingerprint_of
from airflow_provider_cm.loading.counting import count_messages, wait_for_messages
from airflow_provider_cm.loading.rejects import Rejects
from airflow_provider_cm.loading.report import AI_UNITS, PLATFORM_UNITS, LoadError, LoadReport, Progress
from airflow_provider_cm.loading.resuming import Resumption
from airflow_provider_cm.loading.rows import DuplicateIdError, HopelessError, Rows, comment_of, email_of
from airflow_provider_cm.loading.sending import AllRefusedError, Pace, Sender, StoppedError, Target
from airflow_provider_cm.loading.totals import Totals
from airflow_provider_cm.loading.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from airflow_provider_cm.loading.batches import Batch
    from airflow_provider_cm.loading.checkpoint import CheckpointStore
    from airflow_provider_cm.loading.mapping import Mapping
    from airflow_provider_cm.loading.options import LoadOptions
    from airflow_provider_cm.loading.workers import Job

_log = logging.getLogger(__name__)
_PATIENCE = 60.0  # seconds that the answers to other requests are waited for when a load fails
_LOOK = 0.5  # seconds between two questions whether to stop


class Run:
    """One run of a load.

    :param rows: the rows.
    :param target: where they go.
    :param options: how.
    :param mapping: what makes messages of them, ``None`` where they are the API's own objects.
    :param store: keeps the checkpoint, ``None`` for none.
    :param origin: identifies where rows come from.
    """

    def __init__(
        self,
        rows: Iterable[Any],
        target: Target,
        options: LoadOptions,
        mapping: Mapping | None,
        *,
        store: CheckpointStore | None,
        origin: str,
        open_text: Callable[[str], TextIO] | None,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._target = target
        self._options = options
        self._store = store if not options.dry_run else None
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._started = time.monotonic()
        fingerprint = fingerprint_of(origin, target, options, mapping)
        earlier = self._earlier = self._last_checkpoint(fingerprint)
        self._checkpoint = Checkpoint(fingerprint, earlier.before if earlier else None)
        self._resumption = None if self._store is None else Resumption(earlier)
        self._joined = False
        self._rejects = Rejects(
            options.rejects_path, with_rows=options.reject_rows, log_ids=options.log_ids, open_text=open_text
        )
        make = email_of if target.field == "documents" else comment_of(mapping)
        self._rows = Rows(rows, make, self._rejects, options.on_duplicate, self._resumption)
        self._limits = Limits(options.batch_size, options.max_batch_bytes)
        self._pace = Pace(target.messages.session.retry)
        self._workers = Workers(Sender(target, self._limits, self._pace), options.concurrency)
        self._totals = Totals()  # of all batches that have ended
        self._noting = True  # the checkpoint has room

    def __repr__(self) -> str:
        return "Run()"

    def carry_out(self) -> LoadReport:
        """Load.

        :raises LoadError: when a row is missing or may be.
        """
        try:
            if self._options.dry_run:
                self._read_only()
            else:
                self._load()
        except LoadError as error:
            error.report = self.report()
            raise
        finally:
            self._pace.close()
            self._workers.close()
            self._rejects.close()
        return self.report()

    def _last_checkpoint(self, fingerprint: str) -> Checkpoint | None:
        try:
            return None if self._store is None else Checkpoint.parse(self._store.load(), fingerprint)
        except Exception as error:  # noqa: BLE001  # it only saves time
            _log.warning("The checkpoint could not be read (%s); all rows are sent", type(error).__name__)
            return None

    # --- Sending

    def _load(self) -> None:
        if self._options.verify and self._checkpoint.before is None:
            self._checkpoint.before = count_messages(self._target)
        try:
            for batch in batches(self._rows, self._limits):
                self._dispatch(batch)
            self._join()
            self._drain()
        except (DuplicateIdError, HopelessError) as error:
            self._drain()
            raise LoadError(f"{error}. {self._left_over()}") from None
        except Exception:
            self._wind_up()
            raise
        self._judge_rejects()
        if self._options.verify:
            self._verify()
        if self._store is not None:
            self._store.clear()

    def _dispatch(self, batch: Batch) -> None:
        self._join()
        while self._workers.full or (batch.ordered and self._workers.busy):
            self._wait()
        most = self._options.max_billable
        if most is not None and self._totals.charged_at_most + self._workers.at_work + len(batch.messages) > most:
            self._drain()  # what they really cost is known then
            if self._totals.charged_at_most + len(batch.messages) > most:
                raise LoadError(
                    f"max_billable: up to {self._totals.charged_at_most:,} messages are billable so far, and the next "
                    f"{len(batch.messages):,} could pass {most:,}, so they were not sent. {self._left_over()}"
                )
        self._check_stop()
        self._workers.submit(batch)

    def _drain(self) -> None:
        while self._workers.busy:
            self._wait()

    def _wait(self) -> None:
        job = self._workers.wait(_LOOK)
        if job is None:
            self._check_stop()
        else:
            self._ended(job)

    def _check_stop(self) -> None:
        if self._should_stop is not None and self._should_stop():
            raise LoadError(f"the load was told to stop. {self._left_over()}", transient=True)

    def _ended(self, job: Job) -> None:
        self._totals.add(job.sent.totals)
        for message, reason in job.sent.refused:
            self._rejects.add(message.row, message.id, "api", reason, message.raw)
        if job.error is not None:
            self._totals.replayed += isinstance(job.error, OutcomeUnknownError)
            raise self._failure(job.error)
        self._note_acknowledged()
        self._tell()

    def _note_acknowledged(self) -> None:
        """Advance the checkpoint over all batches at the front that have ended well."""
        jobs, advanced = self._workers.jobs, False
        while jobs and jobs[0].ended and jobs[0].error is None:
            job = jobs.popleft()
            if self._store is None or not self._noting:
                continue
            self._checkpoint.totals.add(job.sent.totals)
            refused = [message.row for message, _ in job.sent.refused]
            if job.last.row > self._checkpoint.rows:  # otherwise it was sent for its reason only
                self._noting = self._checkpoint.advance(job.last.row, job.last.digest, refused)
                advanced = self._noting
        if advanced:
            self._save()

    def _save(self) -> None:
        try:
            if self._store is not None:
                self._store.save(self._checkpoint.as_dict())
        except Exception as error:  # noqa: BLE001  # it only saves time
            _log.warning("The checkpoint could not be saved (%s); a retry sends more", type(error).__name__)

    def _join(self) -> None:
        """Go on from what an earlier attempt counted, once it is known whether all of its rows were skipped."""
        if self._joined or self._earlier is None or self._resumption is None:
            return
        if not self._resumption.decided:
            return
        self._joined = True
        earlier, skipped = self._earlier, self._resumption.skipped
        marks = [mark for mark in earlier.marks if mark[0] <= skipped]
        refused = [row for row in earlier.refused if row <= skipped]
        self._checkpoint.marks = sorted({*marks, *self._checkpoint.marks})
        self._checkpoint.refused = sorted({*refused, *self._checkpoint.refused})
        self._totals.replayed += 1
        self._checkpoint.totals.replayed += 1
        if self._resumption.complete:
            self._totals.add(earlier.totals)
            self._checkpoint.totals.add(earlier.totals)
            _log.info("Resumed: the first %d rows were loaded by an earlier attempt", skipped)
        else:
            self._checkpoint.before = count_messages(self._target) if self._options.verify else None
            _log.warning("The rows have changed since an earlier attempt: %d were skipped, the rest is sent", skipped)

    # --- The end

    def _wind_up(self) -> None:
        """Take what is still under way into account, and begin nothing new."""
        self._pace.close()
        while self._workers.busy:
            job = self._workers.wait(_PATIENCE)
            if job is None:
                self._totals.replayed += 1
                return
            with contextlib.suppress(LoadError):
                self._ended(job)

    def _failure(self, error: BaseException) -> BaseException:
        if isinstance(error, AllRefusedError):
            problem: CommsMiningError = error.cause
            refused = (
                "1,000 messages in a row" if self._totals.sent else "each of the first messages that were sent alone"
            )
            text = (
                f"the server refused {refused}, so it takes none of these: the mapping is wrong, or a quota of the "
                f"tenant is full. Its message: {problem.api_message or problem.args[0]}"
            )
        elif isinstance(error, CommsMiningError):
            problem, text = error, str(error)
        elif isinstance(error, StoppedError):
            return LoadError("the load was stopped", transient=True)
        else:
            return error
        failure = LoadError(
            f"{text.removesuffix('.')}. {self._left_over()}",
            transient=problem.transient,
            status=problem.status,
            api_message=problem.api_message,
            retry_after=problem.retry_after,
        )
        failure.__cause__ = problem
        return failure

    def _left_over(self) -> str:
        kept = " Another attempt goes on from there." if self._store is not None else ""
        return (
            f"{self._totals.sent:,} messages were loaded before. They stay, and loading them again costs nothing.{kept}"
        )

    def _judge_rejects(self) -> None:
        count, most = self._rejects.count, self._options.max_rejected
        # Rounded, since 0.29 * 100 is 28.999999999999996.
        limit = round(most * self._rows.read, 6) if isinstance(most, float) else most
        if count > limit:
            allowed = f"{most:.2%} of them" if isinstance(most, float) else f"{most:,}"
            raise LoadError(
                f"{count:,} of {self._rows.read:,} rows were rejected, and max_rejected is {allowed}; the other rows "
                f"were {'read' if self._options.dry_run else 'loaded'}. {self._rejects}"
            )

    def _verify(self) -> None:
        before, new = self._checkpoint.before, self._totals.new
        if before is None:
            return
        refused = self._rejects.count - (self._rows.read - self._rows.valid)
        # Counting "unchanged" alone would believe a server that answers so and holds nothing.
        least = max(before + new, self._rows.valid - self._rows.duplicates - refused)
        if least <= before:
            return
        try:
            wait_for_messages(self._target, before, new, least)
        except LoadError:
            if self._store is not None:
                self._store.clear()  # what it says is loaded is in doubt
            raise

    def _read_only(self) -> None:
        try:
            for batch in batches(self._rows, self._limits):
                self._check_stop()
                self._totals.bytes += batch.bytes
                self._tell()
        except (DuplicateIdError, HopelessError) as error:
            raise LoadError(str(error)) from None
        self._judge_rejects()

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        totals = self._totals
        progress = Progress(
            self._rows.read,
            totals.sent,
            self._rejects.count,
            totals.billable,
            totals.batches,
            totals.splits,
            time.monotonic() - self._started,
        )
        try:
            self._on_progress(progress)
        except Exception as error:  # noqa: BLE001  # whatever it raises, the load goes on
            _log.debug("on_progress failed with %s; the load goes on", type(error).__name__)

    def report(self) -> LoadReport:
        """Report what was done so far."""
        totals, dry = self._totals, self._options.dry_run
        billable = self._rows.valid if dry else totals.billable
        skipped = self._resumption.skipped if self._resumption is not None else 0
        return LoadReport(
            project=self._target.project,
            source_name=self._target.source_name,
            rows=self._rows.read,
            sent=totals.sent,
            new=totals.new,
            updated=totals.updated,
            unchanged=totals.unchanged,
            updated_text_changed=None if totals.text_changed_at_most else totals.updated_text_changed,
            billable=billable,
            billable_is_exact=not (dry or totals.text_changed_at_most or totals.replayed),
            replayed=totals.replayed > 0,
            rejected=self._rejects.count,
            rejects_path=self._rejects.path,
            duplicates=self._rows.duplicates,
            batches=totals.batches,
            splits=totals.splits,
            bytes=totals.bytes,
            seconds=round(time.monotonic() - self._started, 3),
            resumed_at_row=skipped or None,
            dry_run=dry,
            ai_units=billable * AI_UNITS,
            platform_units=round(billable * PLATFORM_UNITS, 6),
        )
