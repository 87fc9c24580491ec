"""TLS: asyncio's own protocol over the loop's transports."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from helpers import MEGABYTES


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_megabytes_there_and_back(run, contexts):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
        )
        assert writer.get_extra_info("cipher") and writer.get_extra_info("peercert")
        assert writer.get_extra_info("socket").family == socket.AF_INET
        received, _ = await asyncio.gather(reader.readexactly(len(MEGABYTES)), send(writer))
        assert received == MEGABYTES
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    async def send(writer):
        for start in range(0, len(MEGABYTES), 100_000):
            writer.write(MEGABYTES[start : start + 100_000])
            await writer.drain()

    run(main)


def test_a_certificate_that_is_not_trusted(run, contexts):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        asyncio.get_running_loop().set_exception_handler(None)  # the server's side of it
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                *server.sockets[0].getsockname(),
                ssl=ssl.create_default_context(),
                server_hostname="localhost",
            )
        server.close()
        await server.wait_closed()

    run(main)


class Plain(asyncio.Protocol):
    """Speaks plainly until it reads a line, then TLS to the protocol behind it."""

    def __init__(self, context, server_side):
        loop = asyncio.get_running_loop()
        self.context, self.server_side = context, server_side
        self.secure, self.lost, self.got = loop.create_future(), loop.create_future(), b""

    def connection_made(self, transport):
        self.transport = transport
        if not self.server_side:
            transport.write(b"STARTTLS\n")

    def data_received(self, data):
        self.got += data
        if self.got.endswith(b"\n"):
            self.transport.pause_reading()
            if self.server_side:
                self.transport.write(b"GO\n")
            self.upgrade = asyncio.ensure_future(self.start())

    async def start(self):
        new = Secure(self)
        transport = await asyncio.get_running_loop().start_tls(
            self.transport,
            new,
            self.context,
            server_side=self.server_side,
            server_hostname=None if self.server_side else "localhost",
        )
        self.secure.set_result((transport, new))


class Secure(asyncio.Protocol):
    def __init__(self, plain):
        self.plain, self.received, self.ended = plain, bytearray(), asyncio.Event()

    def data_received(self, data):
        self.received += data

    def eof_received(self):
        self.ended.set()

    def connection_lost(self, exc):
        self.ended.set()
        self.plain.lost.set_result(exc)


def test_start_tls_loses_nothing(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        served = loop.create_future()

        def serve():
            protocol = Plain(contexts[0], True)
            served.set_result(protocol)
            return protocol

        server = await loop.create_server(serve, "127.0.0.1", 0)
        _, client = await loop.create_connection(
            lambda: Plain(contexts[1], False), *server.sockets[0].getsockname()
        )
        its, answer = await (await served).secure
        its.write(MEGABYTES)  # it is on its way before the other side has noticed
        ours, protocol = await client.secure
        ours.write(b"and this way")
        while len(protocol.received) < len(MEGABYTES) or len(answer.received) < 12:
            await asyncio.sleep(0.001)
        assert protocol.received == MEGABYTES and answer.received == b"and this way"
        assert ours.get_extra_info("sslcontext") is contexts[1]
        ours.close()
        await client.lost
        await served.result().lost
        server.close()
        await server.wait_closed()

    run(main)


def test_close_does_not_keep_downloading(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        flood_ended = loop.create_future()

        async def flood(reader, writer):
            sent = 0
            try:
                while sent < 200 * len(MEGABYTES):
                    writer.write(MEGABYTES)
                    sent += len(MEGABYTES)
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()
                flood_ended.set_result(sent)

        server = await asyncio.start_server(flood, "127.0.0.1", 0, ssl=contexts[0])
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
        )
        await reader.readexactly(1000)
        writer.close()
        assert await flood_ended < 200 * len(MEGABYTES)
        server.close()
        await server.wait_closed()

    run(main)
