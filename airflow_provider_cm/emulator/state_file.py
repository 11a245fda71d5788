"""The state file: tenants, projects, buckets and sources, kept across restarts; messages in a database next to it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

# pydantic reads these annotations when the classes below are made.
from airflow_provider_cm.emulator.dataset_records import StoredDataset  # noqa: TC001
from airflow_provider_cm.emulator.records import StoredBucket, StoredProject, StoredSource, StoredUser  # noqa: TC001
from airflow_provider_cm.emulator.settings import explain

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_cm.emulator.state import State


class _KeptTenant(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str
    projects: list[StoredProject]
    buckets: list[StoredBucket]
    sources: list[StoredSource]
    users: list[StoredUser] = []
    datasets: list[StoredDataset] = []


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    tenants: list[_KeptTenant]


class StateFile:
    """
    A JSON file that is replaced whole after every write.

    The replacement is atomic, so a killed emulator leaves the state before or after a write, never half of one,
    and a write is answered only after the file holds it. Nothing is forced to the disk: a power failure may
    lose the latest writes. Tokens, settings and the record of requests are not kept.

    :param path: where it is; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def messages(self) -> Path:
        """Where the messages are: in a database next to the file."""
        return self.path.with_name(f"{self.path.name}.messages")

    def keep(self, state: State) -> None:
        """
        Load what the file holds in place of what the state began with, and keep the state from now on.

        :raises ValueError: the file is no state file.
        :raises OSError: it can't be read or written.
        """
        if self.path.exists():
            self._load(state)
        else:
            self.messages.unlink(missing_ok=True)
        self._save(state)
        state.keep_messages(self.messages)
        state.on_change = lambda: self._save(state)

    def _load(self, state: State) -> None:
        try:
            document = _Document.model_validate_json(self.path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{self.path} is not a state file of the emulator: {explain(error)}") from None
        with state.lock:
            state.tenants.clear()
            for saved in document.tenants:
                state.add_tenant(saved.path).load(
                    saved.projects, saved.buckets, saved.sources, saved.users, saved.datasets
                )

    def _save(self, state: State) -> None:
        with state.lock:
            document = _Document(
                version=1,
                tenants=[
                    _KeptTenant(
                        path=tenant.path,
                        projects=list(tenant.projects.values()),
                        buckets=list(tenant.buckets.values()),
                        sources=list(tenant.sources.values()),
                        users=list(tenant.users.values()),
                        datasets=list(tenant.datasets.by_id.values()),
                    )
                    for tenant in state.tenants.values()
                ],
            )
            # Next to the file, since a replacement is atomic only within one file system.
            draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
            draft.write_text(json.dumps(document.model_dump(mode="json")), encoding="ascii")
            draft.replace(self.path)
