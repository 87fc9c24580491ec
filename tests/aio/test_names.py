"""Names of hosts and services, looked up by an asyncio loop."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import uvbind


@pytest.mark.parametrize(
    ("host", "port"),
    [
        *itertools.product(["127.0.0.1", "::1", "localhost", b"127.0.0.1"], [80, "http", None]),
        (None, 80),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_names_are_looked_up(run, host, port, debug):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        try:
            expected = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:  # a system without /etc/services (Debian: netbase)
            assert error.errno == socket.EAI_SERVICE
            with pytest.raises(socket.gaierror) as caught:
                await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            assert caught.value.errno == socket.EAI_SERVICE
            return
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        assert found == expected
        assert await loop.getnameinfo(found[0][4]) == socket.getnameinfo(found[0][4], 0)

    run(main)


def test_a_name_that_is_not_there(run):
    async def main():
        with pytest.raises(socket.gaierror):
            await asyncio.get_running_loop().getaddrinfo("no-such-host.invalid", 80)

    run(main)


def test_a_lookup_that_nobody_waits_for(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(False)  # in which asyncio looks up
        for _ in range(20):
            task = loop.create_task(loop.getaddrinfo("localhost", 80))
            await asyncio.sleep(0)
            if not task.cancel():  # asyncio's thread was done before the task could wait for it
                assert task.done() and not isinstance(loop, uvbind.EventLoop)
                continue
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


def test_what_was_ready_before_goes_first(run):
    """A task goes on in libuv's callback, but not before what waits for the loop's next turn."""

    async def main():
        loop, order = asyncio.get_running_loop(), []
        loop.set_debug(False)  # in which asyncio looks up
        # asyncio looks up in a thread. From Python 3.14 on its task does not wait when the thread
        # has the result before the task asks: the thread is held until "ready" has come.
        held, thread = threading.Event(), ThreadPoolExecutor(1)
        loop.set_default_executor(thread)
        thread.submit(held.wait)

        async def look_up():
            await loop.getaddrinfo("localhost", 80)
            order.append("looked up")

        task = loop.create_task(look_up())
        while not task.done():
            loop.call_soon(order.append, "ready")
            loop.call_soon(held.set)
            await asyncio.sleep(0)
        assert order[0] == "ready" and order.count("looked up") == 1

    run(main)


def test_an_error_leaves_no_garbage(no_collector):
    async def main():
        loop = asyncio.get_running_loop()
        try:
            await loop.getaddrinfo("localhost", 80, flags=socket.AI_NUMERICHOST)
        except socket.gaierror as error:
            return weakref.ref(error)

    assert uvbind.run(main())() is None


def test_a_cancelled_lookup_leaves_no_garbage(no_collector):
    async def main():
        task = asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo("localhost", 80))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return weakref.ref(task)

    assert uvbind.run(main())() is None


def test_a_task_does_not_go_on_while_its_loop_closes():
    """It may look up again, and the loop would never be closed."""
    looked_up = 0

    async def again_and_again():
        nonlocal looked_up
        while True:
            await loop.getaddrinfo("localhost", 80)
            looked_up += 1

    loop = uvbind.new_event_loop()
    coroutine = again_and_again()
    coroutine.send(None)
    loop.close()
    assert looked_up == 0
    coroutine.close()  # with nothing to cancel any more


def test_closing_raises_what_a_callback_raised_and_calls_the_rest():
    called = []

    def first(request, results, error):
        uvbind.getaddrinfo(loop.uv, "::1", 80, callback=lambda *arguments: called.append(1))
        raise SystemExit(3)

    loop = uvbind.new_event_loop()
    uvbind.getaddrinfo(loop.uv, "127.0.0.1", 80, callback=first)
    with pytest.raises(SystemExit):
        loop.close()
    assert called and loop.is_closed()
