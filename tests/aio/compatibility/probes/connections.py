"""Connections that a program makes."""

import asyncio
import contextlib
import os
import socket
import tempfile
from pathlib import Path

from peers import (
    LOCALHOST,
    Recorder,
    abstract_name,
    closed_port,
    connected,
    listening,
    raises,
    socket_pair,
)
from probing import probe


@contextlib.contextmanager
def no_room(listener):
    """Have a socket listen that has no room left: who connects hears nothing."""
    listener.listen(0)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket(listener.family))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield


async def meets(loop, listener, **options):
    """Connect to a listener, and tell what the other side sees."""
    host = listener.getsockname()[0]
    transport, _ = await loop.create_connection(
        Recorder, **{"host": host, "port": listener.getsockname()[1], **options}
    )
    peer, address = listener.accept()
    with peer:
        transport.abort()
        return address


@probe("loop.create_connection", "data both ways")
async def create_connection(loop):
    async with connected(loop) as both:
        both.client.write(b"question")
        question = await both.theirs.received(8)
        both.server.write(b"answer")
        answer = await both.ours.received(6)
        both.client.close()
        await both.theirs.lost
        return question, answer, both.ours.calls, both.theirs.calls


@probe("loop.create_connection", "to a name of several addresses, one of which listens")
async def to_a_name(loop):
    with listening() as listener:
        return (await meets(loop, listener, host="localhost"))[0]


@probe("loop.create_connection", "`happy_eyeballs_delay=`, `interleave=`")
async def happy_eyeballs(loop):
    with listening() as listener:
        options = {"happy_eyeballs_delay": 0.25, "interleave": 1}
        return (await meets(loop, listener, host="localhost", **options))[0]


@probe("loop.create_connection", "`happy_eyeballs_delay=`: a silent address holds nothing up")
async def silent_address(loop):
    with listening() as listener, socket.socket(socket.AF_INET6) as silent:
        port = listener.getsockname()[1]
        silent.bind(("::1", port))
        with no_room(silent):
            connecting = loop.create_connection(
                Recorder, "localhost", port, happy_eyeballs_delay=0.02
            )
            transport, _ = await asyncio.wait_for(connecting, 30)
            seen = transport.get_extra_info("peername")[0]
            transport.abort()
            return seen


@probe("loop.create_connection", "`local_addr=`")
async def local_addr(loop):
    with listening() as listener:
        return (await meets(loop, listener, local_addr=("127.0.0.5", 0)))[0]


@probe("loop.create_connection", "`local_addr=` that cannot be had")
async def local_addr_taken(loop):
    with listening() as listener:
        return await raises(
            loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=listener.getsockname()
            )
        )


@probe("loop.create_connection", "`sock=`, connected already")
async def with_socket(loop):
    with listening() as listener:
        sock = socket.create_connection(listener.getsockname())
        sock.setblocking(False)
        return (await meets(loop, listener, host=None, port=None, sock=sock))[0]


@probe("loop.create_connection", "`sock=` of a datagram socket, or host and `sock=`, are refused")
async def wrong_socket(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as plain:
        seen = [await raises(loop.create_connection(Recorder, sock=datagrams))]
        seen.append(await raises(loop.create_connection(Recorder, LOCALHOST, 80, sock=plain)))
        return [*seen, await raises(loop.create_connection(Recorder))]


@probe("loop.create_connection", "`family=` IPv6")
async def ipv6(loop):
    with listening("::1", socket.AF_INET6) as listener:
        return (await meets(loop, listener, family=socket.AF_INET6))[0]


@probe("loop.create_connection", "refused: the exception and its errno")
async def refused(loop):
    try:
        await loop.create_connection(Recorder, LOCALHOST, closed_port())
    except OSError as error:
        return type(error).__name__, error.errno


@probe("loop.create_connection", "`all_errors=`: an ExceptionGroup", since=(3, 12))
async def all_errors(loop):
    try:
        await loop.create_connection(Recorder, LOCALHOST, closed_port(), all_errors=True)
    except Exception as error:
        if not hasattr(error, "exceptions"):
            raise
        return type(error).__name__, [type(inner).__name__ for inner in error.exceptions]


@probe("loop.create_connection", "TLS options without TLS are refused")
async def options_of_tls(loop):
    options = ("server_hostname", "x"), ("ssl_handshake_timeout", 5), ("ssl_shutdown_timeout", 5)
    if not hasattr(asyncio, "timeout"):
        options = options[:2]
    return [
        await raises(loop.create_connection(Recorder, LOCALHOST, 9, **{name: value}))
        for name, value in options
    ]


@probe("loop.create_connection", "cancelled: nothing is left open")
async def cancelled(loop):
    with socket.socket() as full, no_room(full):
        before = len(os.listdir("/proc/self/fd"))
        task = loop.create_task(loop.create_connection(Recorder, *full.getsockname()))
        await asyncio.sleep(0.02)
        task.cancel()
        seen = [await raises(task)]
        await asyncio.sleep(0.02)
        seen.append(len(os.listdir("/proc/self/fd")) - before)
        return seen


@probe("loop.create_connection", "a protocol factory that fails leaves nothing open")
async def failing_factory(loop):
    with listening() as listener:
        before = len(os.listdir("/proc/self/fd"))
        seen = await raises(loop.create_connection(lambda: 1 / 0, *listener.getsockname()))
        await asyncio.sleep(0.01)
        return seen, len(os.listdir("/proc/self/fd")) - before


@probe("loop.create_connection", "a subclass of `socket.socket`, and its own `close`")
async def own_socket(loop):
    class Socket(socket.socket):
        closed = 0

        def close(self):
            Socket.closed += 1
            super().close()

    with listening() as listener:
        sock = Socket()
        sock.connect(listener.getsockname())
        sock.setblocking(False)
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        transport.close()
        await protocol.lost
        return Socket.closed > 0, sock.fileno()


@probe("loop.create_unix_connection", "a path, as text, bytes or Path")
async def unix_connection(loop):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "s")
        listener.bind(path)
        listener.listen()
        for kind in (path, path.encode(), Path(path)):
            transport, _ = await loop.create_unix_connection(Recorder, kind)
            peer, _ = listener.accept()
            peer.close()
            transport.abort()


@probe("loop.create_unix_connection", "an abstract name")
async def abstract(loop):
    name = abstract_name()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        transport, _ = await loop.create_unix_connection(Recorder, name)
        listener.accept()[0].close()
        transport.abort()


@probe("loop.create_unix_connection", "`sock=`, and what it refuses")
async def unix_socket(loop):
    seen = []
    with socket_pair() as (one, other), socket.socket() as tcp:
        transport, _ = await loop.create_unix_connection(Recorder, sock=one)
        transport.write(b"data")
        await asyncio.sleep(0)  # a loop may send at the end of the turn
        seen.append(other.recv(9))
        transport.abort()
        seen.append(await raises(loop.create_unix_connection(Recorder, sock=tcp)))
    seen.append(await raises(loop.create_unix_connection(Recorder)))
    seen.append(await raises(loop.create_unix_connection(Recorder, "/no/such/socket")))
    return seen


@probe("asyncio.open_connection", "lines there and back, to a host and a path")
async def streams(loop):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    seen = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        for server, connect in (
            (
                await asyncio.start_server(serve, LOCALHOST, 0),
                lambda server: asyncio.open_connection(*server.sockets[0].getsockname()),
            ),
            (
                await asyncio.start_unix_server(serve, path),
                lambda server: asyncio.open_unix_connection(path),
            ),
        ):
            reader, writer = await connect(server)
            writer.write(b"line\n")
            seen.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            server.close()
    return seen
