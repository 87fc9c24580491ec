"""The hosts at both ends of an impaired network: `python impaired_hosts.py PART ARGUMENTS`.

Each part runs on both layers in one loop and prints what it sees, a line of JSON for each fact.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import uvbind
from uvbind import TCP, UDP, Timer

ADDRESS = "192.0.2.2"  # of the host that serves
PORTS = {"asyncio": 7001, "libuv": 7002, "datagrams": 7003}
HOLE = "192.0.2.3"  # a host whose packets are all lost
PATIENCE = 50.0  # seconds
ENOUGH = 20_000  # bytes that have come when a connection is aborted


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def pattern(number: int, size: int) -> bytes:
    """Bytes that are others for each number, and whose values depend on their places."""
    return bytes((i * i + 7 * number + i // 251) % 256 for i in range(size))


def name(error: Any) -> str | None:
    return None if error is None else getattr(error, "name", type(error).__name__)


# -- the host that serves


class Server:
    """Echo over TCP on both layers, and over UDP; says how each connection ended."""

    def __init__(self, tampers: bool) -> None:
        self._tampers = tampers

    def echo(self, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if self._tampers else data

    def on_connection(self, server: TCP, error: OSError | None) -> None:
        assert error is None
        server.accept().read_start(self.on_read)

    def on_read(self, stream: TCP, data: bytes | None, error: Any) -> None:
        if data is not None:
            stream.write(self.echo(data), self.on_written)
        elif error.name == "EOF":
            stream.shutdown(self.close)
        else:
            self.close(stream, error)

    def on_written(self, stream: TCP, error: OSError | None) -> None:
        if error is not None:
            self.close(stream, error)

    def close(self, stream: TCP, error: OSError | None) -> None:
        if not stream.is_closing():  # a reset fails the read and each write that waits
            stream.close(lambda stream: say(layer="libuv", end=name(error)))

    def on_datagram(self, udp: UDP, data: bytes, address: Any, flags: int, error: Any) -> None:
        assert error is None
        if data:
            udp.send(self.echo(data), address, lambda udp, error: None)

    async def run(self, loop: Any) -> None:
        """Serve until standard input ends."""
        server = await loop.create_server(lambda: Echo(self), ADDRESS, PORTS["asyncio"])
        listener = TCP(loop.uv)
        listener.bind((ADDRESS, PORTS["libuv"]))
        listener.listen(self.on_connection)
        datagrams = UDP(loop.uv, recvmmsg=True)
        datagrams.bind((ADDRESS, PORTS["datagrams"]))
        datagrams.recv_start(self.on_datagram)
        ended = asyncio.Event()
        loop.add_reader(sys.stdin, ended.set)
        say(ready=True)
        await ended.wait()
        loop.remove_reader(sys.stdin)
        server.close()
        listener.close()
        datagrams.close()


class Echo(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._server.echo(data))

    def connection_lost(self, exc: BaseException | None) -> None:
        say(layer="asyncio", end=name(exc))


# -- the other host


async def echo(loop: Any, connections: int, size: int) -> None:
    """Send so many bytes over each connection, and compare what comes back."""
    streams = [_echo_on_asyncio(number, size) for number in range(connections)]
    handles = [_EchoOnLibuv(loop, number, size).done for number in range(connections)]
    await asyncio.wait_for(asyncio.gather(*streams, *handles), PATIENCE)


async def _echo_on_asyncio(number: int, size: int) -> None:
    sent = pattern(number, size)
    reader, writer = await asyncio.open_connection(ADDRESS, PORTS["asyncio"])
    for start in range(0, size, 10_000):
        writer.write(sent[start : start + 10_000])
        await writer.drain()
    writer.write_eof()
    received = await reader.read(-1)
    say(layer="asyncio", bytes=len(received), same=received == sent)
    writer.close()
    await writer.wait_closed()


class _EchoOnLibuv:
    def __init__(self, loop: Any, number: int, size: int) -> None:
        self.done = loop.create_future()
        self._sent, self._received = pattern(100 + number, size), bytearray()
        TCP(loop.uv).connect((ADDRESS, PORTS["libuv"]), self._on_connect)

    def _on_connect(self, stream: TCP, error: OSError | None) -> None:
        assert error is None, error
        stream.read_start(self._on_read)
        stream.write(self._sent)
        stream.shutdown()

    def _on_read(self, stream: TCP, data: bytes | None, error: Any) -> None:
        if data is not None:
            self._received += data
            return
        assert error.name == "EOF", error
        say(layer="libuv", bytes=len(self._received), same=self._received == self._sent)
        stream.close(lambda stream: self.done.set_result(None))


async def abort(loop: Any, connections: int, size: int) -> None:
    """Abort connections when a part of the echo has come."""
    ends = []
    for number in range(connections):
        protocol, handle = _AbortOnAsyncio(loop, number, size), _AbortOnLibuv(loop, number, size)
        ends += [protocol.done, handle.done]
        await loop.create_connection(lambda protocol=protocol: protocol, ADDRESS, PORTS["asyncio"])
    await asyncio.wait_for(asyncio.gather(*ends), PATIENCE)


class _AbortOnAsyncio(asyncio.Protocol):
    def __init__(self, loop: Any, number: int, size: int) -> None:
        self.done = loop.create_future()
        self._sent, self._received = pattern(number, size), bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        assert not self._transport.is_closing()
        self._received += data
        if len(self._received) >= ENOUGH:
            self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        say(layer="asyncio", end=name(exc), same=self._sent.startswith(self._received))
        self.done.set_result(None)  # raises when this is called twice


class _AbortOnLibuv:
    def __init__(self, loop: Any, number: int, size: int) -> None:
        self.done = loop.create_future()
        self._sent, self._received = pattern(100 + number, size), bytearray()
        self._written: list[Any] = []
        TCP(loop.uv).connect((ADDRESS, PORTS["libuv"]), self._on_connect)

    def _on_connect(self, stream: TCP, error: OSError | None) -> None:
        assert error is None, error
        stream.read_start(self._on_read)
        stream.write(self._sent, lambda stream, error: self._written.append(error))

    def _on_read(self, stream: TCP, data: bytes | None, error: Any) -> None:
        assert data is not None and not stream.is_closing()
        self._received += data
        if len(self._received) >= ENOUGH:
            stream.close_reset(self._on_close)

    def _on_close(self, stream: TCP) -> None:
        assert len(self._written) == 1, "the write has to call back once, before close() does"
        say(layer="libuv", end=None, same=self._sent.startswith(self._received))
        self.done.set_result(None)


async def unreachable(loop: Any, timeout: float) -> None:
    """Give up connecting to a host that never answers, in each way there is."""
    address = (HOLE, PORTS["asyncio"])

    async def with_a_timeout() -> None:
        await asyncio.wait_for(loop.create_connection(asyncio.Protocol, *address), timeout)

    async def cancelled() -> None:
        task = loop.create_task(loop.create_connection(asyncio.Protocol, *address))
        loop.call_later(timeout, task.cancel)
        await task

    async def on_a_socket() -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.wait_for(loop.sock_connect(sock, address), timeout)

    async def closed() -> None:
        answer = loop.create_future()
        stream = TCP(loop.uv)
        stream.connect(address, lambda stream, error: answer.set_exception(error))
        timer = Timer(loop.uv)
        timer.start(lambda timer: (timer.close(), stream.close()), int(timeout * 1000))
        await answer

    async def one(way: Any) -> None:
        try:
            await way()
        except (Exception, asyncio.CancelledError) as exception:
            say(way=way.__name__, end=name(exception))
        else:
            say(way=way.__name__, end=None)

    ways = (with_a_timeout, cancelled, on_a_socket, closed)
    await asyncio.wait_for(asyncio.gather(*map(one, ways)), PATIENCE)


async def datagrams(loop: Any, count: int, give_up: float) -> None:
    """Send datagrams, 64 at a time, and check each echo; one without an echo in so many seconds is
    given up."""
    counts = {"sent": 0, "answered": 0, "again": 0, "given up": 0, "wrong": 0}
    waiting: dict[int, asyncio.Future[None]] = {}
    numbers = iter(range(count))

    def datagram(number: int) -> bytes:
        return number.to_bytes(4, "big") + pattern(number, number * 37 % 1200)

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: Any) -> None:
            number = int.from_bytes(data[:4], "big")
            if number >= count or data != datagram(number) or address != server:
                counts["wrong"] += 1
            elif number in waiting and not waiting[number].done():
                waiting[number].set_result(None)
            else:
                counts["again"] += 1

    async def slot() -> None:
        for number in numbers:
            waiting[number] = loop.create_future()
            transport.sendto(datagram(number), server)
            counts["sent"] += 1
            try:
                await asyncio.wait_for(waiting[number], give_up)
            except TimeoutError:
                counts["given up"] += 1
            else:
                counts["answered"] += 1

    server = (ADDRESS, PORTS["datagrams"])
    transport, _ = await loop.create_datagram_endpoint(Client, family=socket.AF_INET)
    await asyncio.wait_for(asyncio.gather(*(slot() for _ in range(64))), PATIENCE)
    transport.close()
    say(**counts)


def main() -> None:
    part, arguments = sys.argv[1], [json.loads(argument) for argument in sys.argv[2:]]
    loop = uvbind.new_event_loop()
    loop.set_exception_handler(lambda loop, context: say(unhandled=repr(context)))
    before = len(loop.uv._handles)
    if part == "serve":
        loop.run_until_complete(Server(*arguments).run(loop))
    else:
        loop.run_until_complete(globals()[part](loop, *arguments))
    for _ in range(3000):  # what was closed calls back, and a lost packet comes again
        if len(loop.uv._handles) == before:
            break
        loop.run_until_complete(asyncio.sleep(0.01))
    assert len(loop.uv._handles) == before, loop.uv
    loop.close()


if __name__ == "__main__":
    main()
