"""The scenarios of datagram endpoints, pipes and child processes, interrupted after their `yield`.

They use public verbs only, so that they hold any loop.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from interrupted_asyncio import MUCH, about
from interrupted_asyncio_world import Talker, World
from interrupting import Steps

from uvbind.aio import EventLoop
from uvbind.aio._datagrams import DatagramTransport
from uvbind.aio._mended import WritePipeTransport
from uvbind.aio._processes import Transport as ChildTransport

# -- datagrams


@about(EventLoop.create_datagram_endpoint, DatagramTransport)
def endpoint_created(world: World) -> Steps:
    async def create() -> None:
        address = ("127.0.0.1", 0)
        transport, protocol = await world.loop.create_datagram_endpoint(
            world.protocol, local_addr=address
        )
        transport.close()
        await protocol.lost

    yield
    world.run(create())


def endpoint(world: World, protocol: Any = None, **options: Any) -> tuple[Any, Any, Any]:
    """A transport, its protocol and its address."""
    options = options or {"local_addr": ("127.0.0.1", 0)}
    made = world.run(world.loop.create_datagram_endpoint(protocol or world.protocol, **options))
    return (*made, made[0].get_extra_info("sockname"))


async def receives(world: World, transport: Any, protocol: Any, address: Any) -> None:
    """The transport sends and receives, or the protocol has heard, or will hear, of its end."""
    if transport.is_closing():
        await protocol.lost
        return
    protocol.got = world.loop.create_future()
    transport.sendto(b"data", address)
    await protocol.got


@about(DatagramTransport.sendto, DatagramTransport.sendto_many)
def datagrams_sent(world: World) -> Steps:
    transport, protocol, address = endpoint(world)

    async def play() -> None:
        transport.sendto(b"data", address)
        transport.sendto(bytearray(b"data"), address)
        transport.sendto_many([(b"data", address)] * 3)
        await protocol.got

    world.later.append(lambda: transport.is_closing() or transport.sendto(b"data", address))
    world.afterwards.append(lambda: receives(world, transport, protocol, address))
    yield
    world.run(play())


@about(DatagramTransport.sendto)
def datagrams_sent_when_connected(world: World) -> Steps:
    peer = world.stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    peer.bind(("127.0.0.1", 0))
    peer.settimeout(5)
    transport, _, _ = endpoint(world, remote_addr=peer.getsockname())

    async def play() -> None:
        transport.sendto(b"data")
        transport.sendto_many([(b"data", None)])

    async def sends() -> None:
        transport.sendto(b"last")
        while peer.recv(10) != b"last":
            pass

    world.afterwards.append(sends)
    yield
    world.run(play())


class Batches(Talker):
    def datagrams_received(self, received: list[Any]) -> None:
        self._have(b"")


@about(DatagramTransport.set_protocol)
def datagram_protocol_replaced(world: World) -> Steps:
    transport, _, address = endpoint(world)
    other = Batches(world)
    world.protocols.clear()  # the first hears of no end
    world.transports.append(transport)

    async def play() -> None:
        transport.set_protocol(other)
        transport.sendto(b"data", address)
        await other.got

    async def use() -> None:
        transport.set_protocol(other)
        await receives(world, transport, other, address)

    def again() -> None:
        if not transport.is_closing():
            transport.set_protocol(other)
            transport.sendto(b"data", address)

    world.later.append(again)
    world.afterwards.append(use)
    yield
    world.run(play())


@about(DatagramTransport.close)
def endpoint_closed(world: World) -> Steps:
    transport, protocol, address = endpoint(world)

    async def close() -> None:
        transport.sendto(b"data", address)
        transport.close()
        await protocol.lost

    yield
    world.run(close())


@about(DatagramTransport.abort)
def endpoint_aborted(world: World) -> Steps:
    transport, protocol, _ = endpoint(world)

    async def abort() -> None:
        transport.abort()
        await protocol.lost

    yield
    world.run(abort())


# -- pipes


def pipe(world: World) -> tuple[Any, Any]:
    read_fd, write_fd = os.pipe()
    reading, writing = os.fdopen(read_fd, "rb", 0), os.fdopen(write_fd, "wb", 0)
    world.stack.callback(reading.close)
    world.stack.callback(writing.close)
    return reading, writing


@about(EventLoop.connect_read_pipe, EventLoop.connect_write_pipe)
def pipes_connected(world: World) -> Steps:
    reading, writing = pipe(world)

    async def play() -> None:
        source, protocol = await world.loop.connect_read_pipe(world.protocol, reading)
        sink, other = await world.loop.connect_write_pipe(world.protocol, writing)
        sink.write(b"data")
        await protocol.got
        sink.close()
        await other.lost
        await protocol.lost
        source.close()

    yield
    world.run(play())


@about(WritePipeTransport.write, WritePipeTransport.writelines, WritePipeTransport.write_eof)
def pipe_written(world: World) -> Steps:
    loop = world.loop
    reading, writing = pipe(world)
    _, protocol = world.run(loop.connect_read_pipe(world.protocol, reading))
    sink, other = world.run(loop.connect_write_pipe(world.protocol, writing))

    async def play() -> None:
        sink.write(b"data")
        sink.writelines([b"data", bytearray(b"data")])
        sink.write(memoryview(MUCH))
        sink.write_eof()
        await other.lost
        await protocol.lost

    world.later.append(sink.close)
    yield
    world.run(play())


@about(WritePipeTransport.close)
def pipe_closed(world: World) -> Steps:
    _, writing = pipe(world)
    sink, other = world.run(world.loop.connect_write_pipe(world.protocol, writing))

    async def play() -> None:
        sink.close()
        await other.lost

    world.later.append(sink.close)
    yield
    world.run(play())


@about(WritePipeTransport.abort)
def pipe_aborted(world: World) -> Steps:
    reading, writing = pipe(world)
    sink, other = world.run(world.loop.connect_write_pipe(world.protocol, writing))
    sink.write(MUCH)

    async def play() -> None:
        sink.abort()
        await other.lost
        reading.close()

    yield
    world.run(play())


# -- processes


class Child(Talker):
    """Of a child process: it hears of the end when the child is killed at the latest."""

    def kill(self) -> None:
        if self.made and self.transport.get_returncode() is None:
            self.transport.kill()


@about(EventLoop.subprocess_exec)
def child_run(world: World) -> Steps:
    child = Child(world)

    async def play() -> None:
        transport, _ = await world.loop.subprocess_exec(
            lambda: child, "/bin/cat", stdin=-1, stdout=-1, stderr=None
        )
        transport.get_pipe_transport(0).write(b"data")
        await child.got
        transport.get_pipe_transport(0).close()
        await child.lost
        assert transport.get_returncode() in (0, -9)

    world.later.append(child.kill)
    yield
    world.run(play())


@about(EventLoop.subprocess_shell, ChildTransport.kill, ChildTransport.close)
def child_of_the_shell_killed(world: World) -> Steps:
    child = Child(world)

    async def play() -> None:
        transport, _ = await world.loop.subprocess_shell(
            lambda: child, "exec cat", stdin=-1, stdout=None, stderr=None
        )
        transport.kill()
        await child.lost
        assert transport.get_returncode() == -9
        transport.close()

    world.later.append(child.kill)
    yield
    world.run(play())
