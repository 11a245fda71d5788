"""Parquet files, through pyarrow (the extra ``parquet``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.loading.readers.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

ROWS_AT_ONCE = 200
"""Rows that are made Python objects at once."""

BUFFER = 256 * 1024
"""Bytes of a column that are read at once; else pyarrow reads the whole row group, which may be the whole file."""


def read_parquet(file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """Read a Parquet file, row group by row group.

    :param file: open for reading bytes; it must be able to seek.
    :param name: what errors call the file.
    :raises ConfigurationError: if pyarrow is not installed.
    :raises ReadError: for a file that is not Parquet, is damaged, is packed, or has two columns of one name.
    """
    if name.lower().endswith(".gz"):
        raise ReadError(f"{name}: a Parquet file is not read from gzip, since it is packed already; unpack it")
    try:
        from pyarrow import ArrowException, default_memory_pool, set_memory_pool, system_memory_pool
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ConfigurationError(
            "format: Parquet files need pyarrow; install it with: pip install 'airflow-provider-cm[parquet]'"
        ) from error
    before = default_memory_pool()
    # pyarrow's own pool keeps what it has freed: over 60 MiB more for a large row group.
    set_memory_pool(system_memory_pool())
    try:
        with ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as parquet:
            names = parquet.schema_arrow.names
            if twice := sorted({column for column in names if names.count(column) > 1}):
                raise ReadError(f"{name}: two columns have the name {twice[0]!r}; rename one")
            for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False):
                yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        # pyarrow's own text may quote a value.
        raise ReadError(
            f"{name}: it cannot be read as Parquet ({type(error).__name__}); is it complete, and is it Parquet?",
            transient=isinstance(error, OSError),
        ) from None
    finally:
        set_memory_pool(before)
