"""A loop and its transports, and a thread that is not theirs."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import warnings
from concurrent.futures import Future

import pytest

import uvbind

PYPY = sys.implementation.name == "pypy"


def in_thread(function):
    """Call a function in a thread of its own; returns or raises what it does."""
    future: Future = Future()

    def call():
        try:
            future.set_result(function())
        except BaseException as exception:
            future.set_exception(exception)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return future.result()


async def work():
    await asyncio.sleep(0.001)
    return "done"


def test_a_loop_that_never_ran_is_closed_in_another_thread(new_loop):
    loop = new_loop()
    in_thread(loop.close)
    assert loop.is_closed()
    loop.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_loop_that_ran_is_closed_in_another_thread(new_loop, times):
    loop = new_loop()
    for _ in range(times):
        assert loop.run_until_complete(work()) == "done"
    in_thread(loop.close)
    assert loop.is_closed()


def test_a_loop_that_ran_in_another_thread_is_closed_here(new_loop):
    loop = in_thread(new_loop)
    assert in_thread(lambda: loop.run_until_complete(work())) == "done"
    loop.close()
    assert loop.is_closed()


def test_a_loop_that_runs_is_not_closed_in_another_thread(new_loop):
    loop = new_loop()

    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            in_thread(loop.close)
        return await work()

    assert loop.run_until_complete(main()) == "done"
    in_thread(loop.close)
    assert loop.is_closed()


@pytest.mark.skipif(PYPY, reason="PyPy collects when it likes")
@pytest.mark.parametrize("runs", [False, True])
def test_a_loop_that_is_forgotten_is_closed_by_whichever_thread_collects_it(new_loop, runs):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def forget():
        loop = new_loop()
        loop.itself = loop
        if runs:
            loop.run_until_complete(work())
        assert descriptors() > before

    gc.collect()
    before = descriptors()
    gc.disable()
    try:
        forget()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # an unclosed event loop
            in_thread(gc.collect)
        assert descriptors() == before
    finally:
        gc.enable()


class Recorder(asyncio.DatagramProtocol, asyncio.Protocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.got, self.lost = loop.create_future(), loop.create_future()

    def data_received(self, data):
        self.got.set_result(data)

    def datagram_received(self, data, addr):
        self.got.set_result(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("later", ["close", "abort"])
@pytest.mark.parametrize("verb", ["close", "abort"])
@pytest.mark.parametrize("kind", ["stream", "datagrams"])
def test_a_transport_is_not_closed_by_another_thread(kind, verb, later, debug):
    """asyncio leaves it to luck what then happens; here nothing does."""

    async def main():
        loop = asyncio.get_running_loop()
        if kind == "stream":
            ours, theirs = socket.socketpair()
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
        else:
            theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            transport, protocol = await loop.create_datagram_endpoint(
                Recorder, local_addr=("127.0.0.1", 0)
            )
            theirs.connect(transport.get_extra_info("sockname"))
        with theirs:
            with pytest.raises(RuntimeError, match="in use by another thread"):
                await loop.run_in_executor(None, getattr(transport, verb))
            assert not transport.is_closing()
            theirs.send(b"data")
            assert await protocol.got == b"data"
            getattr(transport, later)()
            assert transport.is_closing() and await protocol.lost is None

    loop = uvbind.new_event_loop()
    loop.set_debug(debug)
    loop.slow_callback_duration = 10.0
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
