"""From a database into a source."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cm.api import arguments
from airflow_provider_cm.api.arguments import NOT_GIVEN, NotGiven
from airflow_provider_cm.api.errors import ConfigurationError
from airflow_provider_cm.loading.readers.sql_key import check_key
from airflow_provider_cm.operators.loading import BaseLoadOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_cm.loading.readers.sql import Query


def _parameters(value: object, field: str) -> list[Any] | dict[str, Any]:
    value = arguments.given(value, field)
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        return list(value)
    raise ConfigurationError(
        f"{field}: it is neither a list nor an object; give the values of the statement's placeholders in their order"
    )


def _hook_params(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{field}: it is not an object; give the arguments of the hook by their names")
    return value


class SqlToCommsMiningOperator(BaseLoadOperator):
    """Load the rows of a SQL query into a source.

    It works with every database whose Airflow hook is a ``DbApiHook``; install that database's provider.

    With ``key`` the rows are read page by page, in the order of that column: one statement a page, whatever the driver.
    Without it the statement runs once, and many drivers then hold the whole result in memory. The other arguments are
    those of every load: :class:`~airflow_provider_cm.operators.loading.BaseLoadOperator`.

    :param sql: one SELECT, or the path of a ``.sql`` file; with ``key`` it needs no ORDER BY. (templated)
    :param sql_conn_id: the connection of the database. (templated)
    :param parameters: values of the statement's placeholders: a list, or an object where the driver knows names, which
        does not go with ``key``; none by default. (templated)
    :param key: column of the result to page by; it must be unique and never NULL, and should be indexed, such as
        the primary key. None by default. (templated)
    :param page_size: rows to fetch at once, 2000 by default; 5000 rows of 1 KiB take 30 MiB more. (templated)
    :param hook_params: more arguments of the database's hook, such as ``{"database": "crm"}``; none by default.
        (templated)
    :return: the report of the load as a dict.
    """

    template_ext: Sequence[str] = (*BaseLoadOperator.template_ext, ".sql")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **BaseLoadOperator.template_fields_renderers,
        "sql": "sql",
        "parameters": "json",
        "hook_params": "json",
    }
    file_fields: ClassVar[Sequence[str]] = (*BaseLoadOperator.file_fields, "sql")
    parsers: ClassVar[Mapping[str, Any]] = {
        **BaseLoadOperator.parsers,
        "sql": arguments.filled_text,
        "sql_conn_id": arguments.filled_text,
        "parameters": _parameters,
        "key": check_key,
        "page_size": partial(arguments.integer, minimum=1),
        "hook_params": _hook_params,
    }
    template_fields: Sequence[str] = tuple(parsers)

    def __init__(
        self,
        *,
        sql: str,
        sql_conn_id: str,
        parameters: Sequence[Any] | Mapping[str, Any] | NotGiven = NOT_GIVEN,
        key: str | NotGiven = NOT_GIVEN,
        page_size: int | str = 2000,
        hook_params: Mapping[str, Any] | NotGiven = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.key = key
        self.page_size = page_size
        self.hook_params = hook_params
        self.check_literals()

    def check_together(self) -> None:
        """Judge the arguments whose values are known."""
        super().check_together()
        if self.is_given("key") and isinstance(self.parameters, dict):
            raise ConfigurationError(
                "parameters: an object does not go with key=, which adds a placeholder by position; give a list"
            )

    def rows(self, context: Any) -> Iterator[Mapping[str, Any]]:
        """Return the query's rows."""
        from airflow_provider_cm.loading.readers.sql import Query, database_errors

        self.check_together()
        hook = self._sql_hook()
        with database_errors():
            connection = hook.get_conn()
        with closing(connection):
            if hook.supports_autocommit:
                # Else a transaction stays open for as long as the load takes.
                hook.set_autocommit(connection, True)
            query = Query(
                connection,
                self.argument("sql"),
                parameters=self.argument("parameters"),
                placeholder=hook.placeholder,
                page_size=self.argument("page_size"),
                dialect=hook.conn_type,
            )
            yield from self._read(query)

    def _read(self, query: Query) -> Iterator[Mapping[str, Any]]:
        if (key := self.argument("key")) is not None:
            return query.pages(key)
        from airflow_provider_cm.loading.readers.sql import buffering_driver

        driver = buffering_driver(query.connection)
        if driver is None:
            self.log.info("No key= is given: some drivers hold the whole result in memory; key= reads page by page")
        else:
            self.log.warning(
                "The driver %s holds the whole result in memory; give key=, the name of a unique column, to read page "
                "by page",
                driver,
            )
        return query.rows()

    def _sql_hook(self) -> Any:
        from airflow.providers.common.compat.sdk import BaseHook

        try:
            from airflow.providers.common.sql.hooks.sql import DbApiHook
        except ImportError as error:
            raise ConfigurationError(
                "sql_conn_id: databases need the common-sql provider; install it with: "
                "pip install 'airflow-provider-cm[sql]'"
            ) from error
        conn_id = self.argument("sql_conn_id")
        hook = BaseHook.get_hook(conn_id, hook_params=self.argument("hook_params"))
        if not isinstance(hook, DbApiHook):
            raise ConfigurationError(
                f"sql_conn_id: {arguments.excerpt(conn_id)} is not a connection to a SQL database: its hook is a "
                f"{type(hook).__name__}"
            )
        return hook

    def origin(self, context: Any) -> str:
        """Name the connection, the statement and what its rows depend on."""
        parts = (self.sql_conn_id, self.sql, self.argument("parameters"), self.argument("key"))
        return repr((*parts, self.argument("hook_params")))

    def lineage_inputs(self) -> list[Any]:
        """Return the tables that the statement reads, where the database's hook tells OpenLineage its name."""
        from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql

        conn_id = self.argument("sql_conn_id")
        found = get_openlineage_facets_with_sql(self._sql_hook(), self.argument("sql"), conn_id, None)
        return list(found.inputs) if found else []
