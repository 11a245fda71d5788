"""One client for each connection that a triggerer polls: one hook, few threads, none of them when nobody polls.

A tenant that stalls holds up its own polls only, since each connection has threads of its own. Polls that are cancelled
while they queue leave the queue; a poll whose request is under way ends with its time.
"""

from __future__ import annotations

import asyncio
import hashlib
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from asgiref.sync import sync_to_async

from airflow_provider_cm.api.errors import CommsMiningError
from airflow_provider_cm.triggers import poll_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook
    from airflow_provider_cm.hooks.connection_settings import ConnectionLike

T = TypeVar("T")

# Polls of one connection at a time. Each thread keeps one network connection, so a tenant holds no more of these.
MOST_POLLS = 8

# Of these, polls that come after one which had to wait for its answer: the others must not wait for them.
MOST_SLOW_POLLS = 4

# A connection is read again after so many seconds, and after each poll that failed: it may lead elsewhere by then.
REREAD_AFTER = 180.0

# Threads of our own: the loop's default ones write Airflow's logs. They make hooks and send nothing.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="comms-mining-connection")


class PollClient:
    """What all polls of one connection share; see :func:`shared_client`.

    :param conn_id: the connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._threads = ThreadPoolExecutor(max_workers=MOST_POLLS, thread_name_prefix="comms-mining-poll")
        self._places = asyncio.Semaphore(MOST_POLLS)
        self._slow_places = asyncio.Semaphore(MOST_SLOW_POLLS)
        self._made: _Made | None = None
        self._reading: asyncio.Task[None] | None = None
        self._good_until = 0.0
        self.users = 0

    async def call(self, work: Callable[[CommsMiningHook], T], *, endpoint: str | None = None, slow: bool = False) -> T:
        """Do some work in a thread, when it is this caller's turn.

        :param work: given the hook; it ends by itself within the time of a poll.
        :param endpoint: where the connection should lead; it is read again before the work if it led elsewhere when it
            was read last. ``None`` for anywhere.
        :param slow: whether the caller's last work took long, ``False`` by default.
        :return: what the work returned.
        :raises CommsMiningError: when the connection could not be read, or from the work.
        """
        async with AsyncExitStack() as places:
            with poll_metrics.queue.one_more():
                if slow:
                    await places.enter_async_context(self._slow_places)
                await places.enter_async_context(self._places)
            await self._read_connection(endpoint)
            # The place is taken until the thread is free again, whether the caller still waits or not.
            working = asyncio.create_task(self._work(work, places.pop_all()))
            # Nobody else looks at an error after the caller was cancelled, and asyncio would log it with a traceback.
            working.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(working)

    def close(self) -> None:
        """Let the threads end and close the connections, once what is under way has ended."""
        self._threads.submit(poll_metrics.send_last)
        self._threads.shutdown(wait=False)
        if self._made is not None:
            self._made.hook.get_conn().close()

    async def _work(self, work: Callable[[CommsMiningHook], T], places: AsyncExitStack) -> T:
        async with places:
            made = self._made
            if made is None:
                raise AssertionError("the connection was read before")
            try:
                return await in_thread(work, made.hook, threads=self._threads)
            except CommsMiningError:
                if self._made is made:
                    self._good_until = 0.0
                raise
            finally:
                if self._made is not made or self.users == 0:
                    made.hook.get_conn().close()

    async def _read_connection(self, endpoint: str | None) -> None:
        """Read the connection if it was not lately; once for all who wait for it, and to its end if they leave."""
        lately = asyncio.get_running_loop().time() < self._good_until
        if lately and self._made is not None and endpoint in (None, self._made.hook.get_conn().endpoint):
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        began = asyncio.get_running_loop().time()
        before = self._made
        self._made = await in_thread(_make, _Sealed(await self._connection()), before)
        self._good_until = began + REREAD_AFTER
        if before is not None and before is not self._made:
            before.hook.get_conn().close()

    async def _connection(self) -> ConnectionLike:
        # Imported here, since DAG parsing must not pay for it.
        from airflow.providers.common.compat.connection import get_async_connection

        try:
            return await get_async_connection(self._conn_id)
        except Exception as error:  # a secrets backend may raise anything, and may be back soon
            raise CommsMiningError(
                f"connection '{self._conn_id}' could not be read: {type(error).__name__}", transient=True
            ) from error


# Of each event loop, since a client's queue belongs to one; a triggerer has only one.
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, PollClient]] = weakref.WeakKeyDictionary()


@asynccontextmanager
async def shared_client(conn_id: str) -> AsyncIterator[PollClient]:
    """Give the client of a connection, the same to all who use it at a time; the last one to leave closes it.

    :param conn_id: the connection.
    """
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    client = clients.get(conn_id)
    if client is None:
        client = clients[conn_id] = PollClient(conn_id)
    client.users += 1
    try:
        yield client
    finally:
        client.users -= 1
        if client.users == 0:
            del clients[conn_id]
            client.close()


async def in_thread(function: Callable[..., T], *arguments: object, threads: ThreadPoolExecutor = _threads) -> T:
    """Run in a thread from where Airflow can be talked to, as it is when a token is to be masked in logs.

    Below Airflow 3.3, what a thread says to the triggerer's supervisor must go through the loop, which only a thread of
    asgiref's knows; and must not be cancelled between question and answer. Otherwise the next one to ask gets a wrong
    answer, and the triggerer dies.

    :param function: what to run.
    :param arguments: its arguments.
    :param threads: where to run it.
    """
    return await asyncio.shield(sync_to_async(function, thread_sensitive=False, executor=threads)(*arguments))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Keeps a connection out of the variables that a traceback might show.

    :param connection: an Airflow connection.
    """

    connection: ConnectionLike = field(repr=False)

    def digest(self) -> bytes:
        """Tell this connection from another, or from itself with other settings."""
        names = ("host", "login", "password", "schema", "port", "extra")
        return hashlib.sha256(repr([getattr(self.connection, name) for name in names]).encode()).digest()


@dataclass(frozen=True, slots=True)
class _Made:
    """A hook, and what it was made from.

    :param hook: the hook, whose settings were judged.
    :param digest: of the connection.
    """

    hook: CommsMiningHook
    digest: bytes = field(repr=False)


def _make(sealed: _Sealed, before: _Made | None) -> _Made:
    """Make a hook, or keep the one there is while the connection stays as it is."""
    digest = sealed.digest()
    if before is not None and before.digest == digest:
        return before
    # Imported in the thread too: it takes longer than the event loop of all triggers should be held up.
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    hook = CommsMiningHook.from_connection(sealed.connection, max_attempts=1)
    hook.get_conn()
    return _Made(hook, digest)
