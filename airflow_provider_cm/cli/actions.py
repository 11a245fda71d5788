"""The commands ``airflow comms-mining ...``; :mod:`airflow_provider_cm.cli.commands` declares them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.cli.check import FAIL, STEPS, UNKNOWN, examine
from airflow_provider_cm.cli.connection import find_connection, make_hook, sources_of
from airflow_provider_cm.cli.files import read_file, read_json, write_file
from airflow_provider_cm.cli.output import FAILED, UsageError, command, json_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from airflow_provider_cm.api.models import Source
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout import Manifest, Plan, Report

PENDING = 2


@command()
def check(args: Namespace, out: TextIO) -> int:
    """Check step by step whether a connection works."""
    marks: dict[str, str] = {}

    def write(mark: str, step: str, text: str) -> None:
        marks[step] = mark
        out.write(f"{mark:<6}{step:<12}{text}\n")
        out.flush()

    for mark, step, text in examine(args.conn_id, find_connection, lambda each: make_hook(each, max_attempts=1)):
        write(mark, step, text)
    for step in STEPS:
        if step not in marks:
            write(UNKNOWN, step, "not known, because an earlier step failed")
    return FAILED if FAIL in marks.values() else 0


@command()
def list(args: Namespace, out: TextIO) -> int:  # noqa: A001  the command's name
    """List sources."""
    sources = sorted(sources_of(args.conn_id).list(args.project), key=lambda source: (source.project, source.name))
    if args.json:
        out.write(json_text([source.to_dict() for source in sources]))
        return 0
    if not sources:
        sys.stderr.write("No source is visible: there is none, or the permission 'View sources' is missing.\n")
        return 0
    heads = ("PROJECT", "NAME", "ID", "LANGUAGE", "BUCKET", "UPDATED", "TITLE")
    rows = [heads, *(_row(source) for source in sources)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    out.writelines(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
    return 0


def _row(source: Source) -> tuple[str, ...]:
    updated = source.updated_at.strftime("%Y-%m-%d %H:%M") if source.updated_at else None
    cells = (source.project, source.name, source.id, source.language, source.bucket_id, updated)
    title = source.title or ""
    return (*(printable(text or "-", 80) for text in cells), printable(title[:60]) + ("..." if title[60:] else ""))


@command()
def validate(args: Namespace, out: TextIO) -> int:
    """Look for mistakes in a manifest."""
    from airflow_provider_cm.rollout.planning import check_prune

    manifest = _read_manifest(args)
    if args.prune:
        check_prune(manifest, args.max_deletes)
    count = len(manifest.sources)
    summary = f"{count} source{'' if count == 1 else 's'} of project {printable(manifest.project)}"
    out.write(f"{printable(args.manifest)}: no mistakes; it names {summary}\n")
    return 0


@command()
def plan(args: Namespace, out: TextIO) -> int:
    """Show the changes that make a project match its manifest."""
    if args.json and args.markdown:
        # No UsageError: with --detailed-exitcode, its exit code would say that changes are pending.
        raise ConfigurationError("--json, --markdown: give one of the two")
    made, _, _ = _make_plan(args)
    if args.out:
        write_file(args.out, json_text(made.to_dict()))
    if args.json:
        out.write(json_text(made.to_dict()))
    else:
        out.write((made.render_markdown() if args.markdown else made.render()) + "\n")
    return PENDING if args.detailed_exitcode and made.drifted else 0


@command(progress=True)
def apply(args: Namespace, out: TextIO) -> int:
    """Carry out a plan."""
    from airflow.providers.common.compat.sdk import conf

    from airflow_provider_cm import rollout

    _check_apply(args)
    max_workers = args.max_workers or conf.getint("comms_mining", "max_workers", fallback=8)
    actual: Sequence[Source] | None = None
    if args.plan:
        made, sources = rollout.Plan.from_dict(read_json(args.plan)), sources_of(args.conn_id)
    else:
        made, sources, actual = _make_plan(args)
    # An empty digest, such as that of a variable that is not set, is no approval.
    if args.digest is not None and args.digest.removeprefix("sha256:") != made.digest.removeprefix("sha256:"):
        raise ConfigurationError(
            f"--digest: {printable(args.digest, 80)} was approved, and this plan is {made.digest}; nothing was done"
        )
    (sys.stderr if args.json else out).write(made.render() + "\n")
    out.flush()
    if made.pending and not args.yes:
        _confirm(made)
        actual = None  # the project may have changed while somebody read
    report = rollout.apply(made, sources, max_workers=max_workers, delete_nonempty=args.delete_nonempty, actual=actual)
    out.write(json_text(report.to_dict()) if args.json else _report(report))
    return 0 if report.ok else FAILED


@command()
def export(args: Namespace, out: TextIO) -> int:
    """Write the manifest of a project."""
    from airflow_provider_cm import rollout

    flags = [name for name, value in _variables(args).items() if isinstance(value, bool)]
    if flags:
        raise UsageError(f"--var: {', '.join(flags)}: a project's name or a bucket's id is a text; use = for it")
    variables = {name: str(value) for name, value in args.var}
    text = rollout.export(args.project, sources_of(args.conn_id), variables=variables)
    if args.out:
        write_file(args.out, text)
    else:
        out.write(text)
    return 0


def _read_manifest(args: Namespace) -> Manifest:
    from airflow_provider_cm import rollout

    return rollout.Manifest.parse(read_file(args.manifest), _variables(args), filename=args.manifest)


def _variables(args: Namespace) -> dict[str, str | bool]:
    variables: dict[str, str | bool] = {}
    for name, value in args.var:
        if name in variables:
            raise ConfigurationError(f"--var: '{printable(name)}' was given twice")
        variables[name] = value
    return variables


def _make_plan(args: Namespace) -> tuple[Plan, SourcesApi, Sequence[Source]]:
    from airflow_provider_cm import rollout

    manifest = _read_manifest(args)
    sources = sources_of(args.conn_id)
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


def _check_apply(args: Namespace) -> None:
    if bool(args.plan) == bool(args.manifest):
        raise UsageError("--plan, --manifest: give one of the two")
    if args.plan:
        options = {
            "--var": args.var,
            "--prune": args.prune,
            "--max-deletes": args.max_deletes is not None,
            "--allow-risky": args.allow_risky,
        }
        if extra := [option for option, value in options.items() if value]:
            raise UsageError(f"{', '.join(extra)}: only with --manifest; the plan in --plan is complete")
    if not args.yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise ConfigurationError("there is no terminal to confirm the plan at: look at it with `plan`, and add --yes")


def _confirm(made: Plan) -> None:
    sys.stderr.write(f"Apply this to {printable(made.target)}? Type 'yes' to apply: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise ConfigurationError("not confirmed; nothing was done")


def _report(report: Report) -> str:
    lines = [f"  {printable(str(outcome), 1000)}" for outcome in report.outcomes]
    return "\n".join(["Report:", *lines, printable(report.summary(), 1000)]) + "\n"


@command()
def load(args: Namespace, out: TextIO) -> int:
    """Load messages from files."""
    from airflow_provider_cm.cli.load import load_files

    return load_files(args, out, lambda: make_hook(find_connection(args.conn_id)).messages)
