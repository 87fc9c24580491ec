"""Timers that are never due, or whose time is no number."""

from __future__ import annotations

import asyncio
import math
import socket
import threading

import pytest
from helpers import ignore

import uvbind

FAR = [math.inf, 1e306, 1e15]


@pytest.mark.parametrize("far", FAR)
def test_a_far_timer_leaves_the_others_alone(run, far):
    async def main():
        loop = asyncio.get_running_loop()
        handle = loop.call_later(far, ignore)
        await asyncio.sleep(0.001)
        assert await loop.run_in_executor(None, int) == 0  # nothing else is to come meanwhile
        handle.cancel()

    run(main)


@pytest.mark.parametrize("far", FAR)
def test_a_far_timer_can_be_asked_for_when_data_comes(run, far):
    class Asks(asyncio.Protocol):
        def data_received(self, data):
            handles.append(loop().call_later(far, ignore))
            loop().call_later(0.001, near.set_result, data)

        def connection_lost(self, exc):
            lost.set_result(exc)

    loop = asyncio.get_running_loop
    handles: list[asyncio.TimerHandle] = []

    async def main():
        nonlocal near, lost
        near, lost = loop().create_future(), loop().create_future()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop().create_connection(Asks, sock=ours)
            loop().call_later(0.001, theirs.send, b"x")
            assert await near == b"x"
            handles[0].cancel()
            transport.close()
            assert await lost is None

    near = lost = None
    run(main)


@pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout is of Python 3.11")
def test_a_timeout_that_never_comes_in_a_task_that_goes_on_at_once(new_loop):
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await uvbind.open_connection(sock=ours)
            loop = asyncio.get_running_loop()
            loop.call_later(0.001, theirs.send, b"one\n")
            assert await reader.readline() == b"one\n"
            async with asyncio.timeout(math.inf):  # inside the transport's call
                loop.call_later(0.001, theirs.send, b"two\n")
                assert await reader.readline() == b"two\n"
            writer.close()
            await writer.wait_closed()

    loop = new_loop()  # not in debug mode
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    loop.close()


@pytest.mark.parametrize("now", [math.nan, -math.inf, -1e306])
def test_what_is_no_time_to_come_is_now(new_loop, now):
    calls: list[str] = []

    loop = new_loop()
    loop.call_later(now, calls.append, "now")
    loop.call_later(0.001, lambda: (calls.append("later"), loop.stop()))
    # wait_for() would have a timer beside it, and how that compares to a NaN is anybody's guess.
    guard = threading.Timer(30, loop.call_soon_threadsafe, [loop.stop])
    guard.start()
    loop.run_forever()
    guard.cancel()
    guard.join()
    loop.close()
    assert calls == ["now", "later"]
