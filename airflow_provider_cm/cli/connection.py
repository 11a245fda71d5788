"""The connection of a command, and the client made from it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.cli.output import silenced

if TYPE_CHECKING:
    from airflow_provider_cm.api.sources import SourcesApi
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.connection_settings import ConnectionLike


def find_connection(conn_id: str) -> ConnectionLike:
    """Look a connection up as Airflow's own server-side commands do; a command is not a task.

    :param conn_id: id of the connection.
    :raises ConfigurationError: if it does not exist or cannot be read.
    """
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException
    from airflow.providers_manager import ProvidersManager
    from cryptography.fernet import InvalidToken

    # The secrets backend may be one of a provider that has settings of its own.
    ProvidersManager().initialize_providers_configuration()
    before = os.environ.get("_AIRFLOW_PROCESS_CONTEXT")
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    try:
        # Airflow warns of the '_' in the connection's type each time that it reads one; users cannot change that.
        with silenced():
            connection: ConnectionLike = Connection.get_connection_from_secrets(conn_id)
            _ = (connection.password, connection.extra)  # decrypted when read
    except AirflowNotFoundException:
        problem = (
            f"it was not found in the environment (AIRFLOW_CONN_{conn_id.upper()}), a secrets backend or the metadata "
            "database, or it cannot be read there; `airflow connections list` shows those of the database"
        )
    except InvalidToken:
        problem = "it cannot be decrypted; set the `fernet_key` that it was stored with"
    except AirflowException as error:
        problem = printable(str(error))
    else:
        return connection
    finally:
        if before is None:
            del os.environ["_AIRFLOW_PROCESS_CONTEXT"]
        else:
            os.environ["_AIRFLOW_PROCESS_CONTEXT"] = before
    raise ConfigurationError(f"connection '{printable(conn_id)}': {problem}")


def make_hook(connection: ConnectionLike, max_attempts: int | None = None) -> CommsMiningHook:
    """Make a hook.

    :param connection: from :func:`find_connection`.
    :param max_attempts: how often each call is tried; the connection's own setting by default.
    """
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    return CommsMiningHook.from_connection(connection, max_attempts=max_attempts)


def sources_of(conn_id: str) -> SourcesApi:
    """Make a client for the sources of a connection's tenant.

    :param conn_id: id of the connection.
    """
    return make_hook(find_connection(conn_id)).sources
