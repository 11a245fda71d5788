"""The commands that this provider adds to Airflow's command line, from Airflow 3.2 on: ``airflow comms-mining ...``.

Every ``airflow`` command imports this module, so it imports nothing itself; the commands are functions of
:mod:`airflow_provider_cm.cli.actions`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.cli.cli_config import ActionCommand, Arg, CLICommand

_ACTIONS = "airflow_provider_cm.cli.actions"

_GROUP = """\
Look at the sources of UiPath Communications Mining, make them match a manifest in a file, and load messages into them.

Start with `check`, which shows step by step whether a connection works. Then `export` writes the manifest of a project
as it is; edit it, look for mistakes with `validate`, show the changes with `plan`, and carry them out with `apply`.
`load` fills a source from files. All commands but `apply` and `load` only read."""
_GROUP_EXAMPLE = """\
Example:
  airflow comms-mining check --conn-id comms_mining_default
  airflow comms-mining export --project acme-dev --out sources.yaml
  airflow comms-mining validate --manifest sources.yaml
  airflow comms-mining plan --manifest sources.yaml
  airflow comms-mining apply --manifest sources.yaml"""

_CHECK = """\
Check step by step: the connection and its settings, the identity server (for an external application), the endpoint,
the token, and which sources are visible with it. It only reads, and makes a single attempt.

Each line begins with `ok`, `FAIL`, or `?` if the result is not known. No secret is shown.

Exit code: 0 if nothing failed, 1 otherwise."""
_CHECK_EXAMPLE = """\
Example:
  airflow comms-mining check --conn-id comms_mining_prod"""

_LIST = """\
List the sources that are visible with a connection, as a table or as JSON.

Exit code: 0, or 1 for an error."""
_LIST_EXAMPLE = """\
Example:
  airflow comms-mining list --project acme-dev
  airflow comms-mining list --conn-id comms_mining_prod --json | jq -r '.[].name'"""

_PLAN = """\
Compare a manifest with a project, and show the changes that make the project match. It only reads.

Exit code: 0, with and without changes, or 1 for an error. With --detailed-exitcode, 2 if the project does not match the
manifest, so that changes are pending or blocked. Wrong options end with 2, too, as they do everywhere in Airflow: they
leave no plan on stdout, and no file for --out."""
_PLAN_EXAMPLE = """\
Example:
  airflow comms-mining plan --conn-id comms_mining_prod --manifest sources.yaml --var project=acme-prod --out plan.json
  airflow comms-mining plan --manifest sources.yaml --prune --max-deletes 2 --markdown
  airflow comms-mining plan --manifest sources.yaml --detailed-exitcode"""

_VALIDATE = """\
Look for mistakes in a manifest, all of them at once, each with file, line, source and field. It needs no connection and
sends no request, so it does not compare the manifest with the project.

With --prune, also check that the manifest allows it.

Exit code: 0 for no mistake, 1 otherwise."""
_VALIDATE_EXAMPLE = """\
Example:
  airflow comms-mining validate --manifest sources.yaml --var project=acme-prod
  airflow comms-mining validate --manifest sources.yaml --var project=acme-prod --prune --max-deletes 2"""

_APPLY = """\
Carry out a plan: creates, then updates, then deletes. It does exactly what the plan shows: a source that has changed
since then is left alone, and named. Running it again finishes the rest.

Either --plan, a file that `plan --out` wrote, or --manifest with the options of `plan`. The command shows the plan, and
asks you to confirm it at the terminal; without a terminal, --yes is required.

Exit code: 0 if the project matches the plan, 1 otherwise, with a line for each source in the report; 2 for wrong
options."""
_APPLY_EXAMPLE = """\
Example:
  airflow comms-mining apply --conn-id comms_mining_prod --plan plan.json
  airflow comms-mining apply --conn-id comms_mining_prod --plan plan.json --digest sha256:0c5e... --yes --json"""

_EXPORT = """\
Write the manifest of a project as it is: planning it again finds nothing to do. It only reads.

Exit code: 0, or 1 for an error."""
_EXPORT_EXAMPLE = """\
Example:
  airflow comms-mining export --project acme-dev --var project=acme-dev --out sources.yaml"""


_LOAD = """\
Load messages from files into a source that is there, and say what that is billed. Each row becomes a message by a
mapping; without one, rows are the API's own comment objects. Running it again loads what is missing and changed, and is
billed for that alone, since a message is known by its id.

With --dry-run nothing is sent: rows are read, mapped, checked and counted, and the report has the most that the load
could cost.

Exit code: 0 if every row was loaded (or would be), but for those that --max-rejected lets go; 1 otherwise; 2 for
options that cannot be understood."""
_LOAD_EXAMPLE = """\
Example:
  airflow comms-mining load tickets.csv --project acme-dev --source tickets --mapping mapping.yaml --dry-run
  airflow comms-mining load tickets.csv --project acme-dev --source tickets --mapping mapping.yaml --max-billable 500
  airflow comms-mining load *.jsonl.gz --project acme-dev --source tickets --rejects bad.jsonl --max-rejected 0.01"""


def get_comms_mining_cli_commands() -> list[CLICommand]:
    """Return the commands; Airflow finds this function by the key ``cli`` of the provider's metadata."""
    from airflow.cli.cli_config import GroupCommand

    return [
        GroupCommand(
            name="comms-mining",
            help="UiPath Communications Mining: check a connection, plan and apply sources, load messages",
            description=_GROUP,
            epilog=_GROUP_EXAMPLE,
            subcommands=(
                _command("check", "Check step by step whether a connection works", _CHECK, _CHECK_EXAMPLE, ()),
                _command("list", "List sources", _LIST, _LIST_EXAMPLE, _list()),
                _command(
                    "validate",
                    "Look for mistakes in a manifest",
                    _VALIDATE,
                    _VALIDATE_EXAMPLE,
                    _planning(required=True)[:-1],
                    connection=False,
                ),
                _command(
                    "plan", "Show the changes that make a project match its manifest", _PLAN, _PLAN_EXAMPLE, _plan()
                ),
                _command("apply", "Carry out a plan", _APPLY, _APPLY_EXAMPLE, _apply()),
                _command("export", "Write the manifest of a project", _EXPORT, _EXPORT_EXAMPLE, _export()),
                _command("load", "Load messages from files into a source", _LOAD, _LOAD_EXAMPLE, _load()),
            ),
        )
    ]


def variable(text: str) -> tuple[str, str | bool]:
    """Read ``NAME=VALUE``, or ``NAME:=true`` and ``NAME:=false`` for a field that is true or false.

    :param text: the option's value.
    :raises argparse.ArgumentTypeError: for anything else.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.removesuffix(":"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    if not name.endswith(":"):
        return name, value
    if value not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r}: after :=, write true or false; use = for a text")
    return name.removesuffix(":"), value == "true"


def _command(
    name: str, short: str, description: str, example: str, args: tuple[Arg, ...], *, connection: bool = True
) -> ActionCommand:
    from airflow.cli.cli_config import ActionCommand, Arg, lazy_load_command

    conn_id = Arg(
        ("--conn-id",),
        default="comms_mining_default",
        help="The Airflow connection, from the environment, a secrets backend or the metadata database "
        "(default: comms_mining_default)",
    )
    verbose = Arg(("-v", "--verbose"), action="store_true", help="Show the log on stderr, with a line for each request")
    common = (conn_id, verbose) if connection else (verbose,)
    function = lazy_load_command(f"{_ACTIONS}.{name}")
    return ActionCommand(name, short, function, (*common, *args), description=description, epilog=example)


def _list() -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg

    return (
        Arg(("--project",), help="Only this project's sources"),
        Arg(("--json",), action="store_true", help="Write the API's own JSON objects instead of a table"),
    )


def _planning(required: bool) -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg, positive_int

    return (
        Arg(("--manifest",), metavar="FILE", required=required, help="The manifest, YAML or JSON"),
        Arg(
            ("--var",),
            metavar="NAME=VALUE",
            type=variable,
            action="append",
            default=[],
            help="Fills ${NAME} in the manifest; NAME:=true for a field that is true or false. Can be repeated",
        ),
        Arg(
            ("--prune",),
            action="store_true",
            help="Delete sources that the manifest owns by pattern and does not name; needs --max-deletes",
        ),
        Arg(
            ("--max-deletes",),
            metavar="N",
            type=positive_int(allow_zero=True),
            help="How many sources may be deleted; with one more, none is",
        ),
        Arg(
            ("--allow-risky",),
            action="store_true",
            help="Allow changes that show data or cost money: dropping a sensitive property, attaching or changing a "
            "bucket",
        ),
    )


def _plan() -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg

    return (
        *_planning(required=True),
        Arg(("--json",), action="store_true", help="Write the plan as JSON, and nothing else, to stdout"),
        Arg(("--markdown",), action="store_true", help="Write the plan as Markdown, for a review"),
        Arg(("--out",), metavar="FILE", help="Write the plan to this file as well, as JSON, for `apply --plan`"),
        Arg(("--detailed-exitcode",), action="store_true", help="End with 2 if changes are pending or blocked"),
    )


def _apply() -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg, positive_int

    return (
        Arg(("--plan",), metavar="FILE", help="The plan, as `plan --out` wrote it"),
        *_planning(required=False),
        Arg(("--digest",), metavar="SHA", help="Refuse any plan but the approved one, which has this digest"),
        Arg(
            ("--max-workers",),
            metavar="N",
            type=positive_int(allow_zero=False),
            help="How many requests at once (default: `[comms_mining] max_workers` of Airflow's configuration, 8)",
        ),
        Arg(
            ("--delete-nonempty",),
            action="store_true",
            help="Delete also sources that hold messages or have a bucket, and sources where the server shows neither",
        ),
        Arg(("-y", "--yes"), action="store_true", help="Do not ask"),
        Arg(("--json",), action="store_true", help="Write the report as JSON, and nothing else, to stdout"),
    )


def _export() -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg

    return (
        Arg(("--project",), required=True, help="The project"),
        Arg(
            ("--var",),
            metavar="NAME=VALUE",
            type=variable,
            action="append",
            default=[],
            help="Write ${NAME} where VALUE is the project's name or a bucket's id. Can be repeated",
        ),
        Arg(("--out",), metavar="FILE", help="Write the manifest to this file instead of stdout"),
    )


def _load() -> tuple[Arg, ...]:
    from airflow.cli.cli_config import Arg, positive_int

    count = positive_int(allow_zero=False)
    return (
        Arg(("paths",), metavar="PATH", nargs="+", help="Files, JSON Lines, CSV, Parquet or .eml; also packed (.gz)"),
        Arg(("--project",), required=True, help="The project"),
        Arg(("--source",), required=True, help="The name of the source"),
        Arg(("--mapping",), metavar="FILE", help="How a row becomes a message, YAML or JSON"),
        Arg(("--format",), choices=("jsonl", "csv", "parquet", "eml"), help="Default: what the files' names say"),
        Arg(("--delimiter",), default=",", help="Between the columns of a CSV file (default: a comma)"),
        Arg(("--encoding",), default="utf-8", help="Of a CSV file (default: utf-8)"),
        Arg(("--dry-run",), action="store_true", help="Send nothing; check, count, and say what it could cost at most"),
        Arg(("--max-billable",), metavar="N", type=positive_int(allow_zero=True), help="Stop before it costs more"),
        Arg(
            ("--max-rejected",), metavar="N", type=_rows, default=0, help="Rows that may fail: a number, or 0.01 of all"
        ),
        Arg(("--rejects",), metavar="FILE", help="List the rows that were not loaded here, one JSON object a line"),
        Arg(("--reject-rows",), action="store_true", help="With the rows themselves, which are somebody's messages"),
        Arg(("--on-duplicate",), choices=("fail", "last"), default="fail", help="Two rows with one id (default: fail)"),
        Arg(("--batch-size",), metavar="N", type=count, default=500, help="Messages in a request (default: 500)"),
        Arg(("--concurrency",), metavar="N", type=count, default=1, help="Requests at once, 1 to 8 (default: 1)"),
        Arg(("--no-verify",), action="store_true", help="Do not count the source's messages before and after"),
        Arg(("--json",), action="store_true", help="Write the report as JSON, and nothing else, to stdout"),
    )


def _rows(text: str) -> float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of rows nor a fraction such as 0.01") from None
