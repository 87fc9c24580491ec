"""Datagram endpoints: what is sent while others wait, and after the end."""

from __future__ import annotations

import array
import asyncio
import contextlib
import socket

import pytest
from helpers import KeepsCalls, uvbind_alone

SIZE = 1000


class Kept(KeepsCalls, asyncio.DatagramProtocol):
    """A protocol of datagrams."""

    def error_received(self, exc):
        self.calls.append("error")


class ClosesWhenResumed(Kept):
    def resume_writing(self):
        super().resume_writing()
        self.transport.close()


def unix_pair(folder):
    """Two sockets, the first of which sends to the other; their kernel buffer fills up."""
    theirs = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    theirs.bind(str(folder / "theirs"))
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.connect(str(folder / "theirs"))
    return ours, theirs


@contextlib.asynccontextmanager
async def endpoint(factory, **where):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, **where)
    try:
        yield transport, protocol
    finally:
        if not protocol.lost.done():
            transport.abort()
        await protocol.lost


WHERE = ["local_addr", "remote_addr", "unbound", "connected socket", "unix socket"]


@contextlib.asynccontextmanager
async def made(where, tmp_path, factory=Kept):
    """A transport, its protocol, and the address that its sendto() needs."""
    with contextlib.ExitStack() as stack:
        if where == "unix socket":
            ours, theirs = unix_pair(tmp_path)
            options, address = {"sock": ours}, None
        else:
            theirs = socket.socket(type=socket.SOCK_DGRAM)
            theirs.bind(("127.0.0.1", 0))
            address = theirs.getsockname()
            options = {
                "local_addr": {"local_addr": ("127.0.0.1", 0)},
                "remote_addr": {"remote_addr": address},
                "unbound": {"family": socket.AF_INET},
                "connected socket": {},
            }[where]
            if not options:
                ours = socket.socket(type=socket.SOCK_DGRAM)
                ours.connect(address)
                options = {"sock": ours}
            if where in ("remote_addr", "connected socket"):
                address = None
        stack.enter_context(theirs)
        async with endpoint(factory, **options) as (transport, protocol):
            yield transport, protocol, address


@uvbind_alone  # asyncio raises AttributeError for those without remote_addr
@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("where", WHERE)
def test_what_is_sent_after_the_end_is_dropped(run, where, how, caplog, tmp_path):
    async def main():
        async with made(where, tmp_path) as (transport, protocol, address):
            getattr(transport, how)()
            transport.sendto(b"at once", address)
            assert await protocol.lost is None
            for data in (b"", b"bytes", bytearray(b"array"), memoryview(b"view")):
                transport.sendto(data, address)
                transport.sendto(data)
            with pytest.raises(TypeError):
                transport.sendto("text", address)
            if hasattr(transport, "sendto_many"):
                transport.sendto_many([(b"one", address), (b"two", address)])
            transport.close()
            transport.abort()
            assert transport.is_closing() and transport.get_write_buffer_size() == 0
            assert protocol.calls == ["lost"]

    run(main)
    assert "socket.send() raised exception." in caplog.text


@uvbind_alone
@pytest.mark.parametrize("where", WHERE)
def test_views_of_numbers_and_of_memory_in_pieces_are_sent_whole(run, where, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as receiver:
            receiver.setblocking(False)
            if where == "unix socket":
                ours, receiver = unix_pair(tmp_path)
                options, address = {"sock": ours}, None
            else:
                receiver.bind(("127.0.0.1", 0))
                address = receiver.getsockname()
                options = {"remote_addr": address} if where == "remote_addr" else {}
                options = options or {"local_addr": ("127.0.0.1", 0)}
            views = [
                memoryview(array.array("I", range(9))),
                memoryview(bytes(range(12))).cast("B", (3, 4)),
                memoryview(bytes(range(12)))[::2],
            ]
            with receiver:
                async with endpoint(Kept, **options) as (transport, protocol):
                    for view in views:
                        transport.sendto(view, address)
                        assert await loop.sock_recv(receiver, 100) == view.tobytes()
                    assert protocol.calls == []

    run(main)


def fill(transport, protocol):
    """Send until the kernel takes no more and the protocol is paused."""
    sent = 0
    while "pause" not in protocol.calls:
        assert not transport.is_closing()
        transport.sendto(memoryview(array.array("I", bytes(SIZE))))
        sent += 1
    return sent


async def drain(sock, count):
    loop = asyncio.get_running_loop()
    for _ in range(count):
        assert len(await loop.sock_recv(sock, 1 << 16)) == SIZE


@uvbind_alone
def test_what_waits_is_counted_in_bytes_and_counted_off_again(run, tmp_path):
    async def main():
        ours, theirs = unix_pair(tmp_path)
        with theirs:
            async with endpoint(Kept, sock=ours) as (transport, protocol):
                for _ in range(3):
                    protocol.calls.clear()
                    protocol.resumed.clear()
                    sent = fill(transport, protocol)
                    high = transport.get_write_buffer_limits()[1]
                    assert high < transport.get_write_buffer_size() <= high + SIZE + 8
                    await drain(theirs, sent)
                    await protocol.resumed.wait()
                    assert protocol.calls == ["pause", "resume"]
                    assert transport.get_write_buffer_size() == 0

    run(main)


@uvbind_alone
def test_a_protocol_may_close_its_transport_in_resume_writing(run, tmp_path):
    async def main():
        ours, theirs = unix_pair(tmp_path)
        with theirs:
            async with endpoint(ClosesWhenResumed, sock=ours) as (transport, protocol):
                sent = fill(transport, protocol)
                await drain(theirs, sent)
                assert await protocol.lost is None
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert protocol.calls == ["pause", "resume", "lost"]

    run(main)
