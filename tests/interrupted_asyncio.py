"""The scenarios of the asyncio loop's own verbs, each interrupted after its `yield`.

To add a verb: name it above the scenario that calls it, or add a scenario.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from helpers import HARMLESS, ignore, kill
from interrupted_asyncio_world import World
from interrupting import Scenario, Steps

import uvbind
from uvbind._callbacks import FAST
from uvbind.aio import EventLoop
from uvbind.aio._readiness import ReadinessSet, Selector
from uvbind.aio._scheduler import PURE

SCENARIOS: list[Scenario] = []
MUCH = bytes(1 << 20)  # more than a pair of sockets takes at once


def about(*verbs: Any) -> Callable[[Callable[[World], Steps]], Callable[[World], Steps]]:
    def add(function: Callable[[World], Steps]) -> Callable[[World], Steps]:
        SCENARIOS.append(Scenario(function, verbs))
        return function

    return add


# -- loops


def finish_closing(loops: list[Any]) -> None:
    for loop in loops:
        loop.close()


@about(uvbind.new_event_loop, EventLoop, EventLoop.close)
def loop_made_and_closed(world: World) -> Steps:
    made: list[Any] = []
    world.later.append(lambda: finish_closing(made))
    yield
    loop = uvbind.new_event_loop()
    made.append(loop)
    loop.close()


@about(EventLoop.close)
def loop_closed_with_all_kinds_of_work(world: World) -> Steps:
    loop = uvbind.new_event_loop()
    world.later.append(loop.close)
    ours, _theirs = world.pair()
    reading, _writing = world.pair()
    loop.add_reader(reading, ignore)
    loop.add_signal_handler(HARMLESS, ignore)
    loop.call_later(1000, ignore)
    loop.call_soon(ignore)
    transport, _ = loop.run_until_complete(
        loop.connect_accepted_socket(asyncio.Protocol, ours),
    )
    transport.write(MUCH)
    yield
    loop.close()


@about(uvbind.run)
def program_run(world: World) -> Steps:
    async def main() -> None:
        await asyncio.sleep(0.001)

    yield
    coroutine = main()
    world.stack.callback(coroutine.close)
    world.elsewhere = True
    try:
        uvbind.run(coroutine)
    except RuntimeError:  # asyncio's Runner cannot close a loop that has a stop() left
        if world.injector.raised is None:
            raise
        world.raised_to_us = True


@about(EventLoop.stop, EventLoop.run_forever)
def loop_stopped(world: World) -> Steps:
    yield
    world.loop.call_soon(world.loop.stop)
    world.loop.run_forever()


@about(EventLoop.metrics)
def loop_measured(world: World) -> Steps:
    world.connected()
    yield
    world.loop.metrics()


@about(EventLoop.shutdown_default_executor)
def executor_shut_down(world: World) -> Steps:
    yield
    world.run(world.loop.shutdown_default_executor())


# -- calls


@about(EventLoop.call_soon, EventLoop.call_at, EventLoop.call_later, EventLoop.run_until_complete)
def calls_later(world: World) -> Steps:
    done = world.loop.create_future()

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(101):  # so many that the loop forgets them at once
            loop.call_later(1000, ignore).cancel()
        loop.call_soon(ignore).cancel()
        loop.call_later(0.001, done.set_result, None)
        await done

    yield
    world.run(wait())


@about(EventLoop.call_soon, EventLoop.call_at)
def calls_later_in_debug_mode(world: World) -> Steps:
    world.loop.set_debug(True)
    world.loop.slow_callback_duration = 0.0005
    yield
    world.run(asyncio.sleep(0.001))


@about(EventLoop.call_soon_threadsafe, EventLoop.run_in_executor)
def call_from_a_thread(world: World) -> Steps:
    yield
    world.run(world.loop.run_in_executor(None, ignore) and asyncio.sleep(0))
    future = world.loop.create_future()
    world.loop.call_soon_threadsafe(future.set_result, None)

    async def wait() -> None:
        await future

    world.run(wait())


@about()
def function_in_the_executor(world: World) -> Steps:
    async def wait() -> None:
        await asyncio.get_running_loop().run_in_executor(None, ignore)

    yield
    world.run(wait())


# -- signals


@about(EventLoop.add_signal_handler, EventLoop.remove_signal_handler)
def signal_handled(world: World) -> Steps:
    loop, got = world.loop, asyncio.Event()
    before = signal.getsignal(HARMLESS)
    world.stack.callback(signal.signal, HARMLESS, before)

    async def wait() -> None:
        loop.add_signal_handler(HARMLESS, got.set)
        kill(HARMLESS)
        await got.wait()
        loop.remove_signal_handler(HARMLESS)

    world.later.append(got.set)
    yield
    world.run(wait())


@about(EventLoop.remove_signal_handler)
def cancelled_signal_handler(world: World) -> Steps:
    loop = world.loop
    world.stack.callback(signal.signal, HARMLESS, signal.getsignal(HARMLESS))
    loop.add_signal_handler(HARMLESS, ignore)
    loop._signal_handlers[HARMLESS].cancel()
    yield
    kill(HARMLESS)
    world.turns()


# -- descriptors


def of_the_set(*names: str) -> list[Any]:
    """Return methods of the set that the loop has, when that is in Python."""
    in_python = PURE or "readiness_type" not in FAST
    return [getattr(ReadinessSet, name) for name in names if in_python]


@about(
    EventLoop.add_reader,
    EventLoop.add_writer,
    EventLoop.remove_reader,
    EventLoop.remove_writer,
    Selector,
    *of_the_set(
        "__init__", "add_reader", "add_writer", "remove_reader", "remove_writer", "on_ready"
    ),
)
def descriptors_watched(world: World) -> Steps:
    loop = world.loop
    ours, theirs = world.pair()
    readable, writable = loop.create_future(), loop.create_future()

    def have(future: Any) -> None:
        future.done() or future.set_result(None)

    async def wait() -> None:
        loop.add_reader(ours, have, readable)
        loop.add_writer(ours, have, writable)
        theirs.send(b"data")
        await readable
        await writable
        loop.remove_reader(ours)
        loop.remove_writer(ours)

    yield
    selector = Selector(loop.uv, loop._new_readiness_set())
    world.stack.callback(selector.close)
    selector.close()
    world.run(wait())


@about(*of_the_set("add_writer"))
def descriptor_whose_number_is_anothers(world: World) -> Steps:
    loop = world.loop
    ours, _theirs = world.pair()
    other, _others = world.pair()
    loop.add_reader(ours, ignore)
    fd = ours.fileno()
    os.dup2(other.fileno(), fd)
    yield
    loop.add_writer(fd, ignore)
    world.turns()
    loop.remove_writer(fd)
    loop.remove_reader(fd)


@about(*of_the_set("forget", "list"), Selector.get_map, Selector.get_key)
def descriptor_forgotten(world: World) -> Steps:
    loop = world.loop
    ours, _theirs = world.pair()
    loop.add_reader(ours, ignore)
    yield
    loop._selector.get_map()
    loop._selector.get_key(ours)
    loop._readiness.forget(ours.fileno())
    world.turns()


# -- sockets


async def serve_one(loop: Any, listener: socket.socket, world: World) -> None:
    connection, _ = await loop.sock_accept(listener)
    world.stack.callback(connection.close)
    await loop.sock_sendall(connection, b"data")


@about(EventLoop.sock_connect, EventLoop.sock_accept, EventLoop.sock_recv, EventLoop.sock_sendall)
def sockets_connected(world: World) -> Steps:
    loop, listener = world.loop, world.listener()
    client = world.stack.enter_context(socket.socket())
    client.setblocking(False)

    async def talk() -> None:
        serving = asyncio.ensure_future(serve_one(loop, listener, world))
        try:
            await loop.sock_connect(client, listener.getsockname())
            waiting = asyncio.ensure_future(loop.sock_recv(client, 10))
            done, _ = await asyncio.wait([waiting, serving], return_when="FIRST_EXCEPTION")
            for task in done:
                task.result()
        finally:
            serving.cancel()

    yield
    world.run(talk())


@about(EventLoop.sock_sendall)
def much_sent_by_sockets(world: World) -> Steps:
    loop = world.loop
    ours, theirs = world.pair()

    async def read() -> None:
        left = len(MUCH)
        while left:
            left -= len(await loop.sock_recv(theirs, 1 << 20))

    async def talk() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, bytearray(MUCH)))
        reading = asyncio.ensure_future(read())
        try:
            await asyncio.gather(sending, reading)
        finally:
            sending.cancel()
            reading.cancel()

    yield
    world.run(talk())


@about(
    EventLoop.sock_recv_into,
    EventLoop.sock_recvfrom,
    EventLoop.sock_recvfrom_into,
    EventLoop.sock_sendto,
)
def datagrams_of_sockets(world: World) -> Steps:
    loop = world.loop
    ours = world.stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    ours.setblocking(False)
    ours.bind(("127.0.0.1", 0))
    address = ours.getsockname()

    async def talk() -> None:
        for _ in range(3):
            await loop.sock_sendto(ours, b"data", address)
        await loop.sock_recv_into(ours, bytearray(10))
        await loop.sock_recvfrom(ours, 10)
        await loop.sock_recvfrom_into(ours, bytearray(10))

    yield
    world.run(talk())


@about(EventLoop.sock_sendfile)
def file_sent_by_a_socket(world: World) -> Steps:
    ours, theirs = world.pair()
    file = world.stack.enter_context(os.fdopen(os.open(__file__, os.O_RDONLY), "rb"))
    theirs.setblocking(False)
    yield
    world.run(world.loop.sock_sendfile(ours, file, 0, 1000))


@about(EventLoop.sock_recv)
def wait_cancelled(world: World) -> Steps:
    loop = world.loop
    ours, _theirs = world.pair()

    async def talk() -> None:
        task = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    yield
    world.run(talk())


# -- names


def looked_up(host: str) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        world.run(world.loop.getaddrinfo("localhost", 80))  # makes the pool of threads
        yield
        world.run(world.loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM))

    scenario.__name__ = f"looked_up_{host}"
    return scenario


for _host in ("localhost", "127.0.0.1"):
    about(EventLoop.getaddrinfo)(looked_up(_host))


@about(EventLoop.getaddrinfo)
def looked_up_by_asyncio(world: World) -> Steps:
    yield
    world.run(world.loop.getaddrinfo("127.0.0.1", "80"))


@about(EventLoop.getaddrinfo)
def lookup_cancelled(world: World) -> Steps:
    world.run(world.loop.getaddrinfo("localhost", 80))

    async def cancel() -> None:
        task = asyncio.ensure_future(world.loop.getaddrinfo("localhost", 80))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    yield
    world.run(cancel())


@about(EventLoop.getnameinfo)
def address_looked_up(world: World) -> Steps:
    world.run(world.loop.getaddrinfo("localhost", 80))
    yield
    world.run(world.loop.getnameinfo(("127.0.0.1", 80)))
