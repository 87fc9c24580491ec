"""Sockets of a program's own, and what tests do with them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def new_pair(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def begun(coroutine):
    """A task that has gone as far as it gets by itself."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def received(sock, size):
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < size:
        data += await loop.sock_recv(sock, 1 << 20)
    return bytes(data)
