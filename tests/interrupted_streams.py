"""The scenarios of TCP, pipes and lookups, each interrupted after its `yield`."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from helpers import LOCALHOST, has_libuv, ignore, listening
from interrupted_lowlevel import about
from interrupted_world import World
from interrupting import Steps

import uvbind
from uvbind import TCP, UDP, Handle, Loop, Pipe, Request, RunMode, Stream, getaddrinfo, getnameinfo

MUCH = bytes(4 << 20)  # more than the kernel takes at once


def pair(world: World) -> tuple[TCP, TCP]:
    """Two connected handles."""
    return TCP.socketpair(world.loop)


def pipes(world: World, ipc: bool = False) -> tuple[Pipe, Pipe]:
    ends = socket.socketpair()
    made = Pipe(world.loop, ipc), Pipe(world.loop, ipc)
    for pipe, end in zip(made, ends):
        pipe.open(end)
    return made


def accept(server: Any, error: object) -> None:
    """The connection may be gone: the callback was cut off before it."""
    with contextlib.suppress(BlockingIOError):
        server.accept()


def later(world: World, function: Callable[[], object]) -> None:
    world.later.append(function)


@about(TCP.bind, TCP.getsockname, TCP.listen, Stream.listen, Stream.accept)
def tcp_server(world: World) -> Steps:
    server, clients = TCP(world.loop), []

    def accept(server: TCP, error: object) -> None:
        clients.append(server.accept())
        client.close()

    accepted = world.callback(accept, at_most=100)
    client = socket.socket()
    world.stack.callback(client.close)
    yield
    server.bind(LOCALHOST)
    server.listen(accepted)
    client.connect(server.getsockname())
    world.until(accepted)


@about(Stream.listen)
def tcp_listens(world: World) -> Steps:
    """The connection comes in any case."""
    server = TCP(world.loop)
    server.bind(LOCALHOST)
    address = server.getsockname()
    accepted = world.callback(accept, handle=server, at_most=100)
    client = world.stack.enter_context(socket.socket())

    def connect() -> None:
        if server.is_active():
            client.connect(address)

    world.later.append(connect)
    yield
    server.listen(accepted)


@about(Stream.accept)
def accepted_into_a_handle(world: World) -> Steps:
    """The callback is interrupted, and accepts in the next turn."""
    server = listening(world.loop, world.callback(lambda *about: world.loop.stop()))
    client = world.stack.enter_context(socket.socket())
    client.connect(server.getsockname())
    world.loop.run()
    yield
    server.accept(TCP(world.loop))


@about(TCP.connect, TCP.getpeername)
def tcp_connected(world: World) -> Steps:
    server = listening(world.loop, accept)
    client = TCP(world.loop)
    connected = world.callback(lambda client, error: error or client.getpeername(), request=True)
    yield
    client.connect(server.getsockname(), connected)
    world.expect(connected)
    world.until(connected)
    client.write(b"data")


@about(Stream.read_start, Stream.read_stop, Stream.is_readable)
def read(world: World) -> Steps:
    ours, theirs = pair(world)
    got = world.callback(lambda stream, data, error: stream.read_stop())
    theirs.write(b"data")

    def again() -> None:
        try:
            ours.read_start(got)
        except BlockingIOError:
            pass
        except uvbind.UVError as error:
            if error.name != "EALREADY":
                raise
        if not got.count:
            world.expect(got)

    world.later.append(lambda: ours.is_closing() or got.count or again())
    yield
    ours.read_start(got)
    world.until(got)
    assert ours.is_readable()
    ours.read_stop()


@about(Stream.read_start)
def read_started_again(world: World) -> Steps:
    """C must not call a callback that is gone."""
    ours, theirs = pair(world)
    ours.read_start(lambda stream, data, error: stream.is_active())
    theirs.write(b"data")
    world.loop.run(RunMode.NOWAIT)
    ours.read_stop()
    theirs.write(b"data")
    yield
    ours.read_start(lambda stream, data, error: stream.is_active())
    world.loop.run(RunMode.NOWAIT)


@about(Stream.read_start_into)
def read_into(world: World) -> Steps:
    ours, theirs = pair(world)
    theirs.write(b"data")
    yield
    ours.read_start_into(bytearray(100), lambda stream, n, error: stream.is_active())
    world.loop.run(RunMode.NOWAIT)
    ours.read_stop()


@about()
def read_until_the_end(world: World) -> Steps:
    ours, theirs = pair(world)
    ended = world.callback()

    def on_read(stream: TCP, data: bytes | None, error: object) -> None:
        if error is not None:
            ended()

    ours.read_start(on_read)
    theirs.close()
    world.expect(ended)
    yield
    world.until(ended)


WRITES: dict[str, Callable[[Any, Any], object]] = {
    "bytes": lambda stream, done: stream.write(b"data"),
    "bytearray": lambda stream, done: stream.write(bytearray(b"data")),
    "much": lambda stream, done: stream.write(MUCH),
    "much_of_bytearray": lambda stream, done: stream.write(bytearray(MUCH)),
    "callback": lambda stream, done: stream.write(b"data", done),
    "much_callback": lambda stream, done: stream.write(MUCH, done),
    "lines": lambda stream, done: stream.writelines([b"data", b"more"]),
    "lines_callback": lambda stream, done: stream.writelines([b"data", MUCH], done),
    "shutdown": lambda stream, done: stream.shutdown(),
    "shutdown_callback": lambda stream, done: stream.shutdown(done),
}


def written(name: str) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        ours, theirs = pair(world)
        with_callback = "callback" in name
        done = world.callback(request=with_callback)
        theirs.read_start(ignore)
        yield
        WRITES[name](ours, done)
        if with_callback:
            world.expect(done)
            world.until(done)
        else:
            world.loop.run(RunMode.NOWAIT)
        assert ours.write_queue_size >= 0

    scenario.__name__ = f"written_{name}"
    return scenario


for _name in WRITES:
    verb = TCP.writelines if "lines" in _name else TCP.write
    verb = TCP.shutdown if "shutdown" in _name else verb
    about(verb, TCP.write_queue_size)(written(_name))


@about(TCP.try_write, TCP.is_writable, TCP.set_blocking)
def tried_to_write(world: World) -> Steps:
    ours, _theirs = pair(world)
    yield
    assert ours.try_write(b"data") == 4
    assert ours.is_writable()
    ours.set_blocking(False)


@about(TCP.close)
def closed_while_writing(world: World) -> Steps:
    ours, _theirs = pair(world)
    done = world.callback()
    closed = world.callback(handle=ours, closing=True)
    ours.write(MUCH, done)
    ours.read_start(ignore)
    world.expect(done)
    yield
    ours.close(closed)
    world.expect(closed)
    world.until(closed)


@about(TCP.close_reset)
def closed_by_a_reset(world: World) -> Steps:
    ours, _theirs = pair(world)
    closed = world.callback(handle=ours, closing=True)
    yield
    ours.close_reset(closed)
    world.expect(closed)
    world.until(closed)


@about(TCP.keepalive_ex, UDP.open_ex)
def verbs_of_newer_libuvs(world: World) -> Steps:
    tcp, udp = TCP(world.loop, socket.AF_INET), UDP(world.loop)
    sock = world.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    yield
    with contextlib.suppress(uvbind.UVError, NotImplementedError):
        tcp.keepalive_ex(True, 10, 1, 1)
    with contextlib.suppress(uvbind.UVError, NotImplementedError):
        udp.open_ex(sock)


@about(TCP.nodelay, TCP.keepalive, TCP.simultaneous_accepts, TCP.socketpair)
def tcp_options_set(world: World) -> Steps:
    yield
    TCP.socketpair(world.loop)
    tcp = TCP(world.loop, socket.AF_INET)
    tcp.nodelay(True)
    tcp.keepalive(True, 10)
    tcp.simultaneous_accepts(True)


def opened(kind: Any) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        type_ = socket.SOCK_DGRAM if kind is UDP else socket.SOCK_STREAM
        family = socket.AF_UNIX if kind is Pipe else socket.AF_INET
        handle = kind(world.loop)
        sock = world.stack.enter_context(socket.socket(family, type_))
        yield
        handle.open(sock)
        assert sock.fileno() == -1

    scenario.__name__ = f"opened_{kind.__name__.lower()}"
    return scenario


for _kind in (TCP, Pipe, UDP):
    about(_kind.open)(opened(_kind))


# -- pipes


@about(Pipe.bind, Pipe.listen, Pipe.connect, Pipe.accept, Pipe.getsockname, Pipe.getpeername)
def pipe_served(world: World) -> Steps:
    name = world.path()
    server, client = Pipe(world.loop), Pipe(world.loop)
    accepted = world.callback(accept, at_most=100)
    connected = world.callback(request=True)
    yield
    server.bind(name)
    server.listen(accepted)
    client.connect(name, connected)
    world.expect(connected)
    world.until(connected, accepted)
    server.getsockname()
    client.getpeername()


@about(Pipe.bind2, Pipe.connect2, Pipe.chmod, Pipe.pending_instances)
def pipe_served_by_the_newer_verbs(world: World) -> Steps:
    name = world.path()
    server, client = Pipe(world.loop), Pipe(world.loop)
    connected = world.callback(request=True)
    yield
    server.pending_instances(1)
    with world.needs(1, 46):
        server.bind2(name)
    if not has_libuv(1, 46):
        server.bind(name)
    server.chmod(readable=True)
    server.listen(accept)
    with world.needs(1, 46):
        client.connect2(name, connected)
    if not has_libuv(1, 46):
        client.connect(name, connected)
    world.expect(connected)
    world.until(connected)


@about(Pipe.write2, Pipe.try_write2, Pipe.accept, Pipe.pending_count, Pipe.pending_type)
def handles_passed(world: World) -> Steps:
    ours, theirs = pipes(world, ipc=True)
    first, second = UDP(world.loop, socket.AF_INET), UDP(world.loop, socket.AF_INET)

    def take(stream: Pipe, data: object, error: object) -> None:
        while stream.pending_count():
            assert stream.pending_type() is UDP
            stream.accept()

    theirs.read_start(take)
    done = world.callback(request=True)
    yield
    ours.try_write2(b"1", first)
    ours.write2(b"2", second, done)
    world.expect(done)
    world.until(done)
    second.close()
    world.loop.run(RunMode.NOWAIT)


@about(Pipe.write2, Handle.close)
def passed_and_closed(world: World) -> Steps:
    ours, theirs = pipes(world, ipc=True)
    passed = UDP(world.loop, socket.AF_INET)
    done = world.callback(request=True)
    closed = world.callback()
    ours.write(MUCH)
    yield
    ours.write2(b"data", passed, done)
    world.expect(done)
    passed.close(closed)
    world.expect(closed)
    theirs.read_start(ignore)
    world.until(closed)


@about(uvbind.pipe)
def descriptors_of_a_pipe(world: World) -> Steps:
    yield
    for fd in uvbind.pipe():
        world.stack.callback(os.close, fd)


# -- lookups

HOSTS = ("127.0.0.1", "localhost")


def looked_up(host: str, with_callback: bool) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        found = world.callback(request=True)
        getaddrinfo(world.loop, "localhost", callback=ignore)  # makes the pool of threads
        world.loop.run()
        yield
        if with_callback:
            getaddrinfo(world.loop, host, 80, callback=found)
            world.expect(found)
            world.until(found)
        else:
            getaddrinfo(world.loop, host, 80)

    scenario.__name__ = f"looked_up_{host}" + ("_with_callback" if with_callback else "")
    return scenario


for _host in HOSTS:
    about(getaddrinfo)(looked_up(_host, True))
    about(getaddrinfo)(looked_up(_host, False))


@about(getnameinfo)
def address_looked_up(world: World) -> Steps:
    found = world.callback(request=True)
    getaddrinfo(world.loop, "localhost", callback=ignore)
    world.loop.run()
    yield
    getnameinfo(world.loop, ("127.0.0.1", 80), callback=found)
    world.expect(found)
    world.until(found)


@about(getnameinfo)
def address_looked_up_at_once(world: World) -> Steps:
    yield
    getnameinfo(world.loop, ("127.0.0.1", 80))


@about(Request.cancel)
def lookups_cancelled(world: World) -> Steps:
    done = [world.callback() for _ in HOSTS]
    requests = [
        getaddrinfo(world.loop, host, callback=callback) for host, callback in zip(HOSTS, done)
    ]
    world.expect(*done)
    yield
    for request in requests:
        with contextlib.suppress(uvbind.UVError):  # a thread is at it
            request.cancel()
    world.until(*done)


assert Loop
