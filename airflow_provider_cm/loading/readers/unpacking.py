"""gzip, chosen by a file's name."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_cm.loading.readers.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"\x1f\x8b"
_BUFFER = 256 * 1024


@contextmanager
def unpacked(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Return a file's content, unpacked if its name ends in ``.gz``.

    :param file: open for reading bytes; it stays open.
    :param name: of the file.
    :raises ReadError: for a file that is packed, and whose name does not say so.
    """
    start = file.read(len(_MAGIC))
    file.seek(0)
    packed = name.lower().endswith(".gz")
    if packed and not start:
        raise ReadError(f"{name}: it has no bytes, which no gzip file has; write or copy the file again")
    if packed and start != _MAGIC:
        raise ReadError(f"{name}: its name ends in .gz, but it is not a gzip file; rename it, or pack it again")
    if start == _MAGIC and not packed:
        raise ReadError(f"{name}: it is a gzip file, but its name does not end in .gz; rename it")
    # Object stores' files have no readline(size), and are slow to read line by line.
    buffered = io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=file) if packed else file), _BUFFER)
    try:
        yield buffered
    finally:
        buffered.detach()  # else it would close the file


@contextmanager
def unpacking_errors(name: str) -> Iterator[None]:
    """Turn what gzip raises while a file is read into a :class:`ReadError`.

    :param name: of the file.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(
            f"{name}: its gzip data is damaged or ends too early, so rows are missing; write or copy the file again"
        ) from error
