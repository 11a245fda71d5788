"""OpenLineage: the datasets that sources are.

Imported only when Airflow's OpenLineage provider asks a task for its lineage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.openlineage.facet import (
    Dataset,
    LifecycleStateChange,
    LifecycleStateChangeDatasetFacet,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage

from airflow_provider_cm.assets import SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_cm.loading import LoadReport


def source_dataset(endpoint: str, project: str, source_name: str, change: str = "") -> Dataset:
    """Describe a source as OpenLineage does.

    :param endpoint: the tenant's API endpoint.
    :param project: the project.
    :param source_name: the source's name.
    :param change: ``CREATE``, ``ALTER`` or ``DROP``; empty for none.
    :return: namespace ``comms-mining://<host>/<path of the endpoint>`` and name ``<project>/<source>``. Joined by a
        slash, they are the URI of the source's Airflow asset.
    """
    parts = urlsplit(endpoint)
    facets: dict[str, Any] = {}
    if change:
        facets["lifecycleStateChange"] = LifecycleStateChangeDatasetFacet(
            lifecycleStateChange=LifecycleStateChange[change]
        )
    namespace = f"{SCHEME}://{parts.netloc}{parts.path}".rstrip("/")
    return Dataset(namespace=namespace, name=f"{project}/{source_name}", facets=facets)


def operator_lineage(
    endpoint: str, read: Iterable[tuple[str, str]], written: Iterable[tuple[str, str, str]]
) -> OperatorLineage[Any, Any]:
    """Describe what a task has read and written.

    :param endpoint: the tenant's API endpoint.
    :param read: project and name of each source that was read.
    :param written: project, name and change of each source that was written.
    """
    return OperatorLineage(
        inputs=[source_dataset(endpoint, *each) for each in read],
        outputs=[source_dataset(endpoint, *each) for each in written],
    )


def load_lineage(endpoint: str, inputs: list[Any], report: LoadReport | None) -> OperatorLineage[Any, Any]:
    """Describe a load.

    :param endpoint: the tenant's API endpoint.
    :param inputs: OpenLineage datasets that were read.
    :param report: the report of the load; ``None`` or a dry run's if nothing was written.
    :return: the inputs, and the source with the number of messages and their bytes.
    """
    if report is None or report.dry_run:
        return OperatorLineage(inputs=inputs)
    source = source_dataset(endpoint, report.project, report.source_name)
    statistics = OutputStatisticsOutputDatasetFacet(rowCount=report.sent, size=report.bytes)
    output = OutputDataset(namespace=source.namespace, name=source.name, outputFacets={"outputStatistics": statistics})
    return OperatorLineage(inputs=inputs, outputs=[output])
