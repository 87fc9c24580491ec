"""Echo servers for the tests with hostile peers, and bystanders whose answers are checked.

Server and peers share one thread: a peer is a plain socket, and the server's loop runs for a turn
whenever a test waits for something. In each of these turns the bystanders go on, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import uvbind

HIGH_WATER = 1 << 16  # bytes that a server has queued when it stops to read
AT_ONCE = 1 << 18  # bytes that one read may bring


# -- clients


class Plain:
    """A client's end of a connection; nothing that it does waits."""

    def __init__(self, address: Any, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(address)  # the kernel takes it, whatever the server does
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)

    def send(self, data: bytes) -> int:
        """Return how much the kernel has taken."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> bytes | None:
        """Return what has come, b"" at the end, None when nothing has."""
        try:
            return self.sock.recv(1 << 16)
        except BlockingIOError:
            return None


class Secure(Plain):
    """The same with TLS. send() takes all of its data or raises."""

    def __init__(
        self, address: Any, context: ssl.SSLContext, name: str = "localhost", **options: Any
    ) -> None:
        super().__init__(address, **options)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secure = context.wrap_bio(self._in, self._out, server_hostname=name)
        self.hello()

    def _flush(self) -> None:
        while data := self._out.read():
            assert self.sock.send(data) == len(data), "too much for a client in these tests"

    def hello(self) -> bool:
        """Go on with the handshake; tell whether it is done."""
        if (data := super().receive()) is not None:
            self._in.write(data) if data else self._in.write_eof()
        try:
            self.secure.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        return True

    def send(self, data: bytes) -> int:
        sent = self.secure.write(data)
        self._flush()
        return sent

    def receive(self) -> bytes | None:
        if (data := super().receive()) is not None:
            self._in.write(data) if data else self._in.write_eof()
        try:
            return self.secure.read(1 << 16)
        except ssl.SSLWantReadError:
            return None

    def room(self) -> bool:
        """Tell whether the kernel takes another record."""
        return bool(select.select([], [self.sock], [], 0)[1])

    def records(self) -> bytes:
        """Return what secure.write() has made, instead of sending it."""
        return self._out.read()

    def below(self) -> Plain:
        """Return the connection below TLS."""
        plain = Plain.__new__(Plain)
        plain.sock = self.sock
        return plain

    def say_goodbye(self) -> None:
        """Send close_notify, and do not wait for the server's."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.secure.unwrap()
        self._flush()


class Bystander:
    """A client that goes on asking, and checks each answer."""

    def __init__(self, client: Plain, number: int) -> None:
        self.client, self.number, self.answers = client, number, 0
        self._left = b""
        self._ask()

    def _ask(self) -> None:
        self._left = b"bystander %d asks for the %dth time\n" % (self.number, self.answers)
        self.client.send(self._left)

    def go_on(self) -> None:
        answer = self.client.receive()
        if answer is None:
            return
        assert answer and self._left.startswith(answer), f"a bystander got {answer!r}"
        self._left = self._left[len(answer) :]
        if not self._left:
            self.answers += 1
            self._ask()


# -- servers


class Server:
    """The base of the kinds of servers: connections, how they ended, and bystanders."""

    address: Any

    def __init__(self) -> None:
        self.told: list[Any] = []  # of the loop's exception handler
        self.made = 0
        self.ends: list[BaseException | None] = []  # one for each connection that is over
        self.queued = 0  # the most bytes that waited to be sent, of any connection
        self.paused = 0  # how often a connection had too much to send
        self.bystanders: list[Bystander] = []

    def turn(self) -> None:
        """Let the loop do what it can do at once."""
        raise NotImplementedError

    def handles(self) -> int:
        """How many handles of libuv's are open."""
        raise NotImplementedError

    def abort(self) -> None:
        """Abort the connection that was made last."""
        raise NotImplementedError

    def client(self, **options: Any) -> Plain:
        return Plain(self.address, **options)

    def until(self, condition: Callable[[], Any]) -> None:
        """Let the server and the bystanders go on until something holds."""
        deadline = time.monotonic() + 30
        while not condition():
            self.turn()
            for bystander in self.bystanders:
                bystander.go_on()
            assert time.monotonic() < deadline, f"waited in vain: {self.ends}, {self.told}"

    def until_answered(self) -> None:
        """Wait until each bystander has two more answers: to what it asks after this call."""
        wanted = [bystander.answers + 2 for bystander in self.bystanders]
        self.until(
            lambda: all(
                bystander.answers >= answers
                for bystander, answers in zip(self.bystanders, wanted, strict=True)
            )
        )

    def until_read(self, client: Plain, size: int) -> bytes:
        """Wait for so many bytes at the client, or for the end of the connection."""
        received = bytearray()

        def enough() -> bool:
            while len(received) < size:
                data = client.receive()
                if not data:
                    return data is not None
                received.extend(data)
            return True

        self.until(enough)
        return bytes(received)

    def until_readable(self, client: Plain) -> None:
        self.until(lambda: select.select([client.sock], [], [], 0)[0])

    def add_bystanders(self) -> None:
        for number in range(2):
            self.bystanders.append(Bystander(self.client(), number))
        self.until_answered()

    def close(self) -> None:
        raise NotImplementedError


class LowLevelServer(Server):
    """On libuv's handles."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvbind.Loop()
        self._streams: list[uvbind.TCP] = []
        self._reading: set[uvbind.TCP] = set()
        self._shut: set[uvbind.TCP] = set()  # those whose stream has ended
        self._listener = uvbind.TCP(self.loop)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(self._on_connection)
        self.address = self._listener.getsockname()

    def _on_connection(self, listener: uvbind.TCP, error: OSError | None) -> None:
        assert error is None
        self.made += 1
        stream = listener.accept()
        self._streams.append(stream)
        self._read(stream)

    def _read(self, stream: uvbind.TCP) -> None:
        stream.read_start(self._on_read)
        self._reading.add(stream)

    def _on_read(self, stream: uvbind.TCP, data: bytes | None, error: OSError | None) -> None:
        if data is None:
            self._reading.discard(stream)
            self._end(stream, None if getattr(error, "name", "") == "EOF" else error)
            return
        stream.write(self.echo(data), self._on_written)
        self.queued = max(self.queued, stream.write_queue_size)
        if stream.write_queue_size > HIGH_WATER and stream in self._reading:
            self.paused += 1
            self._reading.discard(stream)
            stream.read_stop()

    def echo(self, data: bytes) -> bytes:
        return data

    def _on_written(self, stream: uvbind.TCP, error: OSError | None) -> None:
        if stream.is_closing():
            return
        if error is not None:
            self._end(stream, error)
        elif stream.write_queue_size == 0 and stream not in self._reading | self._shut:
            self._read(stream)

    def _end(self, stream: uvbind.TCP, error: BaseException | None) -> None:
        """Close it; but after the end of the stream the peer may still read: send the rest."""
        if error is None:
            self._shut.add(stream)
            try:
                stream.shutdown(lambda stream, error: self._close(stream, error))
                return
            except OSError as failed:
                error = failed
        self._close(stream, error)

    def _close(self, stream: uvbind.TCP, error: BaseException | None) -> None:
        if not stream.is_closing():  # the shutdown fails when a write has
            self._streams.remove(stream)
            self._reading.discard(stream)
            self._shut.discard(stream)
            stream.close(lambda stream: self.ends.append(error))

    def turn(self) -> None:
        self.loop.run(uvbind.RunMode.NOWAIT)

    def handles(self) -> int:
        return len(self.loop._handles)

    def abort(self) -> None:
        self._close(self._streams[-1], None)

    def close(self) -> None:
        for bystander in self.bystanders:
            bystander.client.sock.close()
        self._listener.close()
        self.bystanders.clear()
        self.until(lambda: not self.loop._handles)
        self.loop.close()


class _Reporting(asyncio.StreamReaderProtocol):
    """The protocol of streams, which tells the server what it is told itself."""

    def __init__(self, server: StreamsServer) -> None:
        super().__init__(asyncio.StreamReader(limit=HIGH_WATER), server.serve)
        self._server, self._lost = server, False
        self._its_transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._server.made += 1
        self._server.transports.append(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._its_transport = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert not self._lost
        super().data_received(data)

    def pause_writing(self) -> None:
        self._server.paused += 1
        super().pause_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        assert not self._lost, "connection_lost was told a second time"
        self._lost = True
        self._server.ends.append(exc)
        self._server.transports.remove(self._its_transport)
        self._its_transport = None
        super().connection_lost(exc)


class StreamsServer(Server):
    """asyncio's streams on a loop, with TLS when there is a context."""

    def __init__(
        self,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__()
        self.loop: Any = new_loop()
        self.loop.set_exception_handler(lambda loop, context: self.told.append(context))
        self.transports: list[Any] = []
        self.contexts = contexts
        self._servers: list[asyncio.Server] = []
        self.address = self.listen()

    def listen(self, **options: Any) -> Any:
        """Listen once more, with other options; return the address."""
        if self.contexts is not None:
            options["ssl"] = self.contexts[0]
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: _Reporting(self), "127.0.0.1", 0, **options)
        )
        self._servers.append(server)
        return server.sockets[0].getsockname()

    def client(self, **options: Any) -> Plain:
        if self.contexts is None:
            return Plain(self.address, **options)
        client = Secure(self.address, self.contexts[1], **options)
        self.until(client.hello)
        return client

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(self.echo(data))
                self.queued = max(self.queued, writer.transport.get_write_buffer_size())
                await writer.drain()
        except OSError:
            pass  # connection_lost tells of it as well
        finally:
            writer.close()

    def echo(self, data: bytes) -> bytes:
        return data

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    def handles(self) -> int:
        return len(self.loop.uv._handles) if hasattr(self.loop, "uv") else 0

    def abort(self) -> None:
        self.transports[-1].abort()

    def close(self) -> None:
        for bystander in self.bystanders:
            bystander.client.sock.close()
        self.bystanders.clear()
        for server in self._servers:
            server.close()
        self.until(lambda: not asyncio.all_tasks(self.loop) and not self.transports)
        self.loop.close()
