"""What the tests of waiting share: waits that a run's conf describes, and the polls that the server has seen."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.e2e.conftest import TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_cm.emulator import EmulatorServer
    from airflow_provider_cm.emulator.request_log import RecordedRequest
    from tests.e2e.conftest import RealAirflow

# Airflow fails a task that resumes before its scheduler has noted that the worker let go of it.
LET_GO_SECONDS = 4


def polls(emulator: EmulatorServer, project: str) -> list[RecordedRequest]:
    """Give all requests about a project's sources; where an empty listing is in doubt, a poll reads one by name."""
    path = f"{TENANT}/api/v1/sources/{project}"
    return [each for each in emulator.requests if each.path == path or each.path.startswith(f"{path}/")]


def listings(emulator: EmulatorServer, project: str) -> list[RecordedRequest]:
    return [each for each in polls(emulator, project) if each.path.endswith(f"/sources/{project}")]


@contextlib.contextmanager
def standing_still(airflow: RealAirflow, triggerer: str = "triggerer") -> Iterator[None]:
    """Stop the process that gives a triggerer its triggers; the one that runs them goes on with those it has."""
    process = airflow.process(triggerer)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@dataclass
class Waits:
    """A run with some waits.

    :param airflow: where.
    :param run: its id.
    :param names: the sources that are waited for.
    """

    airflow: RealAirflow
    run: str
    names: Sequence[str]

    @classmethod
    def begin(
        cls, airflow: RealAirflow, project: str, names: Sequence[str], *more: dict[str, Any], **all_: Any
    ) -> Waits:
        """Begin to wait for sources.

        :param more: arguments for the first, the second and so on.
        :param all_: arguments for all.
        """
        common = {"project": project, "poke_interval": 2, "timeout": 400} | all_
        padded = [*more, *({} for _ in names[len(more) :])]
        waits = [common | {"source_name": name} | own for name, own in zip(names, padded, strict=True)]
        return cls(airflow, airflow.start_run("waits", {"waits": waits}), names)

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Give each wait's task, by the name of the source."""
        found = self.airflow.tasks("waits", self.run)
        return {self.names[task["map_index"]]: task for task in found if task["map_index"] >= 0}

    def states(self) -> dict[str, str | None]:
        return {name: task["state"] for name, task in self.tasks().items()}

    def all_deferred(self) -> bool:
        return self.airflow.count("waits", self.run, "deferred") == len(self.names)

    def wait_for(self, state: str, names: Sequence[str] | None = None, seconds: float = 60) -> None:
        """Wait until those are in this state."""
        wanted = set(self.names if names is None else names)

        def there() -> bool:
            states = self.states()
            return all(states.get(name) == state for name in wanted)

        try:
            self.airflow.wait_for(there, seconds)
        except AssertionError as error:
            raise AssertionError(f"expected {state}, found {self.states()}: {error}") from None

    def returned(self, name: str) -> Any:
        return self.airflow.returned("waits", self.run, "wait", self.names.index(name))

    def path(self, name: str) -> str:
        return f"/api/v2/dags/waits/dagRuns/{self.run}/taskInstances/wait/{self.names.index(name)}"

    def log(self, name: str) -> str:
        path = f"/api/v2/dags/waits/dagRuns/{self.run}/taskInstances/wait/logs/1"
        return str(self.airflow.call("GET", path, params={"map_index": self.names.index(name), "full_content": True}))

    def seconds(self, name: str) -> float:
        task = self.tasks()[name]
        return self.airflow.seconds_between(task["start_date"], task["end_date"])


def ended_at(task: dict[str, Any]) -> float:
    return datetime.fromisoformat(task["end_date"]).timestamp()
