"""Scenarios for failing allocations. Each returns when it has come to its end, or raises.

A scenario that neither succeeds nor raises has lost something in silence, which `Silence` says.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import uvbind
from uvbind import TCP, UDP, Loop, Pipe, UVError, getaddrinfo

LOCALHOST = ("127.0.0.1", 0)


class Silence(Exception):
    """The loop came to its end without a result and without an error."""


def succeed(error: UVError | None) -> None:
    if error is not None:
        raise error


def run(loop: Loop, done: list[Any], wanted: int) -> None:
    loop.run()
    if len(done) < wanted:
        raise Silence(f"{len(done)} of {wanted}")


def tcp_echo() -> None:
    done: list[bytes] = []
    with Loop() as loop:
        server, client = TCP(loop), TCP(loop)

        def on_connection(server: TCP, error: UVError | None) -> None:
            succeed(error)
            peer = server.accept()
            server.close()

            def on_read(peer: TCP, data: bytes, error: UVError | None) -> None:
                if error is not None and error.name == "EOF":
                    peer.close()
                else:
                    succeed(error)
                    peer.write(data)

            peer.read_start(on_read)

        def on_connect(client: TCP, error: UVError | None) -> None:
            succeed(error)

            def on_read(client: TCP, data: bytes, error: UVError | None) -> None:
                succeed(error)
                done.append(data)
                client.close()

            client.read_start(on_read)
            client.write(bytearray(b"hello"), lambda client, error: succeed(error))

        server.bind(LOCALHOST)
        server.listen(on_connection)
        client.connect(server.getsockname(), on_connect)
        run(loop, done, 1)


def udp_batch_echo() -> None:
    done: list[Any] = []
    with Loop() as loop:
        server, client = UDP(loop, recvmmsg=True), UDP(loop, recvmmsg=True)

        def on_batch(server: UDP, batch: Any, error: UVError | None) -> None:
            succeed(error)
            server.try_send_batch([datagram[:2] for datagram in batch])

        def on_answers(client: UDP, batch: Any, error: UVError | None) -> None:
            succeed(error)
            done.extend(batch)
            if len(done) == 4:
                server.close()
                client.close()

        server.bind(LOCALHOST)
        client.bind(LOCALHOST)
        server.recv_batch_start(on_batch)
        client.recv_batch_start(on_answers)
        address = server.getsockname()
        client.try_send_batch([(b"datagram", address)] * 3)
        client.send(b"alone", address, lambda client, error: succeed(error))
        run(loop, done, 4)


def lookup() -> None:
    done: list[Any] = []

    def found(request: object, result: Any, error: UVError | None) -> None:
        succeed(error)
        done.append(result)

    with Loop() as loop:
        getaddrinfo(loop, "localhost", 80, callback=found)
        getaddrinfo(loop, "localhost", family=socket.AF_INET, callback=found)
        getaddrinfo(loop, "127.0.0.1", 80, callback=found)
        run(loop, done, 3)


def passing() -> None:
    """A TCP handle goes over a pipe within this process."""
    done: list[Any] = []
    with Loop() as loop:
        one, other = Pipe(loop, ipc=True), Pipe(loop, ipc=True)
        ends = socket.socketpair()
        try:
            one.open(ends[0].fileno())
            ends[0].detach()
            other.open(ends[1].fileno())
            ends[1].detach()
        finally:
            for end in ends:
                end.close()

        def on_read(other: Pipe, data: bytes, error: UVError | None) -> None:
            succeed(error)
            while other.pending_count():
                received = other.accept()
                done.append(received)
                received.close()
            one.close()
            other.close()

        def written(one: Pipe, error: UVError | None) -> None:
            succeed(error)
            handle.close()

        handle = TCP(loop)
        handle.bind(LOCALHOST)
        other.read_start(on_read)
        one.write2(b"a handle", handle, written)
        run(loop, done, 1)


def loops() -> None:
    for _ in range(2):
        with Loop() as loop:
            timer = uvbind.Timer(loop)
            timer.start(lambda timer: timer.close(), 0)
            waker = uvbind.Async(loop, lambda waker: waker.close())
            waker.send()
            loop.run()
    Loop().close()


def descriptors() -> None:
    """Each kind of handle is the first with a number that libuv's table of descriptors lacks."""

    def ignore(*arguments: object) -> None:
        pass

    def check(handle: Any, error: UVError | None) -> None:
        succeed(error)

    def tcp(loop: Loop) -> None:
        server = TCP(loop, socket.AF_INET)
        server.bind(LOCALHOST)
        server.listen(ignore)

    def udp(loop: Loop) -> None:
        UDP(loop, socket.AF_INET).recv_start(ignore)

    def unbound_udp(loop: Loop) -> None:
        UDP(loop).recv_start(ignore)

    def sender(loop: Loop) -> None:
        UDP(loop).send(b"x", ("127.0.0.1", 9), check)

    def poll(loop: Loop) -> None:
        uvbind.Poll(loop, waiting).start(uvbind.PollEvent.READABLE, ignore)

    def server(loop: Loop) -> None:
        pipe = Pipe(loop)
        pipe.bind(f"{folder}/pipe")
        pipe.listen(ignore)

    def client(loop: Loop) -> None:
        Pipe(loop).connect(waiting.getsockname(), check)

    def nothing(loop: Loop) -> None:
        pass

    held = [-1] * 70  # descriptors, with small numbers, for which Python needs no memory
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as waiting:
        waiting.bind(f"{folder}/waiting")
        waiting.listen()
        fd = waiting.fileno()
        for begin in (tcp, udp, unbound_udp, sender, poll, server, client, nothing):
            with Loop() as loop:
                try:
                    for place in range(len(held)):
                        held[place] = os.dup(fd)
                    begin(loop)
                    loop.run(uvbind.RunMode.NOWAIT)
                finally:
                    for place in range(len(held)):
                        if held[place] != -1:
                            os.close(held[place])
                            held[place] = -1


def asyncio_echo() -> None:
    """An exception that the loop's handler is told ends the scenario, as for a program that exits.

    asyncio drops a connection that it cannot make a transport for, and tells its peer alone.
    """
    told: list[BaseException] = []  # by the loop, and by the server's connection

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context.get("exception") or RuntimeError(context["message"]))
        loop.stop()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def connection_lost(self, exception: Exception | None) -> None:
            if exception is not None:
                told.append(exception)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        try:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                writer.write(b"hello")
                await writer.drain()
                if await reader.readexactly(5) != b"hello":
                    raise Silence("other bytes")
            finally:
                writer.close()
            await writer.wait_closed()
        finally:
            # Not wait_closed(): when asyncio makes a socket and no transport for it, the exception
            # keeps the socket, and so the connection that the server would wait for.
            server.close()

    try:
        with asyncio.Runner(loop_factory=uvbind.new_event_loop) as runner:
            runner.run(main())
    except asyncio.IncompleteReadError as error:
        told.append(MemoryError(str(error)))
    finally:
        for error in told:
            raise error


SCENARIOS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (tcp_echo, udp_batch_echo, lookup, passing, loops, descriptors, asyncio_echo)
}
