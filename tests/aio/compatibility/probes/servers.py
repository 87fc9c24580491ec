"""Servers."""

import asyncio
import os
import socket
import stat
import struct
import tempfile

from peers import (
    LOCALHOST,
    Recorder,
    abstract_name,
    connected,
    listening,
    raises,
    socket_pair,
    until,
)
from probing import probe


def told(address):
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0


@probe("loop.create_server", "several hosts, one port for each")
async def several_hosts(loop):
    server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
    addresses = [sock.getsockname() for sock in server.sockets]
    seen = sorted((address[0], told(address)) for address in addresses)
    server.close()
    return seen


@probe("loop.create_server", "host None and the empty one: all addresses")
async def all_addresses(loop):
    seen = []
    for host in (None, ""):
        server = await loop.create_server(Recorder, host, 0)
        seen.append(sorted((sock.family.name, sock.getsockname()[0]) for sock in server.sockets))
        server.close()
    return seen


@probe("loop.create_server", "`reuse_port=`: two at one port; without it, refused")
async def reuse_port(loop):
    one = await loop.create_server(Recorder, LOCALHOST, 0, reuse_port=True)
    address = one.sockets[0].getsockname()
    two = await loop.create_server(Recorder, *address, reuse_port=True)
    seen = await raises(loop.create_server(Recorder, *address))
    one.close(), two.close()
    return seen


@probe("loop.create_server", "a port that is taken: the exception and its errno")
async def port_taken(loop):
    with listening() as listener:
        try:
            await loop.create_server(Recorder, *listener.getsockname())
        except OSError as error:
            return type(error).__name__, error.errno


@probe("loop.create_server", "`reuse_address=` is the default")
async def reuse_address(loop):
    seen = []
    for options in ({}, {"reuse_address": False}):
        server = await loop.create_server(Recorder, LOCALHOST, 0, **options)
        value = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        seen.append(bool(value))
        server.close()
    return seen


@probe("loop.create_server", "`keep_alive=`", since=(3, 13))
async def keep_alive(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0, keep_alive=True)
    seen = bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    server.close()
    return seen


@probe("loop.create_server", "`sock=`, and what it refuses")
async def with_socket(loop):
    seen = []
    sock = socket.socket()
    sock.bind((LOCALHOST, 0))
    server = await loop.create_server(Recorder, sock=sock)
    seen.append(told(sock.getsockname()))
    server.close()
    await asyncio.sleep(0.01)
    seen.append(sock.fileno())
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        seen.append(await raises(loop.create_server(Recorder, sock=datagrams)))
        seen.append(await raises(loop.create_server(Recorder, LOCALHOST, 0, sock=datagrams)))
    return [*seen, await raises(loop.create_server(Recorder))]


@probe("loop.create_server", "`start_serving=False`, `backlog=`")
async def start_serving(loop):
    server = await loop.create_server(Recorder, LOCALHOST, 0, start_serving=False, backlog=5)
    address = server.sockets[0].getsockname()
    seen = [server.is_serving(), told(address)]
    await server.start_serving()
    seen += [server.is_serving(), told(address)]
    server.close()
    return seen


@probe("loop.create_server", "a connection that is reset before it is accepted")
async def reset_early(loop):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, LOCALHOST, 0)
    early = socket.create_connection(server.sockets[0].getsockname())
    early.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    early.close()
    with socket.create_connection(server.sockets[0].getsockname()) as other:
        other.send(b"data")
        await until(lambda: made and made[-1].data)
    server.close()
    return made[-1].data


@probe("loop.create_server", "a factory that fails: told, and the server goes on")
async def failing_factory(loop):
    made = []

    def factory():
        made.append(1)
        return 1 / 0 if len(made) == 1 else Recorder()

    server = await loop.create_server(factory, LOCALHOST, 0)
    for _ in range(2):
        with socket.create_connection(server.sockets[0].getsockname()):
            count = len(made)
            await until(lambda count=count: len(made) > count)
    server.close()
    return len(made)


@probe("loop.create_unix_server", "serves; what stands in its way")
async def unix_server(loop):
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        made = []
        server = await loop.create_unix_server(lambda: made.append(Recorder()) or made[-1], path)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.send(b"data")
            await until(lambda: made and made[0].data)
        server.close()
        plain = os.path.join(folder, "file")
        open(plain, "w").close()
        seen.append(await raises(loop.create_unix_server(Recorder, plain)))
        seen.append(os.path.exists(plain))
        nowhere = os.path.join(folder, "no", "s")
        seen.append(await raises(loop.create_unix_server(Recorder, nowhere)))
        return [*seen, await raises(loop.create_unix_server(Recorder))]


@probe("loop.create_unix_server", "takes over the socket that a dead server has left")
async def stale_socket(loop):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(path)
        server = await loop.create_unix_server(Recorder, path)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
        server.close()


@probe("loop.create_unix_server", "its socket goes with it, `cleanup_socket=`", since=(3, 13))
async def cleanup_socket(loop):
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        for options in ({}, {"cleanup_socket": False}):
            server = await loop.create_unix_server(Recorder, path, **options)
            server.close()
            await asyncio.sleep(0.01)
            seen.append(os.path.exists(path))
    return seen


@probe("loop.create_unix_server", "an abstract name, and `sock=`")
async def abstract(loop):
    name = abstract_name()
    server = await loop.create_unix_server(Recorder, name)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(name)
    server.close()
    with tempfile.TemporaryDirectory() as folder:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(os.path.join(folder, "s"))
        server = await loop.create_unix_server(Recorder, sock=sock)
        seen = stat.S_ISSOCK(os.stat(sock.getsockname()).st_mode)
        server.close()
        return seen


@probe("loop.connect_accepted_socket", "over TCP and a unix socket")
async def connect_accepted_socket(loop):
    seen = []
    with listening() as listener, socket_pair() as (one, other):
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        for sock, peer in ((accepted, client), (one, other)):
            transport, protocol = await loop.connect_accepted_socket(Recorder, sock)
            peer.send(b"question")
            seen.append(await protocol.received(8))
            transport.write(b"answer")
            await asyncio.sleep(0.01)
            seen.append(peer.recv(9))
            transport.close()
            await protocol.lost
            peer.close()
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        return [*seen, await raises(loop.connect_accepted_socket(Recorder, datagrams))]


@probe("loop.create_server", "out of descriptors: it goes on when there are some again")
async def out_of_descriptors(loop):
    import resource

    loop.set_exception_handler(lambda loop, context: None)
    made = []
    server = await loop.create_server(lambda: made.append(Recorder()) or made[-1], LOCALHOST, 0)
    with socket.socket() as client:
        highest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        fillers = []
        try:
            while True:
                fillers.append(os.dup(0))
        except OSError:
            pass
        client.connect(server.sockets[0].getsockname())
        await asyncio.sleep(0.1)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for filler in fillers:
            os.close(filler)
        client.send(b"data")
        await until(lambda: made and made[0].data)
    server.close()
    return made[0].data


@probe("asyncio.start_server", "a handler that fails is told; the connection goes")
async def failing_handler(loop):
    async def serve(reader, writer):
        try:
            raise KeyError
        finally:
            writer.close()

    server = await asyncio.start_server(serve, LOCALHOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    seen = await reader.read()
    writer.close()
    server.close()
    await asyncio.sleep(0.01)
    return seen


@probe("loop.create_server", "the same names as the client sees")
async def names(loop):
    async with connected(loop) as both:
        ours, theirs = both.client.get_extra_info, both.server.get_extra_info
        return ours("sockname") == theirs("peername"), ours("peername") == theirs("sockname")
