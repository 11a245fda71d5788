"""A second look, where one look does not prove that a source is missing.

A listing shows the exact name, but the server may ignore case in names; and a server with several replicas may not show
a new source yet. So a source that a listing lacks is read by its name before a wait ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_cm.triggers import condition as conditions
from airflow_provider_cm.triggers.poll_client import shared_client
from airflow_provider_cm.triggers.poll_loop import LEAST_SECONDS_OF_A_POLL, moved

if TYPE_CHECKING:
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.triggers.condition import Condition, Look
    from airflow_provider_cm.triggers.poll_loop import Snapshot
    from airflow_provider_cm.triggers.readers import Seen


class SecondLook:
    """Checks the condition of one wait or watcher against snapshots.

    :param condition: the condition.
    :param conn_id: the connection for the second look.
    """

    def __init__(self, condition: Condition, conn_id: str) -> None:
        self._condition = condition
        self._conn_id = conn_id
        self._same: str | None = None  # id of a source that the server returns for our name although its case differs
        self._another: str | None = None  # id of one that the server does not return for our name

    async def __call__(self, snapshot: Snapshot, *, known: tuple[str | None, ...]) -> Look:
        """Check a snapshot, with a second look where it proves nothing.

        :param snapshot: a snapshot of a poll loop.
        :param known: the marks that change nothing. With another mark, a missing source counts only if it is still
            missing some seconds later.
        :raises CommsMiningError: when the second look failed, or showed too little.
        """
        look = self._condition.judge(snapshot.seen, self._same)
        unclear = look.alike is not None and look.alike != self._another
        changes = look.mark not in known
        if not look.missing or not (unclear or changes):
            return look
        if changes:
            await asyncio.sleep(conditions.SECOND_LOOK_AFTER)
        again = self._condition.judge(await self._read(snapshot.endpoint))
        if unclear and again.missing:
            self._another = look.alike
        elif unclear and again.facts is not None and again.facts.get("id") == look.alike:
            self._same = look.alike
        return again

    async def _read(self, endpoint: str) -> Seen:
        def read(hook: CommsMiningHook) -> Seen:
            from airflow_provider_cm.api.sources import SourcesApi

            session = hook.get_conn()
            if session.endpoint != endpoint:
                raise moved(self._conn_id, endpoint, session.endpoint)
            return self._condition.read_alone(SourcesApi(session.within(LEAST_SECONDS_OF_A_POLL)))

        async with shared_client(self._conn_id) as client:
            return await client.call(read, endpoint=endpoint)
