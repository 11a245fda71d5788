"""The quotas of a tenant: those that a setting limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cm.emulator.operations import OperationCall, operation
from airflow_provider_cm.emulator.responses import ok

if TYPE_CHECKING:
    from starlette.responses import Response


@operation("getTenantQuota")
def list_quotas(call: OperationCall) -> Response:
    """List the quotas with a limit, and how much of each is used."""
    tenant, settings = call.tenant, call.settings
    memberships = [set(dataset.source_ids) for dataset in tenant.datasets.by_id.values()]
    limits = {
        "comments": (settings.message_quota, call.state.messages.count_tenant(tenant.path)),
        "sources": (settings.source_quota, len(tenant.sources)),
        "sources_per_dataset": (settings.max_sources_per_dataset, max(map(len, memberships), default=0)),
        "datasets_per_source": (
            settings.max_datasets_per_source,
            max((sum(each in held for held in memberships) for each in tenant.sources), default=0),
        ),
    }
    return ok(
        quotas=[
            {"quota_kind": kind, "hard_limit": limit, "current_max_usage": used}
            for kind, (limit, used) in limits.items()
            if limit is not None
        ]
    )
