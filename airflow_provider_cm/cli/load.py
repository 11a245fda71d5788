"""What ``airflow comms-mining load`` does: a first load, from files on this machine, without a DAG."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_cm.api.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from airflow_provider_cm.api.messages import MessagesApi
    from airflow_provider_cm.loading import LoadReport, Mapping, Progress

LOADED, FAILED, INTERRUPTED = 0, 1, 130
_SECONDS_BETWEEN_LINES = 5.0
_OPTIONS = ("batch_size", "concurrency", "on_duplicate", "max_rejected", "reject_rows", "max_billable", "dry_run")


def load_files(args: Namespace, out: TextIO, messages: Callable[[], MessagesApi]) -> int:
    """Load the rows of files, and print the report.

    :param args: the options.
    :param out: where the report goes.
    :param messages: makes the client, once the options have been found to be right.
    :return: the exit code.
    :raises CommsMiningError: when nothing was loaded.
    """
    from airflow_provider_cm.loading import LoadError, load

    _check_files(args.paths)
    file_format = _format(args)
    mapping = _mapping(args.mapping)
    code = LOADED
    report: LoadReport | None
    try:
        report = load(
            _rows(args, file_format),
            messages(),
            project=args.project,
            source_name=args.source,
            mapping=mapping,
            **{name: getattr(args, name) for name in _OPTIONS},
            rejects_path=args.rejects,
            verify=not args.no_verify,
            raw_emails=file_format == "eml",
            on_progress=_Lines(),
        )
    except LoadError as error:
        report, code = error.report, FAILED
        sys.stderr.write(f"Error: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Run it again to load the rest: what was loaded is not billed again.\n")
        return INTERRUPTED
    if report is not None:
        out.write(json.dumps(report.as_dict(), indent=2) + "\n" if args.json else _text(report))
    return code


def _format(args: Namespace) -> str:
    from airflow_provider_cm.loading.readers import format_of

    found: set[str] = set()
    for path in args.paths:
        name = args.format or format_of(path)
        if name is None:
            raise ConfigurationError(
                f"--format: {printable(path)} does not tell by its name what it is; give jsonl, csv, parquet or eml"
            )
        found.add(name)
    if len(found) > 1:
        raise ConfigurationError(
            f"PATH: the files are of several formats ({', '.join(sorted(found))}); load each apart"
        )
    return found.pop()


def _mapping(path: str | None) -> Mapping | None:
    from airflow_provider_cm.loading import Mapping
    from airflow_provider_cm.loading.mapping_text import mapping_from_text

    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--mapping: {printable(path)} cannot be read: {_reason(error)}") from None
    return Mapping.parse(mapping_from_text(text, printable(path)))


def _rows(args: Namespace, file_format: str) -> Iterator[Any]:
    from airflow_provider_cm.loading.readers import read_rows

    for path in args.paths:
        with Path(path).open("rb") as file:
            yield from read_rows(file, Path(path).name, file_format, delimiter=args.delimiter, encoding=args.encoding)


def _check_files(paths: list[str]) -> None:
    """Find out what cannot be read before anything is loaded."""
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                file.read(1)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{printable(path)}: it cannot be read: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    return printable(getattr(error, "strerror", None) or str(error))


class _Lines:
    """Says on stderr how far the load has got, every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        sys.stderr.write(f"{progress.rows} rows read, {progress.sent} loaded, {progress.rejected} rejected\n")
        sys.stderr.flush()


def _text(report: LoadReport) -> str:
    lines = [f"{printable(report.project)}/{printable(report.source_name)}: {report}"]
    if not report.dry_run:
        lines.append(f"Bill: {report.ai_units:g} AI units, or {report.platform_units:g} Platform units")
    if report.rejects_path is not None and report.rejected:
        lines.append(f"Rejected rows are listed in {printable(report.rejects_path)}")
    return "\n".join(lines) + "\n"
