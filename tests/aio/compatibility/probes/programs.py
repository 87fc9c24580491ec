"""Whole programs, and what they leave."""

import asyncio
import contextlib
import gc
import os
import socket
import weakref

from peers import LOCALHOST, Recorder, connected, exchange, raised
from probing import probe


@probe("asyncio.run", "from a `loop_factory=`", since=(3, 12))
def run(new_loop):
    async def main():
        await asyncio.sleep(0.001)
        return isinstance(asyncio.get_running_loop(), type(new_loop()))

    return asyncio.run(main(), loop_factory=new_loop)


@probe("asyncio.Runner", "several runs in one loop, and what is left is cancelled")
def runner(new_loop):
    seen = []

    async def left():
        try:
            await asyncio.sleep(9)
        finally:
            seen.append("cancelled")

    async def main():
        seen.append(asyncio.get_running_loop())
        main.task = asyncio.ensure_future(left())
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
        runner.run(main())
    return seen[0] is seen[1], seen[2:], runner.__class__.__name__


@probe("asyncio.Runner", "`debug=True`")
def debugging_runner(new_loop):
    async def main():
        return asyncio.get_running_loop().get_debug()

    with asyncio.Runner(loop_factory=new_loop, debug=True) as runner:
        return runner.run(main())


@probe("loop.run_until_complete", "two loops by turns")
def by_turns(new_loop):
    loops, seen = [new_loop(), new_loop()], []
    for _ in range(2):
        for loop in loops:
            seen.append(loop.run_until_complete(exchange(loop)))
    for loop in loops:
        loop.close()
    return seen


@probe("the garbage collector", "a closed loop and its transports are freed")
def freed(new_loop):
    loop = new_loop()
    known = weakref.ref(loop)
    loop.run_until_complete(exchange(loop))
    loop.close()
    asyncio.set_event_loop(None)
    del loop
    gc.collect()
    return known() is None


@probe("the garbage collector", "a closed transport and its protocol are freed")
async def freed_transport(loop):
    async with connected(loop) as both:
        known = weakref.ref(both.ours)
        both.client.close()
        await both.theirs.lost
        await both.ours.lost
    del both
    await asyncio.sleep(0.001)
    gc.collect()
    return known() is None


@probe("descriptors", "none are left by a loop, its servers and its connections")
def no_descriptors_left(new_loop):
    def once():
        loop = new_loop()

        async def main():
            await exchange(loop)
            server = await loop.create_server(Recorder, LOCALHOST, 0)
            await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            server.close()
            await asyncio.sleep(0.001)

        loop.run_until_complete(main())
        loop.close()
        gc.collect()

    once()
    before = len(os.listdir("/proc/self/fd"))
    once()
    return len(os.listdir("/proc/self/fd")) - before


@probe("descriptors", "a connection stays its own when its socket object is closed")
async def closed_behind(loop):
    one, other = socket.socketpair()
    one.setblocking(False)
    with other:
        transport, protocol = await loop.create_connection(Recorder, sock=one)
        other.send(b"data")
        seen = await protocol.received(4)
        with contextlib.suppress(OSError):
            one.close()  # a mistake, which must not become another connection's
        strangers = socket.socketpair()
        transport.write(b"data")
        transport.abort()
        await asyncio.sleep(0.01)
        strangers[1].setblocking(False)
        try:
            stray = strangers[1].recv(9)
        except BlockingIOError:
            stray = b""
        usable = raised(strangers[0].send, b"x")
        return seen, stray, usable


@probe("asyncio.Queue", "and locks, events, conditions, semaphores, barriers of asyncio")
async def primitives(loop):
    queue, lock, event = asyncio.Queue(1), asyncio.Lock(), asyncio.Event()
    condition, semaphore = asyncio.Condition(), asyncio.Semaphore(1)

    async def producer():
        for number in range(3):
            await queue.put(number)
        event.set()
        async with condition:
            condition.notify_all()

    task = loop.create_task(producer())
    seen = [await queue.get() for _ in range(3)]
    await event.wait()
    async with lock, semaphore:
        await task
    return seen


@probe("asyncio.StreamReader", "readline, readuntil, readexactly, limits")
async def stream_reader(loop):
    async def serve(reader, writer):
        writer.write(b"line\nup;exact" + b"x" * 100 + b"\n")
        writer.close()

    server = await asyncio.start_server(serve, LOCALHOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=50)
    seen = [await reader.readline(), await reader.readuntil(b";"), await reader.readexactly(5)]
    try:
        await reader.readline()
    except ValueError:
        seen.append("too long")
    writer.close()
    server.close()
    return seen


@probe("asyncio.StreamWriter", "drain() waits for a slow reader")
async def stream_writer(loop):
    go_on = asyncio.Event()

    async def serve(reader, writer):
        await go_on.wait()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, LOCALHOST, 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(bytes(20_000_000))
    draining = loop.create_task(writer.drain())
    await asyncio.sleep(0.02)
    seen = draining.done()
    go_on.set()
    await draining
    writer.close()
    await writer.wait_closed()
    server.close()
    return seen
