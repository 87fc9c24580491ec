"""A closed loop that the program drops is freed at once, without the garbage collector.

So are the tasks, transports and protocols that it had. With the collector switched off they would
pile up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import weakref

import pytest

import uvbind

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="PyPy has no reference counts"
)


def new_pair():
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


async def nothing(loop):
    pass


async def timers(loop):
    loop.call_later(0.001, int)
    loop.call_later(3600, int)
    loop.call_later(3600, int).cancel()
    await asyncio.sleep(0.002)


async def calls_of_threads(loop):
    await loop.run_in_executor(None, loop.call_soon_threadsafe, int)
    await loop.shutdown_default_executor()


async def streams(loop):
    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x\n")
    assert await reader.read() == b"x\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def connections_left_open(loop):
    ours, theirs = new_pair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    theirs.close()
    transport.abort()


async def datagrams(loop):
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await asyncio.sleep(0)
    transport.close()


async def plain_sockets(loop):
    ours, theirs = new_pair()
    with ours, theirs:
        waiting = loop.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0)
        theirs.send(b"x")
        assert await waiting == b"x"


async def cancelled_waits(loop):
    ours, theirs = new_pair()
    with ours, theirs:
        waiting = loop.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        del waiting


async def readers(loop):
    ours, theirs = new_pair()
    with ours, theirs:
        loop.add_reader(ours, int)
        loop.add_writer(ours, int)
        await asyncio.sleep(0)
        loop.remove_reader(ours)
        loop.remove_writer(ours)


async def names(loop):
    await loop.getaddrinfo("localhost", 80)
    await loop.getaddrinfo("127.0.0.1", 80)
    await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)


async def signals(loop):
    called = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, called.set)
    signal.raise_signal(signal.SIGUSR1)
    await called.wait()


async def generators(loop):
    async def numbers():
        yield 1
        yield 2

    async for number in numbers():
        assert number == 1
        break


# Child processes are missing: what asyncio has for them are cycles, on its own loop too.
SCENARIOS = [nothing, timers, calls_of_threads, streams, connections_left_open, datagrams]
SCENARIOS += [plain_sockets, cancelled_waits, readers, names, signals, generators]


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_closed_loop_is_freed(new_loop, no_collector, scenario, debug):
    loop = new_loop()
    loop.set_debug(debug)
    loop.run_until_complete(scenario(loop))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gone = weakref.ref(loop)
    del loop
    assert gone() is None


def test_a_loop_that_never_ran_is_freed(new_loop, no_collector):
    loop = new_loop()
    loop.call_soon(int)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    assert gone() is None


@pytest.mark.parametrize("scenario", [nothing, timers, plain_sockets, names])
def test_a_run_leaves_nothing_for_the_collector(no_collector, scenario):
    async def main():
        await scenario(asyncio.get_running_loop())

    uvbind.run(main())
    assert gc.collect() == 0


def test_handles_of_the_loop_below_are_freed(no_collector):
    """A callback that has its handle forms a cycle, until the close callback has run."""
    freed = []
    loop = uvbind.Loop()
    handles = [uvbind.Timer(loop), uvbind.Idle(loop), uvbind.Signal(loop)]

    class Callback:
        def __init__(self, handle):
            self.handle = handle
            freed.append(weakref.ref(self))

        def __call__(self, *about):
            pass

    handles[0].start(Callback(handles[0]), 3600)
    handles[1].start(Callback(handles[1]))
    handles[2].start(Callback(handles[2]), signal.SIGUSR1)
    del handles
    loop.__exit__(None, None, None)
    assert [ref() for ref in freed] == [None] * 3
