"""TCP_NODELAY is set on every TCP connection, however the program made its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import pytest
from helpers import uvbind_alone

FAMILIES = {"IPv4": (socket.AF_INET, "127.0.0.1"), "IPv6": (socket.AF_INET6, "::1")}


class Kept(asyncio.Protocol):
    def __init__(self) -> None:
        self.made: asyncio.Future = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.made.set_result(transport)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def listening(family: int, host: str, proto: int = 0) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM, proto)
        sock.bind((host, 0))
    except OSError as error:
        pytest.skip(f"no sockets of this kind here: {error}")
    sock.listen()
    return sock


async def check_both_ends(serve, connect):
    """`serve(factory)` makes a server, `connect(factory, address)` connects to it."""
    loop = asyncio.get_running_loop()
    served = Kept()
    server = await serve(lambda: served)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        address = server.sockets[0].getsockname()[:2]
        transport, client = await connect(loop, Kept, address)
        for end in (client, served):
            sock = (await end.made).get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        transport.close()
        await client.lost
        (await served.made).close()
        await served.lost


def by_name(loop, factory, address):
    return loop.create_connection(factory, *address)


async def by_socket(loop, factory, address):
    """A connected socket whose `proto` is 0."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, 0)
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    return await loop.create_connection(factory, sock=sock)


async def by_accepted_socket(loop, factory, address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, 0)
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    return await loop.connect_accepted_socket(factory, sock)


@uvbind_alone
@pytest.mark.parametrize("connect", [by_name, by_socket, by_accepted_socket])
@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_have_it(run, family, lent, connect):
    number, host = FAMILIES[family]
    listening(number, host).close()

    async def main():
        loop = asyncio.get_running_loop()

        async def serve(factory):
            if lent:
                return await loop.create_server(factory, sock=listening(number, host))
            return await loop.create_server(factory, host, 0)

        await check_both_ends(serve, connect)

    run(main)


@uvbind_alone
def test_both_ends_have_it_under_tls(run, contexts):
    of_server, of_client = contexts

    async def main():
        loop = asyncio.get_running_loop()

        def serve(factory):
            sock = listening(socket.AF_INET, "127.0.0.1")
            return loop.create_server(factory, sock=sock, ssl=of_server)

        def connect(loop, factory, address):
            return loop.create_connection(
                factory, *address, ssl=of_client, server_hostname="localhost"
            )

        await check_both_ends(serve, connect)

    run(main)


@uvbind_alone
@pytest.mark.skipif(sys.platform != "linux", reason="MPTCP is Linux's")
def test_a_protocol_that_stands_in_for_tcp_has_it_too(run):
    mptcp = getattr(socket, "IPPROTO_MPTCP", 262)
    listening(socket.AF_INET, "127.0.0.1", mptcp).close()

    async def main():
        loop = asyncio.get_running_loop()

        def serve(factory):
            return loop.create_server(factory, sock=listening(socket.AF_INET, "127.0.0.1", mptcp))

        await check_both_ends(serve, by_name)

    run(main)


def test_sockets_that_are_not_tcps_connect_all_the_same(run):
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Kept, sock=ours
            )
            transport.write(b"data")
            await asyncio.sleep(0)  # the write leaves at the end of the turn
            assert theirs.recv(10) == b"data"
            transport.close()
            await protocol.lost

    run(main)
