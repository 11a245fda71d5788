"""One client for each connection that a triggerer polls, with one hook and a few threads.

Each connection has its own threads, so that a stalled tenant delays only its own polls. A poll that is canceled while
it waits for its turn leaves the queue; one whose request is in flight ends with its timeout.
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
    """The client that all polls of one connection share; see :func:`shared_client`.

    :param conn_id: the connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._threads = ThreadPoolExecutor(max_workers=MOST_POLLS, thread_name_prefix="comms-mining-poll")
        self._places = asyncio.Semaphore(MOST_POLLS)
        self._slow_places = asyncio.Semaphore(MOST_SLOW_POLLS)
        self._made: _Connected | None = None
        self._reading: asyncio.Task[None] | None = None
        self._good_until = 0.0
        self.users = 0

    async def call(self, work: Callable[[CommsMiningHook], T], *, endpoint: str | None = None, slow: bool = False) -> T:
        """Run a function in a thread, when it is this caller's turn.

        :param work: called with the hook; it must end within the time of a poll.
        :param endpoint: the endpoint that the caller expects: if the connection had another one when it was read last,
            it is read again first. ``None`` (default) for any endpoint.
        :param slow: whether the caller's last call took long, ``False`` by default.
        :return: the result of the function.
        :raises CommsMiningError: when the connection could not be read, or from the work.
        """
        async with AsyncExitStack() as places:
            with poll_metrics.queue.one_more():
                if slow:
                    await places.enter_async_context(self._slow_places)
                await places.enter_async_context(self._places)
            await self._read_connection(endpoint)
            # The place is taken until the thread is free, even if the caller is canceled.
            working = asyncio.create_task(self._work(work, places.pop_all()))
            # Nobody else looks at an error after the caller was cancelled, and asyncio would log it with a traceback.
            working.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(working)

    def close(self) -> None:
        """End the threads and close the network connections, after the requests in flight."""
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
        """Read the connection if that is due: once for all callers, and to the end even if they are canceled."""
        lately = asyncio.get_running_loop().time() < self._good_until
        if lately and self._made is not None and endpoint in (None, self._made.hook.get_conn().endpoint):
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        began = asyncio.get_running_loop().time()
        before = self._made
        self._made = await in_thread(_make, _HiddenConnection(await self._connection()), before)
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
    """Yield the client of a connection. Concurrent users share it, and the last one closes it.

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
    """Run a function in a thread that can reach Airflow, for example to mask a token in logs.

    Below Airflow 3.3, a thread's requests to the triggerer's supervisor must go through the event loop, which only a
    thread of asgiref knows, and must not be canceled before the response. Otherwise the next request gets a wrong
    response, and the triggerer dies.

    :param function: the function.
    :param arguments: its arguments.
    :param threads: the threads to run it in.
    """
    return await asyncio.shield(sync_to_async(function, thread_sensitive=False, executor=threads)(*arguments))


@dataclass(frozen=True, slots=True)
class _HiddenConnection:
    """Hides a connection from tracebacks that show variables.

    :param connection: an Airflow connection.
    """

    connection: ConnectionLike = field(repr=False)

    def digest(self) -> bytes:
        """Return a digest of the settings, which changes when one of them does."""
        names = ("host", "login", "password", "schema", "port", "extra")
        return hashlib.sha256(repr([getattr(self.connection, name) for name in names]).encode()).digest()


@dataclass(frozen=True, slots=True)
class _Connected:
    """A hook and the digest of its connection.

    :param hook: the hook, whose settings are valid.
    :param digest: the digest of the connection.
    """

    hook: CommsMiningHook
    digest: bytes = field(repr=False)


def _make(sealed: _HiddenConnection, before: _Connected | None) -> _Connected:
    """Make a hook, or return the present one if the connection has not changed."""
    digest = sealed.digest()
    if before is not None and before.digest == digest:
        return before
    # Imported in the thread too: it takes longer than the event loop of all triggers should be held up.
    from airflow_provider_cm.hooks.comms_mining import CommsMiningHook

    hook = CommsMiningHook.from_connection(sealed.connection, max_attempts=1)
    hook.get_conn()
    return _Connected(hook, digest)
