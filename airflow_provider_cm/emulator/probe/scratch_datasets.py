"""The datasets that the probe creates in the scratch project, and deletes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cm.emulator.probe.client import PRIVATE, V1, ProbeClient, ProbeReply, ProbeStoppedError, Query
from airflow_provider_cm.emulator.probe.credentials import DeniedError, TroubleError
from airflow_provider_cm.emulator.probe.unsettled import UnsettledError

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_LOOKS = 3


class ScratchDatasets:
    """
    Creates, uses and deletes datasets, its own only.

    :param client: the way to the API.
    :param project: the scratch project.
    :param new_name: makes up a name that nobody has.
    """

    def __init__(self, client: ProbeClient, project: str, new_name: Callable[[], str]) -> None:
        self._client = client
        self._project = project
        self._new_name = new_name
        # The names that may exist, and those among them whose creation was not answered.
        self._names: list[str] = []
        self._unanswered: set[str] = set()

    def try_create(self, **fields: Any) -> tuple[str, ProbeReply]:
        """Send a create; give the name and the answer."""
        name = self._new_name()
        self._names.append(name)
        self._unanswered.add(name)
        try:
            reply = self.call("PUT", name, body={"dataset": fields})
        except (ProbeStoppedError, UnsettledError):
            # Nothing is in flight.
            self._unanswered.discard(name)
            raise
        self._unanswered.discard(name)
        if 400 <= reply.status < 500:
            self._names.remove(name)
        return name, reply

    def create(self, **fields: Any) -> str:
        """Create a dataset to try something on; give its name."""
        name, reply = self.try_create(**fields)
        if not reply.ok:
            raise UnsettledError(f"a dataset could not be created: {reply}")
        return name

    def call(
        self, method: str, name: str, *path: str, body: object = None, query: Query = (), private: bool = False
    ) -> ProbeReply:
        """
        Send a request about one of its own datasets.

        :raises UnsettledError: the token is refused, as it may be for want of a permission.
        """
        if name not in self._names:
            raise ValueError("that dataset is not the probe's")
        base = f"{PRIVATE if private else V1}/datasets"
        try:
            return self._client.call(method, self._project, name, *path, body=body, query=query, base=base)
        except DeniedError as error:
            raise UnsettledError(f"datasets: {error}") from None

    def tidy(self) -> None:
        """Delete what the last question made; what can't be deleted now is left to :meth:`clean`."""
        for name in [each for each in self._names if each not in self._unanswered]:
            try:
                self._delete(name)
            except (TroubleError, UnsettledError):
                continue

    def clean(self) -> tuple[list[str], list[str]]:
        """
        Delete all that it made.

        :return: the leftovers, and those that may exist.
        """
        left, unsure = [], []
        for name in list(self._names):
            why = ""
            for look in range(_LOOKS):
                self._client.rest(0.3 * look * self._client.backoff)
                try:
                    why = self._delete(name)
                except (TroubleError, UnsettledError) as error:
                    why = str(error)
                if not why:
                    break
            if why:
                left.append(f"{self._project}/{name}: a dataset that can't be deleted: {why}")
            elif name in self._unanswered:
                unsure.append(f"{self._project}/{name}: a dataset whose creation was not answered; it was not there")
        return left, unsure

    def _delete(self, name: str) -> str:
        """Delete a dataset; say why it can't be deleted, nothing if it is gone."""
        reply = self.call("DELETE", name)
        if not reply.ok and reply.status != 404:
            return str(reply)
        if reply.ok:
            self._unanswered.discard(name)
        self._names.remove(name)
        return ""
