"""The TCP echo servers: ``python -m uvbind._bench.tcp_servers NAME``."""

from __future__ import annotations

import asyncio
import importlib
import selectors
import socket
import sys
from typing import cast

from uvbind._bench.servers import HOST, announce

BACKLOG = 511


class EchoProtocol(asyncio.Protocol):
    """What the loops for asyncio run."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def serve_protocol(module: str) -> None:
    """Serve with the loop for asyncio that a module has: asyncio, uvbind.aio, uvloop or rloop."""
    loop: asyncio.AbstractEventLoop = importlib.import_module(module).new_event_loop()
    server = loop.run_until_complete(loop.create_server(EchoProtocol, HOST, 0, backlog=BACKLOG))
    announce(server.sockets[0].getsockname()[1])
    loop.run_forever()


def serve_uvbind() -> None:
    """Serve with uvbind's own handles and callbacks."""
    import uvbind

    def on_read(stream: uvbind.Stream, data: bytes | None, error: uvbind.UVError | None) -> None:
        if data is None:
            stream.close()
        else:
            stream.write(data)

    def on_connection(server: uvbind.Stream, error: uvbind.UVError | None) -> None:
        if error is not None:
            return
        client = cast(uvbind.TCP, server.accept())
        client.nodelay(True)
        client.read_start(on_read)

    loop = uvbind.Loop()
    server = uvbind.TCP(loop)
    server.bind((HOST, 0))
    server.listen(on_connection, BACKLOG)
    announce(server.getsockname()[1])
    loop.run()


class SelectorsEcho:
    """What one writes by hand for speed: non-blocking sockets, one buffer for every read."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.buffer = memoryview(bytearray(256 * 1024))
        self.unsent: dict[socket.socket, bytearray] = {}

    def serve(self) -> None:
        listener = socket.create_server((HOST, 0), backlog=BACKLOG)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        announce(listener.getsockname()[1])
        while True:
            for key, _ in self.selector.select():
                try:
                    key.data(key.fileobj)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    self.close(cast(socket.socket, key.fileobj))

    def accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(sock, selectors.EVENT_READ, self.read)

    def read(self, sock: socket.socket) -> None:
        received = sock.recv_into(self.buffer)
        if received == 0:
            self.close(sock)
            return
        try:
            sent = sock.send(self.buffer[:received])
        except BlockingIOError:
            sent = 0
        if sent < received:  # the peer's window is full: read no more until this is gone
            self.unsent[sock] = bytearray(self.buffer[sent:received])
            self.selector.modify(sock, selectors.EVENT_WRITE, self.write)

    def write(self, sock: socket.socket) -> None:
        unsent = self.unsent[sock]
        del unsent[: sock.send(unsent)]
        if not unsent:
            del self.unsent[sock]
            self.selector.modify(sock, selectors.EVENT_READ, self.read)

    def close(self, sock: socket.socket) -> None:
        self.unsent.pop(sock, None)
        self.selector.unregister(sock)
        sock.close()


def serve(name: str) -> None:
    if name == "uvbind":
        serve_uvbind()
    elif name == "selectors":
        SelectorsEcho().serve()
    else:
        serve_protocol(name)


if __name__ == "__main__":
    serve(sys.argv[1])
