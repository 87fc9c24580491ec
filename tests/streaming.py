"""Streams whose other end is a plain socket, and the names of what makes them."""

from __future__ import annotations

import asyncio
import socket

NAMES = ["open_connection", "open_unix_connection", "start_server", "start_unix_server"]
NAMES += ["StreamReader", "StreamWriter"]


async def connected(streams, **options):
    """A reader and a writer of a connection that ends in a plain non-blocking socket."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    reader, writer = await streams.open_connection(sock=ours, **options)
    assert isinstance(reader, streams.StreamReader) and isinstance(reader, asyncio.StreamReader)
    assert isinstance(writer, streams.StreamWriter) and isinstance(writer, asyncio.StreamWriter)
    return reader, writer, theirs


async def close(writer, theirs=None):
    if theirs is not None:
        theirs.close()
    writer.close()
    assert writer.is_closing()
    await writer.wait_closed()


def send(theirs, data):
    return asyncio.get_running_loop().sock_sendall(theirs, data)
