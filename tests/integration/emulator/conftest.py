"""A small client that decides nothing: it sends what a test says and gives back what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_cm.emulator import EmulatorServer


class Caller:
    """Sends requests to one base URL with one token."""

    def __init__(self, base: str, token: str | None = "emulator-admin") -> None:
        self.base = base
        self.session = requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(
        self, method: str, path: str, json: object = None, *, json_text: str | None = None, **more: Any
    ) -> requests.Response:
        if json_text is not None:
            more |= {"data": json_text.encode(), "headers": {"Content-Type": "application/json"}}
        return self.session.request(method, self.base + path, json=json, timeout=10, **more)

    def create(self, name: str = "inbox", project: str = "acme-dev", **fields: object) -> dict[str, Any]:
        answer = self("PUT", f"/api/v1/sources/{project}/{name}", {"source": fields})
        assert answer.status_code == 200, answer.text
        source: dict[str, Any] = answer.json()["source"]
        return source

    def update(self, name: str = "inbox", project: str = "acme-dev", **fields: object) -> requests.Response:
        return self("POST", f"/api/v1/sources/{project}/{name}", {"source": fields})


@pytest.fixture
def api(comms_mining_emulator: EmulatorServer) -> Iterator[Caller]:
    """Yield a caller of the tenant at the root, with an admin's token."""
    caller = Caller(comms_mining_emulator.url)
    with caller.session:
        yield caller
