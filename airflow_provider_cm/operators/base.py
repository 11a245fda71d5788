"""What all operators share: a connection, and the hook made from it when the task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook


class CommsMiningOperator(BaseOperator):
    """An operator with a connection to Communications Mining.

    :param comms_mining_conn_id: the connection, ``comms_mining_default`` by default.
    """

    def __init__(self, *, comms_mining_conn_id: str = "comms_mining_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.comms_mining_conn_id = comms_mining_conn_id

    @property
    def hook(self) -> CommsMiningHook:
        """The hook; imported here, since DAG parsing must not pay for what only running tasks need."""
        from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

        return CommsMiningHook(self.comms_mining_conn_id)
