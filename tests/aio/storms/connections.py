"""Storms over connections: each function is one round."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import tempfile
from typing import Any

from ends import Connection, Echo, Rude
from tags import Checker, WrongBytes, frame, new_tag
from world import LONG, World


async def finish(world: World, connection: Connection) -> None:
    """Have a connection end in one of the ways there are."""
    transport = connection.transport
    chance = world.random
    tag = connection.checker.tag or 0
    if chance.random() < 0.5:
        for number in range(chance.randrange(3)):
            transport.write(frame(tag, number, chance.choice([1, 1000, 300_000])))
        await world.turns(chance.randrange(4))
    way = chance.randrange(4)
    if way == 0:
        transport.abort()
    elif way == 1 and transport.can_write_eof() and not transport.is_closing():
        with contextlib.suppress(OSError):  # the other end may have been faster
            transport.write_eof()
        await asyncio.sleep(0.001)
    transport.close()
    if chance.random() < 0.3:
        transport.abort()


async def connect(world: World) -> None:
    chance = world.random
    loop = world.loop
    connection = Connection(world, new_tag())
    kind = chance.choice(["tcp", "rude", "unix", "rude unix", "name", "refused", "sock", "tls"])
    sock = None
    if kind in ("tcp", "rude"):
        address = world.echo if kind == "tcp" else world.rude
        local = ("127.0.0.1", 0) if chance.random() < 0.3 else None
        making = loop.create_connection(lambda: connection, *address, local_addr=local)
    elif kind in ("unix", "rude unix"):
        path = world.unix if kind == "unix" else world.rude_unix
        making = loop.create_unix_connection(lambda: connection, path)
    elif kind == "name":
        # Not with happy eyeballs, which lose a connected socket when they are cancelled: Python
        # closes it, and warns of it.
        making = loop.create_connection(lambda: connection, "localhost", world.echo[1])
    elif kind == "refused":
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        making = loop.create_connection(lambda: connection, *address)
    elif kind == "sock":
        sock = socket.create_connection(chance.choice([world.echo, world.rude]))
        sock.setblocking(False)
        making = loop.create_connection(lambda: connection, sock=sock)
    else:
        address = chance.choice([world.tls_echo, world.tls_rude])
        making = loop.create_connection(lambda: connection, *address, ssl=world.tls_client)
    done = await world.cancelled(making, connection.made)
    await world.turns(3)  # what was given up when it was made is told of it all the same
    if connection.made.is_set():
        if done is not None:
            await finish(world, connection)
        await world.until(connection.lost.is_set, f"a {kind} connection")
        await world.gone(connection.sock)
    elif sock is not None:
        sock.close()  # create_connection never began, so it is ours still


async def accept(world: World) -> None:
    """A server that closes while connections come in."""
    chance = world.random
    loop = world.loop
    tls = world.tls_server if chance.random() < 0.2 else None
    kind = chance.choice([Echo, Rude])
    server = await loop.create_server(lambda: kind(world), "127.0.0.1", 0, ssl=tls)
    address = server.sockets[0].getsockname()
    clients = [socket.socket() for _ in range(chance.randrange(1, 6))]
    tasks = []
    for client in clients:
        client.setblocking(False)
        tasks.append(loop.create_task(loop.sock_connect(client, address)))
    await world.turns(chance.randrange(8))
    if chance.random() < 0.5:  # as asyncio.run() does in the end
        for task in asyncio.all_tasks():
            coroutine = task.get_coro()
            if (
                "_accept_connection2" in coroutine.__qualname__
                and inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
                and address == coroutine.cr_frame.f_locals["conn"].getsockname()
            ):
                task.cancel()
    for task in tasks:
        if chance.random() < 0.2:
            task.cancel()
    server.close()
    await world.turns(chance.randrange(3))
    for client in clients[:2]:
        client.close()
    for task, client in zip(tasks, clients):
        if client.fileno() == -1:
            task.cancel()
    await world.all_of(tasks)
    for client in clients:
        client.close()


class EarlyEcho(Echo):
    """One whose transport start_tls() has still to return when bytes come."""

    early = b""

    def answer(self, data: bytes) -> None:
        if self.transport is None:
            self.early += data
        else:
            super().answer(data)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(self.early)


class Upgrades(Connection):
    """Answers a byte, then starts TLS, which somebody may cancel."""

    task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.hand_over()
        self.transport.write(b"K")
        self.task = asyncio.get_running_loop().create_task(self.upgrade())
        self.transport.pause_reading()

    def hand_over(self) -> None:
        """This is not the one who is told of the end any more."""
        self.let_go()
        self.world.connections.discard(self)

    async def upgrade(self) -> None:
        world = self.world
        connection = EarlyEcho(world)
        secured = await world.cancelled(
            world.loop.start_tls(self.transport, connection, world.tls_server, server_side=True)
        )
        if secured is not None:
            connection.connection_made(secured)
            await asyncio.sleep(world.random.random() * 0.01)
            secured.abort()
        else:
            self.transport.abort()
        await world.gone(self.sock)
        world.connections.discard(connection)


class Asks(Connection):
    """Waits for the answer before it starts TLS."""

    def data_received(self, data: bytes) -> None:
        self.let_go()
        self.world.connections.discard(self)
        self.transport.pause_reading()
        self.answered.set()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.answered = asyncio.Event()
        transport.write(b"S")


async def start_tls(world: World) -> None:
    loop = world.loop
    chance = world.random
    served: list[Upgrades] = []

    def serve() -> Upgrades:
        served.append(Upgrades(world))
        return served[-1]

    server = await loop.create_server(serve, "127.0.0.1", 0)
    transport, plain = await loop.create_connection(
        lambda: Asks(world), *server.sockets[0].getsockname()
    )
    await plain.answered.wait()
    connection = Connection(world, new_tag())
    secured = await world.cancelled(
        loop.start_tls(transport, connection, world.tls_client, server_hostname="localhost")
    )
    if secured is not None:
        connection.connection_made(secured)
        await finish(world, connection)
    if secured is None or chance.random() < 0.5:
        transport.abort()
    await world.gone(plain.sock)
    world.connections.discard(connection)
    server.close()
    for each in served:
        await asyncio.wait([each.task], timeout=LONG)
        if not each.task.done() or each.task.exception():
            world.fault(f"start_tls of the server: {each.task!r}")


async def sendfile(world: World) -> None:
    """A file on its way when the connection ends."""
    chance = world.random
    loop = world.loop
    tag = new_tag()
    content = b"".join(frame(tag, number, 100_000) for number in range(20))
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    checker = Checker(tag)

    async def read() -> None:
        left = chance.choice([0, 10_000, len(content)])
        while left > 0 and (data := await loop.sock_recv(theirs, 100_000)):
            left -= len(data)
            try:
                checker.feed(data)
            except WrongBytes as error:
                world.fault(f"sendfile: {error}")
        theirs.close()

    reading = loop.create_task(read())
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        if chance.random() < 0.5:
            transport, _ = await loop.create_connection(lambda: Connection(world), sock=ours)
            if chance.random() < 0.3:
                loop.call_later(chance.random() * 0.002, transport.abort)
            await world.cancelled(loop.sendfile(transport, file))
            transport.abort()
            await world.gone(ours)
        else:
            await world.cancelled(loop.sock_sendfile(ours, file))
            ours.close()
    await world.all_of([reading])
