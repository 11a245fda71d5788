"""The base of all operators: the connection, and the settings of it that one task may override."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.task import CommsMiningTask

if TYPE_CHECKING:
    from airflow_provider_cm.task import Parsers


class CommsMiningOperator(CommsMiningTask, BaseOperator):
    """An operator with a connection to Communications Mining.

    :param comms_mining_conn_id: the connection. (templated)
    :param request_timeout: seconds without a byte after which a request of this task has failed; the connection's
        ``read_timeout`` by default. (templated)
    :param max_attempts: how often this task tries each call; the connection's ``max_attempts`` by default. (templated)
    """

    parsers: ClassVar[Parsers] = {
        "comms_mining_conn_id": arguments.filled_text,
        "request_timeout": arguments.seconds,
        "max_attempts": partial(arguments.integer, minimum=1),
    }

    def __init__(
        self,
        *,
        comms_mining_conn_id: str = "comms_mining_default",
        request_timeout: float | str | NotGiven = NOT_GIVEN,
        max_attempts: int | str | NotGiven = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.comms_mining_conn_id = comms_mining_conn_id
        self.request_timeout = request_timeout
        self.max_attempts = max_attempts

    def hook_options(self) -> dict[str, Any]:
        """Return the settings of the connection that this task overrides."""
        return {name: self.argument(name) for name in ("request_timeout", "max_attempts") if self.is_given(name)}
