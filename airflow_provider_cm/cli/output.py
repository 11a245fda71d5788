"""The output of the commands: results go to stdout, all else to stderr, and an error becomes an exit code.

Airflow discards the value that a command returns, so exit codes other than 0 are raised as ``SystemExit``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, TextIO, cast

from airflow_provider_cm.api.errors import CommsMiningError, ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class UsageError(ConfigurationError):
    """Options contradict each other, or one is missing."""


def command(*, progress: bool = False) -> Callable[[Callable[[Namespace, TextIO], int]], Callable[[Namespace], None]]:
    """Make a command of Airflow's from a function that writes results and returns an exit code.

    :param progress: show the log of this package on stderr while the command runs.
    """

    def decorate(function: Callable[[Namespace, TextIO], int]) -> Callable[[Namespace], None]:
        @wraps(function)
        def run(args: Namespace) -> None:
            if code := _exit_code(function, args, progress=progress):
                sys.exit(code)

        return run

    return decorate


def _exit_code(function: Callable[[Namespace, TextIO], int], args: Namespace, *, progress: bool) -> int:
    try:
        with results_only(verbose=args.verbose, progress=progress) as out:
            code = function(args, out)
            out.flush()
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Python would report that once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Requests that were sent may have been carried out; look with `plan`.\n")
        return INTERRUPTED
    except UnicodeEncodeError as error:
        sys.stderr.write(f"Error: stdout cannot encode some characters ({error.encoding}); set PYTHONUTF8=1\n")
        return FAILED
    except CommsMiningError as error:
        sys.stderr.write(f"Error: {error}\n")
        return USAGE if isinstance(error, UsageError) else FAILED
    return code


class _DevNull(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def silenced() -> contextlib.AbstractContextManager[object]:
    """Discard stdout."""
    return contextlib.redirect_stdout(cast("TextIO", _DevNull()))


def _writes_to_stdout(handler: logging.StreamHandler[TextIO]) -> bool:
    # Airflow may have opened the handler when another object stood for the same stdout.
    if handler.stream in {sys.stdout, sys.__stdout__}:
        return True
    try:
        return handler.stream.fileno() == 1
    except (AttributeError, OSError, ValueError):
        return False


@contextlib.contextmanager
def results_only(*, verbose: bool, progress: bool) -> Iterator[TextIO]:
    """Yield stdout, and keep logs out of it: Airflow logs there.

    The API client and the rollout log with the standard library, through Airflow's handlers. The hook, with a line for
    each request, and Airflow itself log with structlog, which writes to stdout directly.

    :param verbose: show the whole log, on stderr.
    :param progress: show also the package's messages of level INFO; warnings are shown in any case.
    """
    out, disabled = sys.stdout, logging.root.manager.disable
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and _writes_to_stdout(handler)
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
        with contextlib.redirect_stdout(sys.stderr) if verbose else silenced():
            yield out
    finally:
        logging.disable(disabled)
        outcomes.disabled = False
        for handler, stream in zip(handlers, streams, strict=True):
            handler.setStream(stream)


def json_text(data: object) -> str:
    """Format JSON for stdout or a file.

    :param data: JSON values.
    """
    return json.dumps(data, indent=2) + "\n"
