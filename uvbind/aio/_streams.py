"""asyncio's streams, faster: the same contract on any asyncio loop, for the change of an import.

What makes asyncio's slow is that a message waits for a turn of the loop between the transport and
the task that reads, and is copied into a buffer and out of it again. Here

- a task that waits for data goes on as soon as the data is there, inside the transport's call;
- what is read is the `bytes` object that the transport delivered, or a slice of it.

All else is asyncio's: the classes are subclasses of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvbind.aio._reader import StreamReader

_LIMIT = 2**16  # asyncio's, of a line; twice that unread pauses the transport

_running_loop: Any = asyncio._get_running_loop


class StreamWriter(asyncio.StreamWriter):
    """asyncio's StreamWriter, whose drain() returns at once when there is nothing to wait for."""

    async def drain(self) -> None:
        """Wait until the transport takes more; to be awaited after write().

        Raises what the reader failed with, and ConnectionResetError when the connection is gone.
        """
        protocol: Any = self._protocol  # type: ignore[attr-defined]
        reader = self._reader  # type: ignore[attr-defined]
        if (
            protocol._paused
            or protocol._connection_lost
            or (reader is not None and reader._exception is not None)
            or self._transport.is_closing()  # type: ignore[attr-defined]
        ):
            await super().drain()


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's, which has the task that waits for data go on at once, not in the next turn."""

    _stream_reader_wr: Any

    def data_received(self, data: bytes) -> None:
        reference = self._stream_reader_wr
        reader = reference and reference()
        if reader is None:
            return
        waiter = reader._waiter
        if waiter is None or not data or data.__class__ is not bytes:
            reader.feed_data(data)
            return
        reader._waiter = None
        if reader._chunk or reader._rest is not None:
            reader._put(data)
        else:
            reader._chunk = data
        loop = reader._loop
        callbacks = waiter._callbacks
        if callbacks and _running_loop() is loop:
            callback, context = callbacks[0]
            waiter.remove_done_callback(callback)
            waiter.set_result(None)
            try:
                context.run(callback, waiter)
            except RuntimeError:  # a task runs, or its context is in use: not a transport's call
                loop.call_soon(callback, waiter, context=context)
        elif not waiter.done():
            waiter.set_result(None)
        if reader._waiter is None:  # what waits for more shall get it
            reader._maybe_pause_transport()


def _protocol_class(loop: asyncio.AbstractEventLoop) -> Any:
    """In debug mode the loop tells how long tasks take, so each has to have its own turn."""
    return asyncio.StreamReaderProtocol if loop.get_debug() else _Protocol


async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = _LIMIT, **options: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect as asyncio.open_connection() does, and return a reader and a writer.

    `limit`: of a line, and half of what is buffered unread, in bytes; `options`: those of
    loop.create_connection(). Raises what that raises, and ValueError for a limit below 1.
    """
    return await _open("create_connection", limit, host, port, **options)


async def open_unix_connection(
    path: Any = None, *, limit: int = _LIMIT, **options: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a path as asyncio.open_unix_connection() does, and return a reader and a writer.

    `limit`: as for open_connection(); `options`: those of loop.create_unix_connection(). Raises
    what that raises, and ValueError for a limit below 1.
    """
    return await _open("create_unix_connection", limit, path, **options)


async def start_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Any],
    host: Any = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    **options: Any,
) -> asyncio.Server:
    """Serve as asyncio.start_server() does, and return the server.

    `client_connected_cb(reader, writer)`: a function, or a coroutine function that becomes a task,
    for each client; `limit`: as for open_connection(); `options`: those of loop.create_server().
    Raises what that raises.
    """
    return await _start("create_server", client_connected_cb, limit, host, port, **options)


async def start_unix_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Any],
    path: Any = None,
    *,
    limit: int = _LIMIT,
    **options: Any,
) -> asyncio.Server:
    """Serve at a path as asyncio.start_unix_server() does, and return the server.

    Arguments and what it raises: as for start_server(), with loop.create_unix_server().
    """
    return await _start("create_unix_server", client_connected_cb, limit, path, **options)


async def _open(
    verb: str, limit: int, *where: Any, **options: Any
) -> tuple[StreamReader, StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit, loop)
    protocol = _protocol_class(loop)(reader, loop=loop)
    transport, _ = await getattr(loop, verb)(lambda: protocol, *where, **options)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def _start(
    verb: str, client_connected_cb: Callable[..., Any], limit: int, *where: Any, **options: Any
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    protocol_class = _protocol_class(loop)

    def connected(reader: StreamReader, writer: Any) -> Any:
        writer.__class__ = StreamWriter  # asyncio's protocol makes the writer itself
        return client_connected_cb(reader, writer)

    def factory() -> Any:
        return protocol_class(StreamReader(limit, loop), connected, loop)

    server: asyncio.Server = await getattr(loop, verb)(factory, *where, **options)
    return server
