"""The scenarios of servers, connections and stream transports, interrupted after their `yield`.

They use public verbs only, so that they hold any loop. The functions that a scenario
appends to `world.afterwards` have to work after the interruption.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from interrupted_asyncio import MUCH, about
from interrupted_asyncio_world import Echo, Filling, World
from interrupting import Steps

from uvbind.aio import EventLoop
from uvbind.aio._transports import SocketTransport

# -- connecting and accepting


@about(EventLoop.create_connection, SocketTransport)
def connection_created(world: World) -> Steps:
    loop, listener = world.loop, world.listener()

    async def connect() -> None:
        address = listener.getsockname()
        transport, _ = await loop.create_connection(world.protocol, *address)
        transport.close()

    yield
    world.run(connect())


@about(EventLoop.create_server)
def servers_created(world: World) -> Steps:
    async def serve() -> None:
        server = await world.loop.create_server(lambda: Echo(world), "127.0.0.1", 0)
        world.later.append(server.close)
        server.close()
        await server.wait_closed()

    yield
    world.run(serve())


def client(world: World, address: Any) -> socket.socket:
    """A connection that the kernel makes before anybody accepts it."""
    sock = world.stack.enter_context(socket.create_connection(address))
    sock.setblocking(False)
    return sock


async def echoed(world: World, address: Any) -> None:
    """A server is there and answers."""
    sock = client(world, address)
    await world.loop.sock_sendall(sock, b"data")
    assert await world.loop.sock_recv(sock, 10) == b"data", "the server does not answer"


def accepting(debug: bool) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        loop = world.loop
        loop.set_debug(debug)
        server = world.run(loop.create_server(lambda: Echo(world), "127.0.0.1", 0))
        world.closing.append(server.close)
        address = server.sockets[0].getsockname()

        async def talk() -> None:
            sock = client(world, address)
            with contextlib.suppress(ConnectionError):  # asyncio too closes what it cannot begin
                await loop.sock_sendall(sock, b"data")
                sock.shutdown(socket.SHUT_WR)  # then the server ends it, if the program does not
                await loop.sock_recv(sock, 10)
            sock.close()

        world.afterwards.append(lambda: echoed(world, address))
        yield
        world.run(talk())

    scenario.__name__ = "connection_accepted" + ("_in_debug_mode" if debug else "")
    return scenario


about()(accepting(False))
about()(accepting(True))


@about(EventLoop.create_unix_connection)
def unix_connection(world: World) -> Steps:
    loop, path = world.loop, world.path()
    server = world.run(loop.create_unix_server(lambda: Echo(world), path))
    world.closing.append(server.close)

    async def talk() -> None:
        transport, protocol = await loop.create_unix_connection(world.protocol, path)
        world.later.append(transport.abort)
        transport.write(b"data")
        await protocol.got
        transport.close()

    yield
    world.run(talk())


@about(EventLoop.connect_accepted_socket)
def accepted_socket_connected(world: World) -> Steps:
    ours, _theirs = world.pair()

    async def connect() -> None:
        transport, protocol = await world.loop.connect_accepted_socket(world.protocol, ours)
        transport.close()
        await protocol.lost

    yield
    world.run(connect())


@about(EventLoop.create_unix_server)
def unix_server_created(world: World) -> Steps:
    async def serve() -> None:
        server = await world.loop.create_unix_server(lambda: Echo(world), world.path())
        world.later.append(server.close)
        server.close()

    yield
    world.run(serve())


# -- stream transports


async def works(world: World, transport: Any, protocol: Any, theirs: socket.socket) -> None:
    """The transport reads and writes, or the protocol has heard, or will hear, of its end."""
    if not transport.is_closing():
        transport.resume_reading()
        with contextlib.suppress(ConnectionError):
            await world.loop.sock_sendall(theirs, b"ping")
        while b"ping" not in protocol.data and not protocol.lost.done():
            protocol.got = world.loop.create_future()
            await protocol.got
        transport.write(b"pong")
    got = b""
    while not got.endswith(b"pong") and not transport.is_closing():
        got = got[-4:] + await world.loop.sock_recv(theirs, 1 << 20)
    if transport.is_closing():
        transport.abort()
        await protocol.lost


@about(SocketTransport.write, SocketTransport.writelines)
def little_written(world: World) -> Steps:
    transport, protocol, theirs = world.connected()

    async def write() -> None:
        transport.write(b"data")
        transport.write(bytearray(b"data"))
        transport.writelines([b"data", bytearray(b"data")])

    world.afterwards.append(lambda: works(world, transport, protocol, theirs))
    yield
    world.run(write())


def send(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the connection may be over
        sock.send(b"data")


async def read_rest(world: World, theirs: socket.socket) -> None:
    while await world.loop.sock_recv(theirs, 1 << 20):
        pass


async def sent(world: World, transport: Any, theirs: socket.socket) -> None:
    while transport.get_write_buffer_size():
        await world.loop.sock_recv(theirs, 1 << 20)


@about(SocketTransport.write, SocketTransport.writelines, SocketTransport.get_write_buffer_size)
def much_written(world: World) -> Steps:
    transport, protocol, theirs = world.connected()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    async def write() -> None:
        transport.write(MUCH)
        transport.write(b"data")
        transport.writelines([b"data"])
        transport.get_write_buffer_size()
        await sent(world, transport, theirs)

    world.afterwards.append(lambda: works(world, transport, protocol, theirs))
    yield
    world.run(write())


@about(SocketTransport.writelines)
def much_written_in_lines(world: World) -> Steps:
    transport, protocol, theirs = world.connected()

    async def write() -> None:
        transport.writelines([MUCH, b"data"])
        await sent(world, transport, theirs)

    world.afterwards.append(lambda: works(world, transport, protocol, theirs))
    yield
    world.run(write())


@about(EventLoop.sendfile)
def file_sent(world: World) -> Steps:
    transport, protocol, theirs = world.connected()
    file = world.stack.enter_context(os.fdopen(os.open(__file__, os.O_RDONLY), "rb"))

    async def play() -> None:
        await world.loop.sendfile(transport, file, 0, 1000)
        transport.write(b"more")

    async def use() -> None:
        with contextlib.suppress(RuntimeError if world.may_lose else ()):  # sendfile is in progress
            await works(world, transport, protocol, theirs)

    world.afterwards.append(use)
    yield
    world.run(play())


@about(SocketTransport.close)
def transport_closed(world: World) -> Steps:
    transport, protocol, theirs = world.connected()
    transport.write(MUCH)

    async def close() -> None:
        transport.close()
        await read_rest(world, theirs)
        await protocol.lost

    yield
    world.run(close())


@about(SocketTransport.abort)
def transport_aborted(world: World) -> Steps:
    transport, protocol, _ = world.connected()
    transport.write(MUCH)

    async def abort() -> None:
        transport.abort()
        await protocol.lost

    yield
    world.run(abort())


@about(SocketTransport.pause_reading, SocketTransport.resume_reading)
def transport_paused_and_resumed(world: World) -> Steps:
    transport, protocol, theirs = world.connected()

    async def play() -> None:
        transport.pause_reading()
        theirs.send(b"data")
        transport.resume_reading()
        await protocol.got

    world.later.append(lambda: transport.is_closing() or transport.resume_reading())
    world.afterwards.append(lambda: works(world, transport, protocol, theirs))
    yield
    world.run(play())


@about(SocketTransport.set_protocol)
def protocol_replaced(world: World) -> Steps:
    transport, _, theirs = world.connected()
    other = world.protocol()
    world.protocols.clear()  # the first hears of no end

    async def play() -> None:
        transport.set_protocol(other)
        theirs.send(b"data")
        await other.got

    async def use() -> None:
        transport.set_protocol(other)
        await works(world, transport, other, theirs)

    world.later.append(lambda: transport.set_protocol(other))
    world.afterwards.append(use)
    yield
    world.run(play())


@about()
def transport_read(world: World) -> Steps:
    transport, protocol, theirs = world.connected()

    async def play() -> None:
        theirs.send(b"data")
        await protocol.got

    world.later.append(lambda: send(theirs))  # the data may be lost on its way to the protocol
    world.afterwards.append(lambda: works(world, transport, protocol, theirs))
    yield
    world.run(play())


@about()
def transport_ended_by_the_peer(world: World) -> Steps:
    _, protocol, theirs = world.connected()

    async def wait() -> None:
        theirs.shutdown(socket.SHUT_WR)
        await protocol.lost

    yield
    world.run(wait())


@about()
def transport_reset_by_the_peer(world: World) -> Steps:
    listener = world.listener()
    peer = client(world, listener.getsockname())
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock, _ = listener.accept()
    sock.setblocking(False)
    _, protocol = world.run(world.loop.connect_accepted_socket(world.protocol, sock))

    async def wait() -> None:
        peer.close()
        await protocol.lost

    yield
    world.run(wait())


@about(SocketTransport.write_eof)
def transport_half_closed(world: World) -> Steps:
    transport, _, theirs = world.connected()

    async def play() -> None:
        transport.write_eof()
        assert await world.loop.sock_recv(theirs, 10) == b""

    world.later.append(lambda: transport.is_closing() or transport.write_eof())
    yield
    world.run(play())


@about()
def buffer_filled(world: World) -> Steps:
    transport, protocol, theirs = world.connected(lambda: Filling(world))

    async def wait() -> None:
        theirs.send(b"data")
        await protocol.got
        transport.close()
        await protocol.lost

    world.later.append(lambda: send(theirs))
    yield
    world.run(wait())


@about()
def transport_in_debug_mode(world: World) -> Steps:
    world.loop.set_debug(True)
    ours, theirs = world.pair()

    async def play() -> None:
        transport, protocol = await world.loop.connect_accepted_socket(world.protocol, ours)
        repr(transport)
        theirs.send(b"data")
        await protocol.got
        transport.close()
        await protocol.lost

    world.later.append(lambda: send(theirs))
    yield
    world.run(play())
