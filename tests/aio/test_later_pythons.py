"""A later Python: names that asyncio no longer has, and arguments that its hooks have got."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import socket
import sys
from asyncio import selector_events, unix_events

import pytest
from helpers import run_python

import uvbind
from uvbind.aio import EventLoop

# The hooks that asyncio calls of its loop, with more arguments as it grows.
# (_make_subprocess_transport gets the arguments of Popen, all of which count.)
HOOKS = [
    "_accept_connection",
    "_accept_connection2",
    "_add_reader",
    "_add_writer",
    "_make_datagram_transport",
    "_make_read_pipe_transport",
    "_make_socket_transport",
    "_make_ssl_transport",
    "_make_write_pipe_transport",
    "_start_serving",
]
VARIABLE = contextvars.ContextVar("variable", default="none")


def test_what_asyncio_may_lose_is_not_read_at_import():
    printed = run_python(
        """
import asyncio
from asyncio import events, unix_events

lost = ("Policy", "Watcher", "_policy", "_watcher", "iscoroutinefunction")
for module in (asyncio, events, unix_events):
    for name in dir(module):
        if name.endswith(lost) and not name.endswith("_PidfdChildWatcher"):  # 3.15's own loop's
            module.__dict__.pop(name, None)
asyncio.__dict__.pop("__getattr__", None)  # Python 3.14 has the policies behind it

import uvbind.aio

for owner in (uvbind, uvbind.aio):
    print(hasattr(owner, "EventLoopPolicy"))
try:
    uvbind.install()
except RuntimeError as error:
    print("no event loop policies" in str(error), "loop_factory" in str(error))
loop = uvbind.new_event_loop()
print(loop.run_until_complete(asyncio.sleep(0, "ran")))
loop.close()
"""
    )
    assert printed.split() == ["False", "False", "True", "True", "ran"]


@pytest.fixture
def later_loop(monkeypatch):
    """Return a loop whose hooks get an argument that no Python passes yet."""

    def knows_it(hook):
        @functools.wraps(hook)
        def call(self, *arguments, novelty=None, **options):
            return hook(self, *arguments, **options)

        return call

    def adds_it(name):
        def call(self, *arguments, **options):
            called.add(name)
            return getattr(super(Later, self), name)(*arguments, **{**options, "novelty": 1})

        return call

    for base in (selector_events.BaseSelectorEventLoop, unix_events._UnixSelectorEventLoop):
        for name in set(HOOKS) & set(vars(base)):  # asyncio's own would know it
            monkeypatch.setattr(base, name, knows_it(vars(base)[name]))
    called: set[str] = set()
    Later = type("Later", (EventLoop,), {name: adds_it(name) for name in HOOKS})
    loop = Later()
    yield loop
    loop.close()
    assert called == set(HOOKS)


def test_hooks_take_arguments_that_they_do_not_know(later_loop, contexts):
    loop = later_loop
    unhandled = []
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))

    async def echo(reader, writer):
        writer.write(await reader.readexactly(1 << 20))
        writer.close()

    async def connections(server_tls, client_tls):
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls, limit=1 << 21)
        options = {"ssl": client_tls, "server_hostname": "localhost"} if client_tls else {}
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, limit=1 << 21, **options)
        writer.write(bytes(1 << 20))
        assert await reader.read(-1) == bytes(1 << 20)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    async def datagrams():
        received = loop.create_future()

        class Takes(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                received.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Takes, local_addr=("127.0.0.1", 0))
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        assert await received == b"x"
        transport.close()

    async def pipes():
        read, write = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb")))
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read)
        transport, _ = await loop.connect_write_pipe(asyncio.Protocol, write)
        transport.write(b"x")
        transport.close()
        assert await reader.read() == b"x"

    async def main():
        await connections(None, None)
        await connections(*contexts)
        await datagrams()
        await pipes()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ready = loop.create_future()
            loop.add_writer(ours, ready.set_result, None)
            await ready
            loop.remove_writer(ours)

    loop.run_until_complete(asyncio.wait_for(main(), 30))
    assert unhandled == []


class Looks(asyncio.Protocol):
    """Changes the context in the first of its callbacks, and looks at it in the others."""

    def __init__(self, seen, lost):
        self.seen, self.lost = seen, lost

    def connection_made(self, transport):
        self.transport = transport
        self.seen.append(VARIABLE.get())
        VARIABLE.set("connection")

    def data_received(self, data):
        self.seen.append(VARIABLE.get())
        self.transport.pause_reading()
        self.transport.resume_reading()

    def eof_received(self):
        self.seen.append(VARIABLE.get())

    def connection_lost(self, exc):
        self.seen.append(VARIABLE.get())
        self.lost.set_result(None)


class LooksIntoBuffer(Looks, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        self.buffer = bytearray(10)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(self.buffer[:nbytes])


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", [Looks, LooksIntoBuffer])
def test_a_protocol_runs_in_the_context_that_asyncio_passes(kind, debug):
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        context, lost = contextvars.copy_context(), loop.create_future()
        context.run(VARIABLE.set, "passed")
        loop._make_socket_transport(ours, kind(seen, lost), context=context)
        with theirs:
            for data in (b"1", b"2"):
                before = len(seen)
                await loop.sock_sendall(theirs, data)
                while len(seen) < before + 1 + (not before):
                    await asyncio.sleep(0)
        await lost
        assert context[VARIABLE] == "connection" and VARIABLE.get() == "none"

    uvbind.run(main())
    assert seen == ["passed", *["connection"] * 4]


@pytest.mark.parametrize("tls", [False, True])
def test_accepted_connections_have_copies_of_the_context_that_asyncio_passes(tls, contexts):
    if tls and sys.version_info < (3, 15):
        pytest.skip("asyncio accepts them itself, and has no contexts before Python 3.15")
    seen, made = [], []

    async def main():
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        context.run(VARIABLE.set, "server")
        lost = [loop.create_future(), loop.create_future()]

        def factory():
            made.append(VARIABLE.get())
            return Looks(seen, lost[len(made) - 1])

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            served = (factory, listener, contexts[0] if tls else None, None, 100, None, None)
            loop._add_reader(listener.fileno(), loop._accept_connection, *served, context)
            options = {"ssl": contexts[1], "server_hostname": "localhost"} if tls else {}
            for each in lost:
                address = listener.getsockname()
                _, writer = await asyncio.open_connection(*address, **options)
                writer.write(b"x")
                writer.close()
                await writer.wait_closed()
                await each
            loop._remove_reader(listener.fileno())
        assert context[VARIABLE] == "server"

    uvbind.run(main())
    assert made == ["server", "server"]
    assert seen == ["server", *["connection"] * 3] * 2
