"""Reads what a plan needs to know of a project, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from airflow_provider_cm.api.errors import NotFoundError
from airflow_provider_cm.api.models import Source
from airflow_provider_cm.rollout.worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.rollout.manifest import Manifest

T = TypeVar("T")


def observe(manifest: Manifest, sources: SourcesApi, *, max_workers: int = 8) -> list[Source]:
    """List the project, and read by id those of the manifest's sources whose managed fields the list does not show.

    :param manifest: says which sources and fields matter.
    :param sources: the tenant.
    :param max_workers: how many sources are read by id at once.
    :raises NotFoundError: when there is no such project, or it is not visible.
    :raises CommsMiningError: any other way in which reading can fail.
    """
    fields = {wanted.name: tuple(wanted.fields) for wanted in manifest.wanted()}
    return completed(sources, sources.list(manifest.project), fields, max_workers=max_workers)


def completed(
    sources: SourcesApi, listed: Iterable[Source], fields: Mapping[str, Iterable[str]], *, max_workers: int
) -> list[Source]:
    """Read by id what a list does not show.

    :param sources: the tenant.
    :param listed: the sources of one project.
    :param fields: by a source's name, what has to be known of it.
    :param max_workers: how many are read at once.
    :return: the sources; those that vanished in between are left out.
    """
    found = list(listed)
    lacking = [
        number
        for number, source in enumerate(found)
        if not all(source.knows(field) for field in fields.get(source.name, ()))
    ]

    def read(number: int) -> Source | None:
        listed = found[number]
        try:
            fuller = sources.get_by_id(listed.id)
        except NotFoundError:
            return None
        # What either of the two shows is known.
        return Source.parse({**listed.raw, **fuller.raw})

    fuller = dict(zip(lacking, in_parallel(sources, read, lacking, max_workers), strict=True))
    whole = (fuller.get(number, source) for number, source in enumerate(found))
    return [source for source in whole if source is not None]


def in_parallel(sources: SourcesApi, read: Callable[[int], T], numbers: list[int], max_workers: int) -> list[T]:
    """Make a number of reads side by side; the first error ends it.

    :param sources: the tenant, whose connections are closed afterwards.
    :param read: makes one of them.
    :param numbers: what to read.
    :param max_workers: how many at once.
    """
    results: dict[int, T] = {}
    failures: list[Exception] = []

    def job(number: int) -> None:
        if failures:
            return
        try:
            results[number] = read(number)
        except Exception as error:  # noqa: BLE001  # raised again below, in the caller's thread
            failures.append(error)

    if len(numbers) < 2:
        return [read(number) for number in numbers]
    with WorkerPool(min(max_workers, len(numbers)), sources.session.close) as pool:
        pool.run([lambda number=number: job(number) for number in numbers])  # type: ignore[misc]
    if failures:
        raise failures[0]
    return [results[number] for number in numbers]
