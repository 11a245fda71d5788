"""Rows of a SQL query, over a DB-API connection: page by page in the order of a key, or as one result."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow_provider_cm.api.errors import ConfigurationError, printable
from airflow_provider_cm.loading.readers.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ends of a statement that gives at most {n} rows, by the type of the connection. All others know LIMIT.
_LIMITS = {
    "mssql": "OFFSET 0 ROWS FETCH NEXT {n} ROWS ONLY",
    "oracle": "FETCH FIRST {n} ROWS ONLY",
}

# Drivers whose ordinary cursor reads the whole result into memory before it gives the first row.
_BUFFERING = ("MySQLdb", "mysql", "pg8000", "psycopg", "psycopg2", "pymysql", "redshift_connector")

# Errors whose text is about the statement or the connection, and not about a value of a row.
_SPEAKABLE = ("OperationalError", "InterfaceError", "ProgrammingError")


def buffering_driver(connection: object) -> str | None:
    """Return the name of a connection's driver if it is known to read whole results into memory, ``None`` otherwise."""
    driver = type(connection).__module__.partition(".")[0]
    return driver if driver in _BUFFERING else None


@dataclass(frozen=True, slots=True)
class Query:
    """A query over an open connection.

    :param connection: a DB-API connection; it is not closed.
    :param sql: one SELECT, which may begin with WITH; a semicolon at its end is passed over.
    :param parameters: a list for the placeholders of the statement, or an object where the driver knows names.
    :param placeholder: how the driver marks a parameter: ``%s``, ``?``, or one of its own.
    :param page_size: rows to fetch at once.
    :param dialect: Airflow's type of the connection, for the databases that do not know ``LIMIT``.
    """

    connection: Any
    sql: str
    parameters: Any = None
    placeholder: str = "%s"
    page_size: int = 2000
    dialect: str = ""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Run the statement once and give its rows.

        :raises ReadError: when the database or its driver reports an error.
        :raises ConfigurationError: for two columns of one name.
        """
        with closing(self.connection.cursor()) as cursor, database_errors():
            self._execute(cursor, self.sql, self.parameters)
            columns = _columns(cursor)
            while found := cursor.fetchmany(self.page_size):
                for row in found:
                    yield dict(zip(columns, row, strict=True))

    def pages(self, key: str) -> Iterator[dict[str, Any]]:
        """Return the rows in the order of a key, with one statement for each page.

        Each page begins after the last key of the one before it, so a key that is not unique, or empty, would lose
        rows. So an empty key is looked for first, and each page is read one row further, which the next must begin
        with.

        :param key: name of the column, which must be unique and never NULL.
        :raises ReadError: when the database reports an error, or the key is not unique or NULL.
        :raises ConfigurationError: when the result does not have the column, or has two columns of one name.
        """
        self._check_no_null(key)
        last, expected = None, _NOTHING
        while True:
            columns, found = self._page(key, last)
            position = _position(columns, key)
            keys = [row[position] for row in found]
            self._check_unique(key, keys, last, expected)
            more = len(found) > self.page_size
            if more:
                last, expected = _Last(keys[self.page_size - 1]), keys[self.page_size]
                found.pop()
            # Rows are dropped as they are given, so that memory never holds two pages.
            found.reverse()
            while found:
                yield dict(zip(columns, found.pop(), strict=True))
            if not more:
                return

    def _page(self, key: str, last: _Last | None) -> tuple[list[str], list[Any]]:
        after = f"WHERE {key} > {self.placeholder}" if last else ""
        return self._ask("*", f"{after} ORDER BY {key} {self._limit(self.page_size + 1)}", last)

    def _check_no_null(self, key: str) -> None:
        # ORDER BY, since OFFSET needs it.
        if self._ask(key, f"WHERE {key} IS NULL ORDER BY {key} {self._limit(1)}")[1]:
            raise ReadError(
                f"key: the column {key} is NULL in a row, which paging would lose; exclude such rows in the "
                "statement, or give another key"
            )

    def _check_unique(self, key: str, keys: list[Any], last: _Last | None, expected: Any) -> None:
        twice = any(one == another for one, another in pairwise(keys))
        if not twice and last is not None and (not keys or keys[0] != expected):
            # The expected row was deleted, another one came before it, or the database takes its key for the last
            # one's: "a" and "A" are equal in some collations.
            twice = self._count(key, last) > 1
            if not twice and expected not in keys and self._count(key, _Last(expected)):
                raise ReadError(
                    f"key: paging lost a row, since the driver rounds or changes values of the column {key} when they "
                    "are sent back to the database; give a column of integers or texts"
                )
        if twice:
            raise ReadError(
                f"key: two rows have the same value in the column {key}, and paging could lose one of them; give a "
                "column whose values are unique to the database, such as the primary key"
            )

    def _count(self, key: str, value: _Last) -> int:
        return len(self._ask(key, f"WHERE {key} = {self.placeholder}", value)[1])

    def _limit(self, count: int) -> str:
        return _LIMITS.get(self.dialect, "LIMIT {n}").format(n=count)

    def _ask(self, what: str, rest: str, last: _Last | None = None) -> tuple[list[str], list[Any]]:
        """Select from the query's result; give the names of the columns, and the rows."""
        sql, parameters = self.sql.strip().rstrip(";").rstrip(), self.parameters
        if last is not None:
            if not parameters and "%" in self.placeholder:
                # A statement without parameters is run as it is, and one with them has its percent signs doubled.
                sql = sql.replace("%", "%%")
            parameters = [*(parameters or ()), last.key]
        # The line break ends a comment that the query may end in.
        statement = f"SELECT {what} FROM ({sql}\n) page_of_rows {rest}"  # noqa: S608  # the key's name is checked
        with closing(self.connection.cursor()) as cursor, database_errors():
            self._execute(cursor, statement, parameters)
            return _columns(cursor), list(cursor.fetchall())

    @staticmethod
    def _execute(cursor: Any, sql: str, parameters: Any) -> None:
        if parameters:
            cursor.execute(sql, parameters if isinstance(parameters, dict) else tuple(parameters))
        else:
            cursor.execute(sql)


@dataclass(frozen=True, slots=True)
class _Last:
    """The key of the last row of a page."""

    key: Any


_NOTHING = object()


def _columns(cursor: Any) -> list[str]:
    if cursor.description is None:
        raise ConfigurationError("sql: the statement gives no rows; give a SELECT")
    columns = [each[0] for each in cursor.description]
    if twice := sorted({each for each in columns if columns.count(each) > 1}):
        raise ConfigurationError(
            f"sql: two columns of the result have the name {twice[0]!r}; name each of them apart with AS"
        )
    return columns


def _position(columns: list[str], key: str) -> int:
    """Find the key's column; a name without quotes is in capitals or small letters as the database likes it."""
    plain = key.strip('"`[]')
    exact = [number for number, column in enumerate(columns) if column == plain]
    alike = [number for number, column in enumerate(columns) if column.lower() == plain.lower()]
    if not (found := exact or alike):
        raise ConfigurationError(f"key: the result has no column {key}; its columns are {', '.join(columns)}")
    return found[0]


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what a driver raises into a :class:`ReadError`, without what the database may have quoted of a row."""
    try:
        yield
    except Exception as error:
        names = [each.__name__ for each in type(error).__mro__]
        # Each driver has its own classes; the DB-API gives them these names.
        if "Error" not in names:
            raise
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        shown = type(error).__name__ + (f", SQLSTATE {state}" if state else "")
        if any(each in _SPEAKABLE for each in names):
            shown += f": {printable(str(error).strip().partition(chr(10))[0], 300)}"
        transient = not any(each in ("ProgrammingError", "DataError", "NotSupportedError") for each in names)
        raise ReadError(f"sql: the database reports an error ({shown})", transient=transient) from None
