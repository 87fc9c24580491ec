"""Those who have nothing to do with the storm, whose bytes all have to arrive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from ends import Datagrams
from tags import Checker, frame, guard, new_tag, release
from world import LONG, World

SIZES = [0, 1, 10, 100, 1000, 10_000, 100_000]


async def through_streams(world: World, connect: Callable[[], Awaitable[Any]], tls: bool) -> None:
    chance = world.random
    reader, writer = await connect()
    sock = writer.get_extra_info("socket")
    fd = sock.fileno()
    guard(fd)
    tag = new_tag()
    for number in range(chance.randrange(1, 6)):
        data = frame(tag, number, chance.choice(SIZES))
        writer.write(data)
        if await reader.readexactly(len(data)) != data:
            raise AssertionError("an echo of something else")
        world.counts["echoes"] += 1
    release(fd)
    if chance.random() < 0.5:
        writer.transport.abort()
    elif not tls and chance.random() < 0.5:
        writer.write_eof()
        if await reader.read():
            raise AssertionError("more than the echo")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await world.gone(sock)


async def through_tcp(world: World) -> None:
    await through_streams(world, lambda: asyncio.open_connection(*world.echo), False)


async def through_unix(world: World) -> None:
    await through_streams(world, lambda: asyncio.open_unix_connection(world.unix), False)


async def through_tls(world: World) -> None:
    def connect() -> Awaitable[Any]:
        return asyncio.open_connection(*world.tls_echo, ssl=world.tls_client)

    await through_streams(world, connect, True)


async def through_a_socket(world: World) -> None:
    chance = world.random
    with socket.socket() as sock:
        sock.setblocking(False)
        await world.loop.sock_connect(sock, world.echo)
        guard(sock.fileno())
        tag = new_tag()
        for number in range(chance.randrange(1, 6)):
            data = frame(tag, number, chance.choice(SIZES))
            left = len(data)
            checker = Checker(tag)
            checker.number = number
            sent = world.loop.create_task(world.loop.sock_sendall(sock, data))
            while left:
                part = await world.loop.sock_recv(sock, left)
                if not part:
                    raise AssertionError("the end before all has come")
                checker.feed(part)
                left -= len(part)
            await sent
            if checker.number != number + 1:
                raise AssertionError("an echo of something else")
            world.counts["echoes"] += 1
        release(sock.fileno())


async def through_datagrams(world: World) -> None:
    chance = world.random
    tag = new_tag()
    one, receiver = await world.loop.create_datagram_endpoint(
        lambda: Datagrams(world, tag), ("127.0.0.1", 0)
    )
    two, sender = await world.loop.create_datagram_endpoint(
        lambda: Datagrams(world, tag), remote_addr=one.get_extra_info("sockname")
    )
    for number in range(chance.randrange(1, 6)):
        receiver.came.clear()
        two.sendto(frame(tag, number, chance.randrange(1000)))
        await asyncio.wait_for(receiver.came.wait(), LONG)
        world.counts["echoes"] += 1
    for each in (one, two):
        each.close()
    await receiver.lost.wait()
    await sender.lost.wait()
    await world.gone(receiver.sock)
    await world.gone(sender.sock)


KINDS = [through_tcp, through_unix, through_a_socket, through_datagrams]
# PyPy's ssl module does not empty OpenSSL's queue of errors, and tells a connection what was wrong
# with another one: nobody who uses TLS stands by there.
if sys.implementation.name != "pypy":
    KINDS.append(through_tls)


class Bystanders:
    """One of each kind in the loop, again and again, and one in a thread of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stopping = threading.Event()

    async def __aenter__(self) -> Bystanders:
        loop = self.world.loop
        self.tasks = [loop.create_task(self.repeat(kind)) for kind in KINDS * 2]
        self.thread = threading.Thread(target=self.elsewhere)
        self.thread.start()
        return self

    async def __aexit__(self, *about: object) -> None:
        self.stopping.set()
        await asyncio.wait(self.tasks, timeout=LONG)
        for task in self.tasks:
            if not task.done():
                self.world.fault(f"hangs: {task!r}")
        await self.world.loop.run_in_executor(None, self.thread.join)

    async def repeat(self, kind: Callable[[World], Awaitable[None]]) -> None:
        while not self.stopping.is_set():
            try:
                await kind(self.world)
            except Exception as error:
                self.world.fault(f"{kind.__name__}: {error!r}")
                await asyncio.sleep(0.01)
            await asyncio.sleep(self.world.random.random() * 0.004)

    def elsewhere(self) -> None:
        """Numbers change hands between threads as well."""
        while not self.stopping.wait(0.001):
            ends = socket.socketpair()
            for end in ends:
                guard(end.fileno())
            for number in range(3):
                data = frame(new_tag(), number, 100)
                ends[0].sendall(data)
                if ends[1].recv(1000) != data:
                    self.world.fault("another thread got something else")
            for end in ends:
                release(end.fileno())
                end.close()
