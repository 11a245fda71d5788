"""Reads the current state of a project, as far as a plan needs it."""

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
    """List a project, and read by id the sources of the manifest whose managed fields the list does not show.

    :param manifest: names the sources and fields to read.
    :param sources: the tenant.
    :param max_workers: the number of concurrent reads by id.
    :raises NotFoundError: when there is no such project, or it is not visible.
    :raises CommsMiningError: when a read fails for another reason.
    """
    fields = {wanted.name: tuple(wanted.fields) for wanted in manifest.wanted()}
    return completed(sources, sources.list(manifest.project), fields, max_workers=max_workers)


def completed(
    sources: SourcesApi, listed: Iterable[Source], fields: Mapping[str, Iterable[str]], *, max_workers: int
) -> list[Source]:
    """Read by id the fields that a list does not show.

    :param sources: the tenant.
    :param listed: the sources of one project.
    :param fields: the fields that are needed, by the name of the source.
    :param max_workers: the number of concurrent reads.
    :return: the sources, without those that were deleted meanwhile.
    """
    known = list(listed)
    lacking = [
        number
        for number, source in enumerate(known)
        if not all(source.knows(field) for field in fields.get(source.name, ()))
    ]

    def read(number: int) -> Source | None:
        listed = known[number]
        try:
            fuller = sources.get_by_id(listed.id)
        except NotFoundError:
            return None
        # A field is known if either of the two shows it.
        return Source.parse({**listed.raw, **fuller.raw})

    fuller = dict(zip(lacking, in_parallel(sources, read, lacking, max_workers), strict=True))
    whole = (fuller.get(number, source) for number, source in enumerate(known))
    return [source for source in whole if source is not None]


def in_parallel(sources: SourcesApi, read: Callable[[int], T], numbers: list[int], max_workers: int) -> list[T]:
    """Read concurrently; the first error ends it.

    :param sources: the tenant, whose connections are closed afterwards.
    :param read: reads one item.
    :param numbers: the items.
    :param max_workers: the number of concurrent reads.
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
