"""Timers that are never due, or whose time is no number."""

from __future__ import annotations

import asyncio
import math
import socket
import threading

import pytest
from helpers import ignore

import uvbind

FAR = [math.inf, 1e306]


@pytest.fixture
def run(new_loop):
    """Run a coroutine function in a loop with no timer but its own: what is far is next then."""

    def run(main):
        loop = new_loop()
        guard = threading.Timer(30, loop.call_soon_threadsafe, [loop.stop])
        guard.start()
        try:
            loop.run_until_complete(main(loop))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            guard.cancel()
            guard.join()
            loop.close()

    return run


@pytest.mark.parametrize("far", FAR)
def test_a_far_timer_leaves_the_others_alone(run, far):
    async def main(loop):
        handle = loop.call_later(far, ignore)
        await asyncio.sleep(0.001)
        assert await loop.run_in_executor(None, int) == 0  # nothing else is to come meanwhile
        handle.cancel()

    run(main)


@pytest.mark.parametrize("far", FAR)
def test_a_far_timer_can_be_asked_for_when_data_comes(run, far):
    async def main(loop):
        class Asks(asyncio.Protocol):
            def data_received(self, data):
                loop.call_later(far, ignore).cancel()
                got.set_result(data)

            def connection_lost(self, exc):
                lost.set_result(exc)

        got, lost = loop.create_future(), loop.create_future()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(Asks, sock=ours)
            theirs.send(b"x")  # found by a poll that nothing else ends
            assert await got == b"x"
            transport.close()
            assert await lost is None

    run(main)


@pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout is of Python 3.11")
def test_a_timeout_that_never_comes_in_a_task_that_goes_on_at_once(run):
    async def main(loop):
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await uvbind.open_connection(sock=ours)

            loop.call_soon(theirs.send, b"one\n")
            assert await reader.readline() == b"one\n"
            async with asyncio.timeout(math.inf):  # inside the transport's call
                loop.call_soon(theirs.send, b"two\n")
                assert await reader.readline() == b"two\n"
            writer.close()
            await writer.wait_closed()

    run(main)


@pytest.mark.parametrize("now", [math.nan, -math.inf, -1e306])
def test_what_is_no_time_to_come_is_now(run, new_loop, now):
    if math.isnan(now) and new_loop is not uvbind.new_event_loop:
        pytest.skip("asyncio may wait for it with a selector, which fails")
    calls: list[str] = []

    async def main(loop):
        done = loop.create_future()
        loop.call_later(now, calls.append, "now")
        loop.call_later(0.001, lambda: (calls.append("later"), done.set_result(None)))
        await done

    run(main)
    assert calls == ["now", "later"]
