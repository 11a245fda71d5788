"""What the tests of rollouts share: a tenant of a real emulator, in both shapes, and short ways to a plan."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api import ApiSession, DeveloperToken, RetryPolicy, Source, SourcesApi
from airflow_provider_cm.rollout import Manifest, Plan, observe, plan

if TYPE_CHECKING:
    from airflow_provider_cm.emulator import EmulatorServer, TenantHandle

PROJECT = "acme-dev"
TENANT = "/acme/dev/reinfer_"
TARGET = "https://cloud.uipath.com/acme/dev/reinfer_"
# Nobody waits out the seconds before a second look.
POLICY = RetryPolicy(
    max_attempts=3, max_seconds=20, base=0.001, cap=0.002, sleep=lambda seconds: time.sleep(min(seconds, 0.02))
)


def manifest(*sources: dict[str, Any], **more: Any) -> Manifest:
    return Manifest.parse({"project": PROJECT, "sources": list(sources), **more})


def source(name: str, **fields: Any) -> Source:
    """Make a source as a full listing shows it."""
    shown = {
        "id": f"{abs(hash(name)) % 16**16:016x}",
        "owner": PROJECT,
        "name": name,
        "title": "",
        "description": "",
        "language": "en",
        "should_translate": False,
        "sensitive_properties": [],
        "_kind": "unknown",
        "email_transform_tag": None,
    }
    return Source.parse({**shown, **fields})


@dataclass
class World:
    """A tenant, and its API as a client sees it."""

    server: EmulatorServer
    tenant: TenantHandle
    api: SourcesApi

    def sent(self) -> list[str]:
        """Tell the requests since it was last asked, such as ``GET sources/acme-dev``."""
        requests = self.server.requests
        self.server.clear_requests()
        return [f"{each.method} {each.path.partition('/api/v1/')[2]}" for each in requests]

    def plan(self, wanted: Manifest, **options: Any) -> Plan:
        return plan(wanted, observe(wanted, self.api), target=self.api.session.endpoint, **options)

    def held(self, name: str) -> dict[str, Any]:
        found = self.tenant.source(PROJECT, name)
        assert found is not None, f"there is no source {name}"
        return found

    def names(self) -> set[str]:
        return {each["name"] for each in self.tenant.sources()}


def make_world(server: EmulatorServer, policy: RetryPolicy = POLICY, token: str = "emulator-admin") -> World:
    tenant = server.tenant(TENANT)
    session = ApiSession(tenant.endpoint, DeveloperToken(token), retry=policy)
    return World(server, tenant, SourcesApi(session))
