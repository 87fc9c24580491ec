"""What the probes talk to and with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CERTIFICATE = Path(__file__).with_name("localhost.pem")
LOCALHOST = "127.0.0.1"
LOOPS = ("asyncio", "uvloop", "rloop", "uvbind")
patience = 10.0  # seconds that a probe may take


def kind(error: BaseException | None) -> str | None:
    """The name of an exception's class, or of the one it refines where a loop has its own."""
    if error is None:
        return None
    classes = type(error).__mro__
    return next(c.__name__ for c in classes if c.__module__.partition(".")[0] not in LOOPS[1:])


class Recorder(asyncio.Protocol):
    """Keeps what it is called with."""

    keep_open = False  # after the other side's end

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.data = b""
        self.calls: list[str] = []
        self.made, self.ended, self.lost = (loop.create_future() for _ in range(3))
        self._waiters: list[tuple[int, asyncio.Future[bytes]]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.calls[-1] != "data":
            self.calls.append("data")
        self._tell()

    def _tell(self) -> None:
        for size, waiter in self._waiters:
            if len(self.data) >= size and not waiter.done():
                waiter.set_result(self.data)

    async def received(self, size: int) -> bytes:
        """Wait until there is so much data, and return all there is."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((size, waiter))
        self._tell()
        return await waiter

    def eof_received(self) -> bool:
        self.calls.append("eof")
        if not self.ended.done():
            self.ended.set_result(None)
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("lost")
        self.lost.set_result(kind(exc))


class Filled(asyncio.BufferedProtocol, Recorder):
    """Has its own buffer filled, which is small."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


class Packets(asyncio.DatagramProtocol):
    """Keeps the datagrams it gets."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.queue.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.queue.put_nowait(type(exc).__name__)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


class Connection(NamedTuple):
    """Both ends of a connection."""

    client: Any  # a transport
    ours: Any  # its protocol
    server: Any
    theirs: Any


@contextlib.asynccontextmanager
async def connected(
    loop: Any,
    ours: Callable[[], Any] = Recorder,
    theirs: Callable[[], Any] = Recorder,
    ssl: tuple[Any, Any] = (None, None),
    **options: Any,
) -> AsyncIterator[Connection]:
    """A connection over TCP, or over TLS with (the server's context, the client's)."""
    accepted = loop.create_future()

    def accept() -> Any:
        protocol = theirs()
        if not accepted.done():
            accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, LOCALHOST, 0, ssl=ssl[0])
    port = server.sockets[0].getsockname()[1]
    if ssl[1] is not None:
        options.update(ssl=ssl[1], server_hostname="localhost")
    client, protocol = await loop.create_connection(ours, LOCALHOST, port, **options)
    other = await accepted
    await other.made
    try:
        yield Connection(client, protocol, other.transport, other)
    finally:
        for transport in (client, other.transport):
            if not transport.is_closing():
                transport.abort()
        server.close()


@contextlib.asynccontextmanager
async def beside_socket(
    loop: Any, protocol: Callable[[], Any] = Recorder
) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """A transport, its protocol, and a plain socket that does not block at the other end."""
    with listening() as listener:
        transport, made = await loop.create_connection(protocol, *listener.getsockname())
        peer, _ = listener.accept()
    peer.setblocking(False)
    with peer:
        try:
            yield transport, made, peer
        finally:
            transport.abort()


@contextlib.contextmanager
def listening(host: str = LOCALHOST, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener


@contextlib.contextmanager
def socket_pair(*kind: Any) -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(*kind)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def abstract_name() -> str:
    """A name that no other process has: the same network may be theirs, with numbers of their own
    for processes."""
    return "\0uvbind-probe-" + os.urandom(8).hex()


def closed_port() -> int:
    """One of TCP where nobody listens."""
    with listening() as listener:
        port: int = listener.getsockname()[1]
        return port


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server, and for a client that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    return server, ssl.create_default_context(cafile=str(CERTIFICATE))


async def exchange(loop: Any) -> bytes:
    """A connection to oneself, and back."""
    async with connected(loop) as both:
        both.client.write(b"question")
        await both.theirs.received(8)
        both.server.write(b"answer")
        answer: bytes = await both.ours.received(6)
        return answer


async def drained(loop: Any, peer: socket.socket, size: int) -> bytes:
    """Read so much from a socket."""
    data = bytearray()
    while len(data) < size:
        part = await loop.sock_recv(peer, 1 << 20)
        if not part:
            break
        data += part
    return bytes(data)


async def until(condition: Callable[[], Any], seconds: float | None = None) -> None:
    """Wait for what nothing tells of, less long than who waits for the probe."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (0.8 * patience if seconds is None else seconds)
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


def raised(function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The name of the exception that a call raises, or "nothing"."""
    try:
        function(*arguments, **options)
    except Exception as error:
        return str(kind(error))
    return "nothing"


async def raises(awaitable: Any) -> str:
    """The same of something to be awaited."""
    try:
        await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return str(kind(error))
    return "nothing"
