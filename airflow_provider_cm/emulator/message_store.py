"""
The messages of all tenants, in one SQLite database.

Without a path it is a temporary database of SQLite's own: in memory while it is small, spilled to the temporary folder
beyond that, and gone with the process. So a million messages take disk, not memory.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cm.emulator.message_records import Bill, StoredMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (
    key INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL, UNIQUE (tenant, id));
CREATE TABLE IF NOT EXISTS messages (
    source INTEGER NOT NULL, id TEXT NOT NULL, timestamp INTEGER NOT NULL, created INTEGER NOT NULL,
    modified INTEGER NOT NULL, thread TEXT, annotated INTEGER NOT NULL DEFAULT 0, content BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS messages_by_id ON messages (source, id);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (source, timestamp, id, created);
CREATE TABLE IF NOT EXISTS files (
    source INTEGER NOT NULL, hash TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (source, hash));
CREATE TABLE IF NOT EXISTS audio (source INTEGER NOT NULL, id TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (source, id));
CREATE TABLE IF NOT EXISTS bills (
    tenant TEXT PRIMARY KEY, created INTEGER NOT NULL, text_changed INTEGER NOT NULL);
"""
_CACHE_KIB = 65536
# SQLite allows 32,766 parameters; a batch may be larger.
_IDS_AT_ONCE = 10_000
_COLUMNS = "id, timestamp, created, modified, thread, annotated, content"


class MessageStore:
    """
    Keeps messages by tenant, source and id.

    Not thread-safe by itself: callers hold the lock of the state that it belongs to.

    :param path: the database; a temporary one if not given.
    :raises OSError: it can't be opened.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            self._db = sqlite3.connect("" if path is None else path, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise OSError(f"{path}: {error}") from None
        # A killed process loses nothing that was answered; a power failure may.
        for pragma in (f"journal_mode={'MEMORY' if path is None else 'WAL'}", "synchronous=OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._db.executescript(_SCHEMA)
        self._keys: dict[tuple[str, str], int] = {
            (tenant, source): key for key, tenant, source in self._db.execute("SELECT key, tenant, id FROM sources")
        }
        self._counts: dict[int, int] = dict.fromkeys(self._keys.values(), 0)
        self._counts.update(self._db.execute("SELECT source, COUNT(*) FROM messages GROUP BY source"))
        self._loaded = {key for key, count in self._counts.items() if count}

    def close(self) -> None:
        """Close the database; a temporary one is gone then."""
        self._db.close()

    def clear(self) -> None:
        """Forget everything."""
        with self._db:
            for table in ("messages", "files", "audio", "bills", "sources"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  the names are the ones above
        self._keys.clear()
        self._counts.clear()
        self._loaded.clear()

    # Messages

    def was_loaded(self, tenant: str, source: str) -> bool:
        """Return whether messages were put into a source since it was created, even if all are gone again."""
        return self._keys.get((tenant, source)) in self._loaded

    def get(self, tenant: str, source: str, ids: Iterable[str]) -> dict[str, StoredMessage]:
        """Return those of the messages that exist, by id."""
        key = self._keys.get((tenant, source))
        requested = list(ids) if key is not None else []
        matches: dict[str, StoredMessage] = {}
        for start in range(0, len(requested), _IDS_AT_ONCE):
            some = requested[start : start + _IDS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT {_COLUMNS} FROM messages WHERE source=? AND id IN ({marks})"  # noqa: S608  marks only
            matches.update((row[0], _message(row)) for row in self._db.execute(query, (key, *some)))
        return matches

    def put(self, tenant: str, source: str, messages: Iterable[StoredMessage], *, bill: Bill) -> None:
        """Keep messages, each in place of the one with its id; and add to the tenant's bill."""
        with self._db:
            key = self._key(tenant, source)
            rows = [
                (key, each.id, each.timestamp, each.created, each.modified, each.thread, each.annotated, each.content)
                for each in messages
            ]
            self._db.executemany(
                "INSERT INTO messages (source, id, timestamp, created, modified, thread, annotated, content)"
                " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (source, id) DO UPDATE SET timestamp=excluded.timestamp,"
                " modified=excluded.modified, thread=excluded.thread, content=excluded.content",
                rows,
            )
            self._db.execute(
                "INSERT INTO bills VALUES (?,?,?) ON CONFLICT (tenant) DO UPDATE SET"
                " created=created+excluded.created, text_changed=text_changed+excluded.text_changed",
                (tenant, bill.created, bill.text_changed),
            )
        self._counts[key] += bill.created
        self._loaded.add(key)

    def delete(self, tenant: str, source: str, ids: Iterable[str]) -> int:
        """Delete those messages of a source that there are; give their number."""
        key = self._keys.get((tenant, source))
        if key is None:
            return 0
        rows = [(key, each) for each in dict.fromkeys(ids)]
        with self._db:
            gone = self._db.executemany("DELETE FROM messages WHERE source=? AND id=?", rows).rowcount
            self._db.executemany("DELETE FROM audio WHERE source=? AND id=?", rows)
        self._counts[key] -= gone
        return gone

    def delete_source(self, tenant: str, source: str) -> None:
        """Forget a source and all that it holds."""
        key = self._keys.pop((tenant, source), None)
        if key is None:
            return
        del self._counts[key]
        self._loaded.discard(key)
        with self._db:
            for table in ("messages", "files", "audio"):
                self._db.execute(f"DELETE FROM {table} WHERE source=?", (key,))  # noqa: S608  the names above
            self._db.execute("DELETE FROM sources WHERE key=?", (key,))

    def keep_only(self, sources: Iterable[tuple[str, str]]) -> None:
        """Forget all sources but those given, as (tenant, id)."""
        for tenant, source in set(self._keys) - set(sources):
            self.delete_source(tenant, source)

    def annotate(self, tenant: str, source: str, message_id: str, *, annotated: bool) -> None:
        """Store whether a message has annotations in a dataset."""
        key = self._keys.get((tenant, source))
        with self._db:
            self._db.execute("UPDATE messages SET annotated=? WHERE source=? AND id=?", (annotated, key, message_id))

    # Reading

    def count(self, tenant: str, source: str) -> int:
        """Count the messages of a source."""
        return self._counts.get(self._keys.get((tenant, source), -1), 0)

    def count_created(self, tenant: str, source: str, until: int) -> int:
        """Count the messages of a source that were there at a time."""
        key = self._keys.get((tenant, source))
        return self._number("SELECT COUNT(*) FROM messages WHERE source=? AND created<=?", key, until)

    def count_tenant(self, tenant: str) -> int:
        """Count the messages of a tenant."""
        return sum(self._counts[key] for (path, _), key in self._keys.items() if path == tenant)

    def scan(
        self,
        tenant: str,
        source: str,
        *,
        least: int | None = None,
        most: int | None = None,
        after: tuple[int, str] | None = None,
        descending: bool = False,
        limit: int = -1,
    ) -> Iterator[StoredMessage]:
        """
        Return the messages of a source in the order of their timestamps, lazily.

        :param least: the earliest timestamp to give.
        :param most: the latest timestamp to give.
        :param after: timestamp and id of the message to go on behind.
        :param limit: how many to give; all if negative.
        """
        key = self._keys.get((tenant, source))
        conditions, values = ["source=?"], [key]
        if least is not None:
            conditions.append("timestamp>=?")
            values.append(least)
        if most is not None:
            conditions.append("timestamp<=?")
            values.append(most)
        if after is not None:
            conditions.append(f"(timestamp, id) {'<' if descending else '>'} (?, ?)")
            values += after  # type: ignore[arg-type]
        order = "DESC" if descending else "ASC"
        query = (
            f"SELECT {_COLUMNS} FROM messages WHERE {' AND '.join(conditions)}"  # noqa: S608  constant texts
            f" ORDER BY timestamp {order}, id {order} LIMIT ?"
        )
        return (_message(row) for row in self._db.execute(query, (*values, limit)))

    def walk(
        self,
        tenant: str,
        source: str,
        *,
        by: Literal["timestamp", "created"],
        least: int | None = None,
        most: int | None = None,
        after: tuple[int, int] | None = None,
        descending: bool = False,
    ) -> Iterator[tuple[tuple[int, int], StoredMessage]]:
        """
        Return the messages of a source in an order that all sources share, lazily.

        :param by: what they are ordered by, and what ``least`` and ``most`` limit.
        :param after: position of the message, of any source, to go on behind.
        :return: each with its position: what it is ordered by, and its number in the order of arrival.
        """
        if by == "created":
            # Made when it is first needed, since loading pays for it.
            self._db.execute("CREATE INDEX IF NOT EXISTS messages_by_creation ON messages (source, created)")
        conditions, values = ["source=?"], [self._keys.get((tenant, source))]
        if after is not None:
            bound = after[0]
            conditions.append(f"({by}, rowid) {'<' if descending else '>'} (?, ?)")
            values += after
            if descending:
                most = bound if most is None else min(most, bound)
            else:
                least = bound if least is None else max(least, bound)
        if least is not None:
            conditions.append(f"{by}>=?")
            values.append(least)
        if most is not None:
            conditions.append(f"{by}<=?")
            values.append(most)
        order = "DESC" if descending else "ASC"
        query = (
            f"SELECT {by}, rowid, {_COLUMNS} FROM messages WHERE {' AND '.join(conditions)}"  # noqa: S608  constants
            f" ORDER BY {by} {order}, rowid {order}"
        )
        return (((row[0], row[1]), _message(row[2:])) for row in self._db.execute(query, values))

    def threads(self, tenant: str, source: str) -> dict[str, list[str]]:
        """Return the ids of the messages of each thread of a source, the earliest first."""
        matches: dict[str, list[str]] = {}
        query = "SELECT thread, id FROM messages WHERE source=? AND thread IS NOT NULL ORDER BY timestamp, id"
        for thread, message_id in self._db.execute(query, (self._keys.get((tenant, source)),)):
            matches.setdefault(thread, []).append(message_id)
        return matches

    def thread(self, tenant: str, source: str, thread: str) -> list[StoredMessage]:
        """Return the messages of one thread, the earliest first."""
        query = f"SELECT {_COLUMNS} FROM messages WHERE source=? AND thread=? ORDER BY timestamp, id"  # noqa: S608
        return [_message(row) for row in self._db.execute(query, (self._keys.get((tenant, source)), thread))]

    # Files

    def put_file(self, tenant: str, source: str, digest: str, content: bytes) -> None:
        """Keep the bytes of an attachment or a recording of a source under their SHA-256."""
        with self._db:
            key = self._key(tenant, source)
            self._db.execute("INSERT OR IGNORE INTO files VALUES (?,?,?)", (key, digest, content))

    def file(self, tenant: str, digest: str) -> bytes | None:
        """Return the file of a tenant's source that has a SHA-256."""
        query = "SELECT content FROM files JOIN sources ON key=source WHERE tenant=? AND hash=? LIMIT 1"
        row = self._db.execute(query, (tenant, digest)).fetchone()
        return None if row is None else bytes(row[0])

    def put_audio(self, tenant: str, source: str, message_id: str, digest: str, content: bytes) -> None:
        """Keep the recording of a message, in place of an earlier one."""
        self.put_file(tenant, source, digest, content)
        with self._db:
            row = (self._key(tenant, source), message_id, digest)
            self._db.execute("INSERT OR REPLACE INTO audio VALUES (?,?,?)", row)

    def audio(self, tenant: str, source: str, message_id: str) -> bytes | None:
        """Return the recording of a message."""
        query = "SELECT content FROM audio JOIN files USING (source, hash) WHERE source=? AND audio.id=?"
        row = self._db.execute(query, (self._keys.get((tenant, source)), message_id)).fetchone()
        return None if row is None else bytes(row[0])

    # Bills

    def bill(self, tenant: str) -> Bill:
        """Return the bill of a tenant so far."""
        row = self._db.execute("SELECT created, text_changed FROM bills WHERE tenant=?", (tenant,)).fetchone()
        return Bill(*row) if row else Bill()

    def clear_bills(self) -> None:
        """Reset all bills."""
        with self._db:
            self._db.execute("DELETE FROM bills")

    def _key(self, tenant: str, source: str) -> int:
        key = self._keys.get((tenant, source))
        if key is None:
            key = self._db.execute("INSERT INTO sources (tenant, id) VALUES (?,?)", (tenant, source)).lastrowid or 0
            self._keys[tenant, source] = key
            self._counts[key] = 0
        return key

    def _number(self, query: str, *values: object) -> int:
        number: int = self._db.execute(query, values).fetchone()[0]
        return number


def _message(row: tuple[Any, ...]) -> StoredMessage:
    message_id, timestamp, created, modified, thread, annotated, content = row
    return StoredMessage(message_id, timestamp, created, modified, thread, bool(annotated), content)
