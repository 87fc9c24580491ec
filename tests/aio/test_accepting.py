"""Servers that the system refuses connections: it is reported once a second, and they go on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from unittest import mock

import pytest
from helpers import uvbind_alone

DELAY = "asyncio.constants.ACCEPT_RETRY_DELAY"  # seconds


class Refusing(socket.socket):
    """A listening socket whose accept() fails with `error` while there is one."""

    error: int | None = None
    tries = 0

    def accept(self):
        self.tries += 1
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return super().accept()


class Greets(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


@contextlib.asynccontextmanager
async def refusing_server(error, **options):
    """A server whose socket refuses, and a list of what the exception handler is told."""
    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context))
    with Refusing() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.error = error
        server = await loop.create_server(Greets, sock=sock, **options)
        try:
            yield sock, server, told
        finally:
            server.close()
            await server.wait_closed()


async def greeting(address):
    reader, writer = await asyncio.open_connection(*address)
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


PAUSING = {
    "EMFILE": "socket.accept() out of system resource",
    "ENFILE": "socket.accept() out of system resource",
    "ENOBUFS": "socket.accept() out of system resource",
    "ENOMEM": "socket.accept() out of system resource",
    "EPERM": "socket.accept() failed",
    "EINVAL": "socket.accept() failed",
}


@uvbind_alone  # asyncio tells a hundred times, and never stops trying for other errors
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("name", PAUSING)
def test_it_is_reported_once_and_not_tried_again_before_the_time(run, contexts, name, secure):
    async def main():
        number = getattr(errno, name)
        options = {"ssl": contexts[0]} if secure else {}
        async with refusing_server(number, **options) as (sock, _, told):
            with socket.create_connection(sock.getsockname()):
                while not told:
                    await asyncio.sleep(0)
                for _ in range(200):
                    await asyncio.sleep(0)
                assert sock.tries == 1
                (context,) = told
                assert context["message"] == PAUSING[name]
                assert context["exception"].errno == number
                assert context["socket"].fileno() == sock.fileno()

    with mock.patch(DELAY, 3600):
        run(main)


@uvbind_alone
@pytest.mark.parametrize("name", PAUSING)
def test_the_server_goes_on_with_those_that_wait(run, name):
    async def main():
        async with refusing_server(getattr(errno, name)) as (sock, _, told):

            def tell(loop, context):
                told.append(sock.tries)
                if len(told) == 2:  # it fails a second time, and not a third
                    sock.error = None

            asyncio.get_running_loop().set_exception_handler(tell)
            waiting = [asyncio.ensure_future(greeting(sock.getsockname())) for _ in range(3)]
            assert await asyncio.gather(*waiting) == [b"hello"] * 3
            assert told == [1, 2]
            assert await greeting(sock.getsockname()) == b"hello"
            assert told == [1, 2]

    with mock.patch(DELAY, 0.05):
        run(main)


@uvbind_alone  # asyncio reports ValueError, as it watches a descriptor of -1
def test_a_server_that_is_closed_meanwhile_stays_closed(run):
    async def main():
        async with refusing_server(errno.EMFILE) as (sock, server, told):
            loop = asyncio.get_running_loop()
            closed = asyncio.Event()

            def tell(loop, context):
                told.append(context)
                # What a turn calls before its timers, however late it comes to them.
                loop.call_soon(server.close)
                loop.call_soon(closed.set)

            loop.set_exception_handler(tell)
            with socket.create_connection(sock.getsockname()):
                await closed.wait()
                await asyncio.sleep(0.05)
                assert sock.tries == 1 and len(told) == 1

    with mock.patch(DELAY, 0.01):
        run(main)


@uvbind_alone
def test_the_exception_handler_may_close_the_server(run):
    async def main():
        async with refusing_server(errno.EMFILE) as (sock, server, told):
            closed = asyncio.Event()

            def close(loop, context):
                told.append(context)
                server.close()
                closed.set()

            asyncio.get_running_loop().set_exception_handler(close)
            with socket.create_connection(sock.getsockname()):
                await closed.wait()
                await asyncio.sleep(0.05)
                assert len(told) == 1

    with mock.patch(DELAY, 0.01):
        run(main)


@uvbind_alone  # asyncio reports those that Linux has beside ECONNABORTED
@pytest.mark.parametrize("name", ["ECONNABORTED", "EPROTO", "EHOSTUNREACH", "ENETDOWN"])
def test_a_connection_that_is_over_before_it_is_accepted_is_nothing_to_report(run, name):
    async def main():
        async with refusing_server(getattr(errno, name)) as (sock, _, told):
            waiting = asyncio.ensure_future(greeting(sock.getsockname()))
            while not sock.tries:
                await asyncio.sleep(0)
            sock.error = None
            assert await waiting == b"hello"
            assert told == []

    run(main)


def test_a_process_out_of_descriptors_serves_again_when_it_has_some(run):
    resource = pytest.importorskip("resource")

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda loop, context: told.append(context))
        server = await loop.create_server(Greets, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(socket.socket()) for _ in range(3)]
            with contextlib.ExitStack() as fillers:
                resource.setrlimit(
                    resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 5, hard)
                )
                fillers.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
                with contextlib.suppress(OSError):
                    while True:
                        fillers.enter_context(open(os.devnull, "rb"))
                for client in clients:
                    client.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        client.connect(address)
                while not told:
                    await asyncio.sleep(0)
            assert told[0]["exception"].errno == errno.EMFILE
            for client in clients:
                assert await loop.sock_recv(client, 100) == b"hello"
        server.close()
        await server.wait_closed()

    with mock.patch(DELAY, 0.01):
        run(main)
