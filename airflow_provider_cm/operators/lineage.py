"""What a load tells OpenLineage: the tables or files that were read, the source that was written, and how many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet
from airflow.providers.openlineage.extractors import OperatorLineage

if TYPE_CHECKING:
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.loading import LoadReport


def source_dataset(hook: CommsMiningHook, report: LoadReport) -> OutputDataset:
    """Name a source as OpenLineage does.

    :param hook: of the tenant.
    :param report: of the load.
    :return: namespace ``comms-mining://<host>/<path of the endpoint>``, name ``<project>/<source>``; both together are
        the URI of the source's Airflow asset.
    """
    endpoint = urlsplit(hook.get_conn().endpoint)
    return OutputDataset(
        namespace=f"comms-mining://{endpoint.netloc}{endpoint.path}".rstrip("/"),
        name=f"{report.project}/{report.source_name}",
        outputFacets={
            "outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=report.sent, size=report.bytes),
        },
    )


def load_lineage(hook: CommsMiningHook, inputs: list[Any], report: LoadReport | None) -> OperatorLineage[Any, Any]:
    """Give the lineage of a load.

    :param hook: of the tenant.
    :param inputs: OpenLineage datasets that were read.
    :param report: of the load; ``None`` or a dry run's if nothing was written.
    """
    outputs = [] if report is None or report.dry_run else [source_dataset(hook, report)]
    return OperatorLineage(inputs=inputs, outputs=outputs)
