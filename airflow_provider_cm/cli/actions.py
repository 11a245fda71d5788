"""What the commands ``airflow comms-mining ...`` do; they are declared in :mod:`airflow_provider_cm.cli.commands`.

Results go to stdout, all else to stderr. Airflow discards what a command returns, so exit codes other than 0 are
raised as ``SystemExit``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from airflow_provider_cm.api.errors import (
    CommsMiningError,
    ConfigurationError,
    printable,
)
from airflow_provider_cm.cli.check import FAIL, STEPS, UNKNOWN, examine

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.connection_settings import ConnectionLike
    from airflow_provider_cm.rollout import Manifest, Plan, Report

FAILED, USAGE, PENDING, INTERRUPTED = 1, 2, 2, 130


class UsageError(ConfigurationError):
    """Options that contradict each other, or of which one is missing."""


def check(args: Namespace) -> None:
    """Say step by step what works."""
    _run(_check, args)


def list(args: Namespace) -> None:  # noqa: A001  the command's name
    """List sources."""
    _run(_list, args)


def validate(args: Namespace) -> None:
    """Look for mistakes in a manifest."""
    _run(_validate, args)


def plan(args: Namespace) -> None:
    """Show what would make a project match its manifest."""
    _run(_plan, args)


def apply(args: Namespace) -> None:
    """Carry out a plan."""
    _run(_apply, args, progress=True)


def export(args: Namespace) -> None:
    """Write the manifest of a project."""
    _run(_export, args)


def load(args: Namespace) -> None:
    """Load messages from files."""
    from airflow_provider_cm.cli.load import load_files

    _run(lambda options, out: load_files(options, out, lambda: _hook(_connection(options.conn_id)).messages), args)


def _run(command: Callable[[Namespace, TextIO], int], args: Namespace, *, progress: bool = False) -> None:
    try:
        with _results_alone(verbose=args.verbose, progress=progress) as out:
            code = command(args, out)
            out.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What was sent may have been carried out; look with `plan`.\n")
        code = INTERRUPTED
    except UnicodeEncodeError as error:
        sys.stderr.write(f"Error: stdout has no way to write some characters ({error.encoding}); set PYTHONUTF8=1\n")
        code = FAILED
    except CommsMiningError as error:
        sys.stderr.write(f"Error: {error}\n")
        code = USAGE if isinstance(error, UsageError) else FAILED
    if code:
        sys.exit(code)


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _results_alone(*, verbose: bool, progress: bool) -> Iterator[TextIO]:
    """Give stdout, and keep all else from it: Airflow logs there.

    The log of our API client and rollout is the standard library's, and goes through Airflow's handlers. The hook's,
    with a line for each request, and Airflow's own is structlog's, which writes to stdout itself.

    :param verbose: show the whole log, on stderr.
    :param progress: show what our parts log for information; warnings are shown in any case.
    """
    out, disabled = sys.stdout, logging.root.manager.disable
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in {out, sys.__stdout__}
    ]
    streams = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.setStream(sys.stderr)
    if not (verbose or progress):
        logging.disable(max(disabled, logging.INFO))
    # The report on stdout has them all.
    outcomes = logging.getLogger("airflow_provider_cm.rollout.outcomes")
    outcomes.disabled = not verbose
    try:
        with contextlib.redirect_stdout(sys.stderr if verbose else cast("TextIO", _Nowhere())):
            yield out
    finally:
        logging.disable(disabled)
        outcomes.disabled = False
        for handler, stream in zip(handlers, streams, strict=True):
            handler.setStream(stream)


def _connection(conn_id: str) -> ConnectionLike:
    """Look a connection up as Airflow's own server-side commands do; a command is not a task."""
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException
    from airflow.providers_manager import ProvidersManager
    from cryptography.fernet import InvalidToken

    # The secrets backend may be one of a provider that has settings of its own.
    ProvidersManager().initialize_providers_configuration()
    before = os.environ.get("_AIRFLOW_PROCESS_CONTEXT")
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    try:
        # Airflow warns of the '_' in the type of the connection whenever it reads one, and nobody can do anything.
        with contextlib.redirect_stdout(cast("TextIO", _Nowhere())):
            connection: ConnectionLike = Connection.get_connection_from_secrets(conn_id)
            _ = (connection.password, connection.extra)  # decrypted when read
    except AirflowNotFoundException:
        told = (
            f"it was not found in the environment (AIRFLOW_CONN_{conn_id.upper()}), a secrets backend or the metadata "
            "database, or what is there cannot be read; `airflow connections list` shows those of the database"
        )
    except InvalidToken:
        told = "it cannot be decrypted; set the `fernet_key` that it was stored with"
    except AirflowException as error:
        told = printable(str(error))
    else:
        return connection
    finally:
        if before is None:
            del os.environ["_AIRFLOW_PROCESS_CONTEXT"]
        else:
            os.environ["_AIRFLOW_PROCESS_CONTEXT"] = before
    raise ConfigurationError(f"connection '{printable(conn_id)}': {told}")


def _hook(connection: ConnectionLike, max_attempts: int | None = None) -> CommsMiningHook:
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    return CommsMiningHook.from_connection(connection, max_attempts=max_attempts)


def _sources(args: Namespace) -> SourcesApi:
    return _hook(_connection(args.conn_id)).sources


# --- check


def _check(args: Namespace, out: TextIO) -> int:
    marks: dict[str, str] = {}

    def tell(mark: str, step: str, text: str) -> None:
        marks[step] = mark
        out.write(f"{mark:<6}{step:<12}{text}\n")
        out.flush()

    for told in examine(args.conn_id, _connection, lambda connection: _hook(connection, max_attempts=1)):
        tell(*told)
    for step in STEPS:
        if step not in marks:
            tell(UNKNOWN, step, "not known, because of what failed above")
    return FAILED if FAIL in marks.values() else 0


# --- list


def _list(args: Namespace, out: TextIO) -> int:
    found = sorted(_sources(args).list(args.project), key=lambda source: (source.project, source.name))
    if args.json:
        out.write(_json([source.to_dict() for source in found]))
        return 0
    if not found:
        sys.stderr.write("No source is visible: there is none, or the permission 'View sources' is missing.\n")
        return 0
    heads = ("PROJECT", "NAME", "ID", "LANGUAGE", "BUCKET", "UPDATED", "TITLE")
    rows = [heads, *(_row(source) for source in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    out.writelines(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
    return 0


def _row(source: Source) -> tuple[str, ...]:
    updated = source.updated_at.strftime("%Y-%m-%d %H:%M") if source.updated_at else None
    said = (source.project, source.name, source.id, source.language, source.bucket_id, updated)
    title = source.title or ""
    return (*(printable(text or "-", 80) for text in said), printable(title[:60]) + ("..." if title[60:] else ""))


# --- validate, plan, apply, export


def _validate(args: Namespace, out: TextIO) -> int:
    from airflow_provider_cm.rollout.planning import check_prune

    manifest = _read_manifest(args)
    if args.prune:
        check_prune(manifest, args.max_deletes)
    count = len(manifest.sources)
    named = f"{count} source{'' if count == 1 else 's'} of project {printable(manifest.project)}"
    out.write(f"{printable(args.manifest)}: no mistakes; it names {named}\n")
    return 0


def _read_manifest(args: Namespace) -> Manifest:
    from airflow_provider_cm import rollout

    return rollout.Manifest.parse(_read_file(args.manifest), _variables(args), filename=args.manifest)


def _plan(args: Namespace, out: TextIO) -> int:
    if args.json and args.markdown:
        # No UsageError: with --detailed-exitcode, its exit code would say that changes are pending.
        raise ConfigurationError("--json, --markdown: give one of the two")
    made, _, _ = _make_plan(args)
    if args.out:
        _write_file(args.out, _json(made.to_dict()))
    if args.json:
        out.write(_json(made.to_dict()))
    else:
        out.write((made.render_markdown() if args.markdown else made.render()) + "\n")
    return PENDING if args.detailed_exitcode and made.drifted else 0


def _make_plan(args: Namespace) -> tuple[Plan, SourcesApi, Sequence[Source]]:
    from airflow_provider_cm import rollout

    manifest = _read_manifest(args)
    sources = _sources(args)
    actual = rollout.observe(manifest, sources)
    made = rollout.plan(
        manifest,
        actual,
        target=sources.session.endpoint,
        prune=args.prune,
        max_deletes=args.max_deletes,
        allow_risky=args.allow_risky,
    )
    return made, sources, actual


def _apply(args: Namespace, out: TextIO) -> int:
    from airflow_provider_cm import rollout

    _check_apply(args)
    actual: Sequence[Source] | None = None
    if args.plan:
        made, sources = rollout.Plan.from_dict(_read_json(args.plan)), _sources(args)
    else:
        made, sources, actual = _make_plan(args)
    # An empty one, such as that of a variable that is not set, is no approval.
    if args.digest is not None and args.digest.removeprefix("sha256:") != made.digest.removeprefix("sha256:"):
        raise ConfigurationError(
            f"--digest: {printable(args.digest, 80)} was approved, and this plan is {made.digest}; nothing was done"
        )
    (sys.stderr if args.json else out).write(made.render() + "\n")
    out.flush()
    if made.pending and not args.yes:
        _confirm(made)
        actual = None  # it has aged while somebody read
    report = rollout.apply(
        made, sources, max_workers=args.max_workers, delete_nonempty=args.delete_nonempty, actual=actual
    )
    out.write(_json(report.to_dict()) if args.json else _report(report))
    return 0 if report.ok else FAILED


def _check_apply(args: Namespace) -> None:
    if bool(args.plan) == bool(args.manifest):
        raise UsageError("--plan, --manifest: give one of the two")
    if args.plan:
        given = {
            "--var": args.var,
            "--prune": args.prune,
            "--max-deletes": args.max_deletes is not None,
            "--allow-risky": args.allow_risky,
        }
        if extra := [option for option, value in given.items() if value]:
            raise UsageError(f"{', '.join(extra)}: only with --manifest; what --plan holds is settled")
    if not args.yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise ConfigurationError("there is no terminal to confirm the plan at: look at it with `plan`, and add --yes")


def _confirm(made: Plan) -> None:
    sys.stderr.write(f"Apply this to {printable(made.target)}? Only 'yes' is taken for a yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise ConfigurationError("not confirmed; nothing was done")


def _report(report: Report) -> str:
    lines = [f"  {printable(str(outcome), 1000)}" for outcome in report.outcomes]
    return "\n".join(["Report:", *lines, printable(report.summary(), 1000)]) + "\n"


def _export(args: Namespace, out: TextIO) -> int:
    from airflow_provider_cm import rollout

    flags = [name for name, value in _variables(args).items() if isinstance(value, bool)]
    if flags:
        raise UsageError(f"--var: {', '.join(flags)}: a project's name or a bucket's id is a text; use = for it")
    text = rollout.export(args.project, _sources(args), variables={name: str(value) for name, value in args.var})
    if args.out:
        _write_file(args.out, text)
    else:
        out.write(text)
    return 0


def _variables(args: Namespace) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {}
    for name, value in args.var:
        if name in found:
            raise ConfigurationError(f"--var: '{printable(name)}' was given twice")
        found[name] = value
    return found


def _read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{printable(path)}: it cannot be read: {_reason(error)}") from None


def _read_json(path: str) -> Any:
    text = _read_file(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{printable(path)}: it is not JSON, so it is not what `plan --out` wrote") from None


def _write_file(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--out: {printable(path)} cannot be written: {_reason(error)}") from None
    sys.stderr.write(f"Written to {printable(path)}\n")


def _reason(error: OSError | ValueError) -> str:
    return printable(getattr(error, "strerror", None) or str(error))


def _json(data: object) -> str:
    return json.dumps(data, indent=2) + "\n"
