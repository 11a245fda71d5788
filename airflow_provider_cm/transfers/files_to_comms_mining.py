"""From files, local or in an object store, into a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.loading.readers import FORMATS, ReadError, format_of, read_rows
from airflow_provider_cm.operators.loading import BaseLoadOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_cm.transfers.object_files import FoundFile

_IF_EMPTY = ("fail", "skip")
_CSV_OPTIONS = ("delimiter", "encoding")
_MOST_DATASETS = 100


def _paths(value: object, field: str) -> list[Any]:
    value = arguments.given(value, field)
    if hasattr(value, "protocol"):
        return [value]
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigurationError(f"{field}: the list is empty; give at least one path, URL or glob")
        return [each for one in value for each in _paths(one, field)]
    return [arguments.filled_text(value, field)]


def _delimiter(value: object, field: str) -> str:
    text = arguments.text(value, field)
    if len(text) != 1 or text in '"\r\n':
        raise ConfigurationError(
            f"{field}: {arguments.excerpt(text)} is not one character that separates columns; give one such as ',', "
            "';' or '\\t' (a tab)"
        )
    return text


def _encoding(value: object, field: str) -> str:
    import codecs

    text = arguments.filled_text(value, field)
    try:
        codecs.lookup(text)
    except LookupError:
        raise ConfigurationError(
            f"{field}: {arguments.excerpt(text)} is not an encoding that Python knows; give one such as 'utf-8' or "
            "'cp1252'"
        ) from None
    return text


class FilesToCommsMiningOperator(BaseLoadOperator):
    """Load the rows of files into a source: JSON Lines, CSV, Parquet or emails.

    The files are read through Airflow's ``ObjectStoragePath``: from the worker's disk, or from S3, GCS, Azure and
    others by URL and connection (``s3://my_conn@bucket/folder/*.jsonl``); install that store's provider. They are
    streamed, and unpacked if their name ends in ``.gz``. The other arguments are those of every load:
    :class:`~airflow_provider_cm.operators.loading.BaseLoadOperator`; emails need no ``mapping``.

    :param path: a path, a URL, a glob of either, or a list of them. (templated)
    :param format: ``jsonl``, ``csv``, ``parquet`` (extra ``parquet``) or ``eml``; by default each file's name tells it
        (``.jsonl``, ``.ndjson``, ``.csv``, ``.parquet``, ``.eml``). (templated)
    :param if_empty: what to do if there is no such file: ``fail`` (default), or ``skip`` the task. (templated)
    :param delimiter: what separates the columns of CSV, ``,`` by default. (templated)
    :param encoding: of CSV, ``utf-8`` by default. (templated)
    :param transform_tag: how the server makes emails into messages; the server's own way by default. (templated)
    :return: the report of the load as a dict.
    """

    parsers: ClassVar[Mapping[str, Any]] = {
        **BaseLoadOperator.parsers,
        "path": _paths,
        "format": arguments.one_of(FORMATS),
        "if_empty": arguments.one_of(_IF_EMPTY),
        "delimiter": _delimiter,
        "encoding": _encoding,
        "transform_tag": arguments.filled_text,
    }
    template_fields: Sequence[str] = tuple(parsers)

    _found: list[FoundFile] | None = None
    _format = ""

    def __init__(
        self,
        *,
        path: str | ObjectStoragePath | Sequence[str | ObjectStoragePath],
        format: str | NotGiven = NOT_GIVEN,  # noqa: A002  # the word that people look for
        if_empty: str = "fail",
        delimiter: str | NotGiven = NOT_GIVEN,
        encoding: str | NotGiven = NOT_GIVEN,
        transform_tag: str | NotGiven = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.format = format
        self.if_empty = if_empty
        self.delimiter = delimiter
        self.encoding = encoding
        self.transform_tag = transform_tag
        self.check_literals()

    def check_together(self) -> None:
        """Judge the arguments whose values are known."""
        super().check_together()
        if self.is_given("format") and self.is_settled("format"):
            self._check_format(self.argument("format"))

    def _check_format(self, file_format: str) -> None:
        """Check that the arguments given go with the format."""
        if file_format == "eml" and self.is_given("mapping"):
            raise ConfigurationError(
                "mapping: the server makes emails into messages; leave it out, and choose how with transform_tag="
            )
        if file_format != "eml" and self.is_given("transform_tag"):
            raise ConfigurationError(f"transform_tag: it is for emails, and the format is {file_format}; leave it out")
        for name in _CSV_OPTIONS:
            if file_format != "csv" and self.is_given(name):
                raise ConfigurationError(f"{name}: it is for CSV, and the format is {file_format}; leave it out")

    def _files(self) -> list[FoundFile]:
        """Find the files, once."""
        if self._found is None:
            from airflow_provider_cm.transfers.object_files import find_files

            files = find_files(self.argument("path"))
            if not files and self.argument("if_empty") == "skip":
                raise AirflowSkipException(f"No file matches {self._shown_path()}")
            if not files:
                raise ReadError(
                    f"path: no file matches {self._shown_path()}; check the path, or give if_empty='skip' if there may "
                    "be none"
                )
            self._format = self._format_of(files)
            self._check_format(self._format)
            self._found = files
        return self._found

    def _shown_path(self) -> str:
        return ", ".join(str(each) for each in self.argument("path"))

    def _format_of(self, files: list[FoundFile]) -> str:
        if self.is_given("format"):
            return str(self.argument("format"))
        formats = {format_of(each.name) or "": each.name for each in files}
        if "" in formats:
            raise ConfigurationError(
                f"format: the name of {formats['']} does not tell it; give format=, one of {', '.join(FORMATS)}"
            )
        if len(formats) > 1:
            raise ConfigurationError(
                f"path: the files have several formats: {', '.join(sorted(formats))}; load each with a task of its own"
            )
        return next(iter(formats))

    def rows(self, context: Any) -> Iterator[Any]:
        """Return the files' rows, one file after the other."""
        options = {name: self.argument(name) for name in _CSV_OPTIONS if self.is_given(name)}
        rows = 0
        for file in self._files():
            first = rows + 1
            with file.open(in_order=self._format != "parquet") as opened:
                for row in read_rows(opened, file.name, self._format, **options):
                    rows += 1
                    yield row
            if self._format != "eml":  # one line for each email would be too many
                self.log.info("Rows %s to %s are those of %s", first, rows, file.name)

    def origin(self, context: Any) -> str:
        """Name the files, and what changes with their content."""
        return repr([(file.name, file.version) for file in self._files()])

    def load_arguments(self) -> dict[str, Any]:
        """Let emails go where the server takes emails."""
        self._files()
        return {"raw_emails": True, "transform_tag": self.argument("transform_tag")} if self._format == "eml" else {}

    def lineage_inputs(self) -> list[Any]:
        """Return the files, or, where there are many, the paths that were given."""
        from airflow.providers.common.compat.openlineage.facet import Dataset

        from airflow_provider_cm.transfers.object_files import to_path

        files = [file.path for file in self._found or ()]
        if len(files) > _MOST_DATASETS:
            files = [to_path(each) for each in self.argument("path")]
        # The names are those of OpenLineage's own naming of datasets.
        return [
            Dataset(namespace="file", name=path.path)
            if path.protocol in ("", "file")
            else Dataset(namespace=f"{path.protocol}://{path.bucket}", name=path.key)
            for path in files
        ]
