"""A transport that nobody keeps and that does not read is closed, as asyncio's is."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import weakref
from asyncio import selector_events

import pytest
from helpers import in_child, needs_fork

import uvbind


class Paused(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()


class PausedLater(asyncio.Protocol):
    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.pause_reading()
        self.ended.set_result(None)


class HalfOpen(asyncio.Protocol):
    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def eof_received(self):
        self.ended.set_result(None)
        return True


# asyncio of Python 3.11.2 reads on when it was paused in connection_made(); our loop does not.
READS_ON = "is_reading" not in selector_events._SelectorTransport._add_reader.__code__.co_names


def skip_what_reads_on(loop):
    if READS_ON and not isinstance(loop, uvbind.EventLoop):
        pytest.skip("this Python's transports read on when they are paused in connection_made()")


async def collected(transport):
    """Wait until a transport is no more; PyPy needs several rounds of its collector."""
    for _ in range(20):
        gc.collect()
        await asyncio.sleep(0)
        if transport() is None:
            break
    assert transport() is None, gc.get_referrers(transport())


async def peer_hears_the_end(loop, peer):
    peer.setblocking(False)
    assert await asyncio.wait_for(loop.sock_recv(peer, 1), 10) == b""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("factory", [Paused, PausedLater, HalfOpen])
def test_a_transport_that_is_forgotten_is_closed(run, factory):
    async def main():
        loop = asyncio.get_running_loop()
        if factory is Paused:
            skip_what_reads_on(loop)
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await loop.create_connection(factory, sock=ours)
            if factory is not Paused:
                peer.send(b"x")
                if factory is HalfOpen:
                    peer.shutdown(socket.SHUT_WR)
                await protocol.ended
            forgotten = weakref.ref(transport)
            await asyncio.sleep(0)
            del transport, protocol, ours
            await collected(forgotten)
            await peer_hears_the_end(loop, peer)

    run(main)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_it_warns(run):
    async def main():
        loop = asyncio.get_running_loop()
        skip_what_reads_on(loop)
        ours, peer = socket.socketpair()
        with peer:
            await loop.create_connection(Paused, sock=ours)
            await asyncio.sleep(0)
            del ours
            with pytest.warns(ResourceWarning, match="unclosed transport") as warned:
                for _ in range(20):  # for PyPy; in Python 3.15 the warning keeps the transport
                    gc.collect()
                    await asyncio.sleep(0)
                    if any("unclosed transport" in str(each.message) for each in warned):
                        break
            await peer_hears_the_end(loop, peer)

    run(main)


@pytest.mark.parametrize("reading", [True, False])
def test_one_that_reads_or_writes_is_kept(run, reading):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        received = loop.create_future()

        class Reading(asyncio.Protocol):
            def data_received(self, data):
                received.set_result(data)

        with peer:
            transport, protocol = await loop.create_connection(
                Reading if reading else Paused, sock=ours
            )
            kept = weakref.ref(transport)
            data = bytes(5_000_000)
            if not reading:
                transport.write(data)
                transport.close()
            del transport, protocol, ours
            for _ in range(3):
                gc.collect()
                await asyncio.sleep(0)
            if reading:
                await loop.sock_sendall(peer, b"x")
                assert await asyncio.wait_for(received, 10) == b"x"
                kept().close()
            else:
                size = 0
                while chunk := await asyncio.wait_for(loop.sock_recv(peer, 2**20), 10):
                    size += len(chunk)
                assert size == len(data)

    run(main)


@needs_fork
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_child_that_forgets_one_leaves_it_to_its_parent(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        raised = []

        def forget():
            monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.append(told.exc_value))
            transports.clear()
            for _ in range(3):  # PyPy needs several
                gc.collect()
            return raised

        with peer:
            transport, protocol = await loop.create_connection(Paused, sock=ours)
            await asyncio.sleep(0)
            transports = [transport]
            del transport, protocol, ours
            assert in_child(forget) == "[]"
            transports[0].write(b"here")
            assert await asyncio.wait_for(loop.sock_recv(peer, 4), 10) == b"here"
            transports[0].close()

    run(main)
