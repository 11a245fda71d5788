"""Files to load, found through ``ObjectStoragePath``: local, or in an object store by URL and connection."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_cm.loading.readers import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

_GLOB = re.compile(r"[*?\[]")

BLOCK = 4 * 1024 * 1024
"""Bytes that are fetched from an object store at once; some stores' own default is 50 MiB."""

# What a store tells of a file that changes with its content.
_VERSION = ("ETag", "etag", "content_md5", "md5Hash", "generation", "mtime", "LastModified", "last_modified")


class FoundFile(NamedTuple):
    """A file to load.

    :param path: where it is.
    :param version: what changes when the file does, as far as its store tells.
    """

    path: ObjectStoragePath
    version: str

    @property
    def name(self) -> str:
        """Its path or URL, as errors call it."""
        return str(self.path)

    @contextmanager
    def open(self, *, in_order: bool = True) -> Iterator[BinaryIO]:
        """Open it for reading bytes.

        :param in_order: it is read from its start to its end, so that more than is asked for is fetched at once; else
            each read would fetch a block anew, and Parquet reads its columns by turns.

        :raises ReadError: when it cannot be opened, or read while it is open.
        """
        # Not the path's own open(), whose file tells Airflow's lineage of each read.
        options = {"block_size": BLOCK} if in_order else {"cache_type": "none"}
        with storage_errors(self.name), self.path.fs.open(self.path.path, "rb", **options) as file:
            yield file


def to_path(path: str | ObjectStoragePath) -> ObjectStoragePath:
    """Return a path or URL as an object.

    :param path: a path or URL, with the ID of a connection if it needs one.
    """
    return path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(path)


def find_files(paths: Iterable[str | ObjectStoragePath]) -> list[FoundFile]:
    """Find the files that paths, URLs and globs name.

    :param paths: a glob is a path with ``*``, ``**``, ``?`` or ``[...]`` that is not itself the name of a file.
    :return: in the order of the paths, and the files of a glob by name; a file that is named twice is there once.
    :raises ReadError: for a folder, a file that is not there, and what a store refuses.
    """
    found: dict[str, FoundFile] = {}
    for each in paths:
        path = to_path(each)
        with storage_errors(str(path)):
            # What the store listed for another task of this process may be old.
            path.fs.invalidate_cache()
            for file in _globbed(path) if _is_glob(path) else [_named(path)]:
                found.setdefault(file.name, file)
    return list(found.values())


def _is_glob(path: ObjectStoragePath) -> bool:
    return bool(_GLOB.search(path.path)) and not path.fs.exists(path.path)


def _globbed(path: ObjectStoragePath) -> list[FoundFile]:
    infos = path.fs.glob(path.path, detail=True)
    whole = str(path)
    before = whole[: whole.rindex(path.path)] if path.path in whole else f"{path.protocol}://"
    return [
        FoundFile(ObjectStoragePath(before + name, conn_id=path.conn_id), _version(info))
        for name, info in sorted(infos.items())
        if info["type"] == "file"
    ]


def _named(path: ObjectStoragePath) -> FoundFile:
    info = path.fs.info(path.path)
    if info["type"] != "file":
        raise ReadError(
            f"path: {path} is a folder; name its files with a glob, such as {str(path).rstrip('/')}/*.jsonl"
        )
    return FoundFile(path, _version(info))


def _version(info: dict[str, Any]) -> str:
    return repr([info.get("size"), *(str(info[name]) for name in _VERSION if name in info)])


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turn what a store raises into a :class:`ReadError`.

    :param name: of the file or the path.
    """
    try:
        yield
    except FileNotFoundError:
        raise ReadError(f"path: there is no file {name}; check the path, and the bucket or the folder in it") from None
    except PermissionError:
        raise ReadError(f"path: {name} may not be read; check what the connection, or this user, is allowed") from None
    except OSError as error:
        raise ReadError(f"path: {name} cannot be read ({type(error).__name__}: {error})", transient=True) from error
