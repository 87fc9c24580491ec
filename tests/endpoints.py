"""Datagram endpoints and what they tell, for the tests of them."""

from __future__ import annotations

import asyncio

HOSTS = ["127.0.0.1", "::1"]


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received: list = []
        self.errors: list = []
        self.calls: list[str] = []
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.append((data, addr))
        self._news.set()

    def error_received(self, exc):
        self.errors.append(exc)
        self._news.set()

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    async def until(self, condition):
        """Wait for what is heard to fulfil the condition."""
        while not condition(self):
            self._news.clear()
            await self._news.wait()

    async def got(self, count):
        """Return the data of so many datagrams."""
        await self.until(lambda protocol: len(protocol.received) >= count)
        return [data for data, _ in self.received]


class Echo(Recorder):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


async def endpoint(factory=Recorder, **options):
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        factory, **options
    )
    assert protocol.calls == ["made"] and protocol.transport is transport
    return transport, protocol, transport.get_extra_info("sockname")


async def close(*transports):
    for transport in transports:
        protocol = transport.get_protocol()
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None
        assert protocol.calls[-1] == "lost"
