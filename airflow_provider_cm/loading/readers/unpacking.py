"""gzip, chosen by a file's name."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_provider_cm.loading.readers.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"\x1f\x8b"


def unpacked(file: BinaryIO, name: str) -> BinaryIO:
    """Give a file as it is, or unpacked if its name ends in ``.gz``.

    :param file: open for reading bytes.
    :param name: of the file.
    :raises ReadError: for a file that is packed, and whose name does not say so.
    """
    start = file.read(len(_MAGIC))
    file.seek(0)
    if name.lower().endswith(".gz"):
        if start and start != _MAGIC:
            raise ReadError(f"{name}: its name ends in .gz, but it is not a gzip file; rename it, or pack it again")
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if start == _MAGIC:
        raise ReadError(f"{name}: it is a gzip file, but its name does not end in .gz; rename it")
    return file


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
