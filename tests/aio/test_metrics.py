"""What an asyncio loop measures of itself. asyncio's own has nothing to compare it with."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time

import pytest
from helpers import MEGABYTES, has_libuv

import uvbind


async def connected(**tls):
    """A transport whose peer, a plain socket, reads nothing by itself."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours, **tls)
    return transport, theirs


def queued() -> int:
    return asyncio.get_running_loop().metrics().queued_bytes


def test_a_loop_that_sleeps_is_idle():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.metrics()
        await asyncio.sleep(0.2)
        slept = loop.metrics() - before
        assert 0 < slept.idle_time < slept.duration
        assert slept.utilisation < 0.5
        assert before.end <= loop.time() and slept.start == before.end
        if has_libuv(1, 45):
            assert 0 < slept.iterations <= 10 and slept.events == 0

    uvbind.run(main())


def test_a_loop_with_tasks_that_are_busy_is_not_idle():
    async def busy():
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        await asyncio.sleep(0)

    async def main():
        loop = asyncio.get_running_loop()
        before = loop.metrics()
        await asyncio.gather(*(busy() for _ in range(5)))
        assert (loop.metrics() - before).utilisation > 0.5

    uvbind.run(main())


def test_what_asyncio_is_about_to_call():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        before = loop.metrics()
        timers = [loop.call_later(60, print) for _ in range(3)]
        for _ in range(2):
            loop.call_soon(int)
        timers.pop().cancel()
        after = loop.metrics()
        assert (after.ready - before.ready, after.scheduled - before.scheduled) == (2, 2)
        window = after - before
        assert (window.ready, window.scheduled) == (after.ready, after.scheduled)
        assert type(window) is uvbind.EventLoopMetrics
        for timer in timers:
            timer.cancel()
        assert loop.metrics().scheduled == before.scheduled

    uvbind.run(main())


def test_handles_are_those_of_the_low_level_loop():
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.metrics().handles
        handles = [uvbind.Timer(loop.uv), uvbind.TCP(loop.uv)]
        assert loop.metrics().handles == loop.uv.metrics().handles == before + 2
        for handle in handles:
            handle.close()
        assert loop.metrics().handles == before

    uvbind.run(main())


def test_what_a_stream_has_queued():
    async def main():
        transport, theirs = await connected()
        with theirs:
            assert queued() == 0
            transport.write(MEGABYTES)
            assert queued() == transport.get_write_buffer_size() > 0
            transport.abort()
            await asyncio.sleep(0)
            assert queued() == 0

    uvbind.run(main())


def test_what_tls_has_queued():
    trustme = pytest.importorskip("trustme", reason="no trustme to make certificates with")
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)

    class Reluctant(asyncio.Protocol):
        def connection_made(self, transport):
            transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        (transport, _), (peer, _) = await asyncio.gather(
            loop.create_connection(
                asyncio.Protocol, sock=ours, ssl=client, server_hostname="localhost"
            ),
            loop.connect_accepted_socket(Reluctant, theirs, ssl=server),
        )
        assert queued() < 10_000, "OpenSSL has session tickets for the first answer"
        transport.write(MEGABYTES)
        first = queued()
        assert first > len(MEGABYTES) / 2
        transport.write(MEGABYTES)  # which since Python 3.11 TLS keeps
        assert queued() >= first + len(MEGABYTES)
        transport.abort()
        peer.abort()
        await asyncio.sleep(0.01)
        assert queued() == 0

    uvbind.run(main())


def test_what_a_datagram_transport_has_queued():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind("receiver")  # the working folder is the test's own
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, family=socket.AF_UNIX
            )
            assert queued() == 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(bytes(1000), "receiver")
            assert queued() == transport.get_write_buffer_size() >= 1000
            transport.abort()
            await asyncio.sleep(0)
            assert queued() == 0

    uvbind.run(main())


def test_what_a_pipe_has_queued():
    async def main():
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        with open(reader, "rb"), open(writer, "wb", buffering=0) as pipe:
            transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, pipe)
            assert queued() == 0
            transport.write(MEGABYTES)
            assert queued() == transport.get_write_buffer_size() > 0
            transport.abort()
            await asyncio.sleep(0)
            assert queued() == 0

    uvbind.run(main())


def test_measuring_goes_on_from_one_run_to_the_next():
    loop = uvbind.new_event_loop()
    before = loop.metrics()
    loop.run_until_complete(asyncio.sleep(0.1))
    between = loop.metrics()
    assert 0 < (between - before).idle_time < loop.metrics().duration
    with pytest.raises(ValueError, match="earlier for the same loop"):
        before - between
    with pytest.raises(TypeError, match="unsupported operand"):
        between - loop.uv.metrics()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.metrics()


def test_metrics_are_for_the_loops_thread():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="in use by another thread"):
            await loop.run_in_executor(None, loop.metrics)

    uvbind.run(main())
