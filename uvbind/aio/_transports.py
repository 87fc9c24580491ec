"""Stream transports: asyncio's own, with libuv reading and writing.

libuv owns the descriptor. It reads, and what it reads goes straight from its callback to the
protocol; a write is tried at once. All else is asyncio's: flow control, half close, sendfile,
start_tls, and what does not go out at once.
"""

from __future__ import annotations

import contextvars
import socket
from asyncio import protocols, selector_events
from typing import Any

from uvbind import TCP, UVError
from uvbind._callbacks import FAST
from uvbind._uvbind import lib

_Base: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
_EOF = lib.UV_EOF


class _Stream(TCP):
    """The stream of a transport; when it closes, the socket object has nothing left to close."""

    transport: SocketTransport
    sock: socket.socket | None = None  # whose descriptor libuv has

    def _begin_close(self) -> None:
        if self.sock is not None:
            self.sock.detach()
        super()._begin_close()


class _Closing:
    """Stands for the socket in asyncio's last step, which is to close it."""

    def __init__(self, stream: _Stream) -> None:
        self.close = stream.close


class SocketTransport(_Base):  # type: ignore[misc]
    """A connection over a stream socket."""

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: Any,
        waiter: Any = None,
        extra: Any = None,
        server: Any = None,
    ) -> None:
        self._stream = stream = _Stream(loop.uv)
        fd = sock.fileno()
        try:
            stream.open(fd)
        except BaseException:
            stream.close()
            raise
        stream.sock, stream.transport = sock, self  # the stream keeps the transport
        self._context: contextvars.Context | None = None  # while libuv reads
        self._try_write = FAST["try_writer"](stream._address) if FAST else _not_now
        loop._streams[fd] = self
        super().__init__(loop, sock, protocol, waiter, extra, server)

    # asyncio has the loop watch the descriptor, and the loop asks these.

    def _start_reading(self) -> bool:
        """Have libuv read; False when the protocol wants to have a buffer of its own filled."""
        if isinstance(self._protocol, protocols.BufferedProtocol):
            return False
        self._context = contextvars.copy_context()
        self._stream.read_start(self._on_read)
        return True

    def _stop_reading(self) -> bool:
        """Tell whether libuv did read, which it no longer does."""
        if self._context is None:
            return False
        self._context = None
        self._stream.read_stop()
        return True

    def set_protocol(self, protocol: Any) -> None:
        reads = self._context is not None
        if reads:
            self._loop._remove_reader(self._sock_fd)
        super().set_protocol(protocol)
        if reads:
            self._loop._add_reader(self._sock_fd, self._read_ready)

    def _on_read(self, stream: _Stream, data: bytes | None, error: UVError | None) -> None:
        context = self._context
        if context is None:
            return
        if data is not None:
            try:
                context.run(self._protocol.data_received, data)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exception:
                self._fatal_error(exception, "Fatal error: protocol.data_received() call failed.")
            return
        self._context = None  # libuv has stopped
        assert error is not None
        if error.code == _EOF:
            context.run(self._read_ready__on_eof)
        else:
            self._fatal_error(error, "Fatal read error on socket transport")

    def write(self, data: Any) -> None:
        if (
            data.__class__ is bytes
            and not self._buffer
            and not self._conn_lost
            and not self._eof
            and self._empty_waiter is None
        ):
            sent = self._try_write(data)
            if sent == len(data):
                return
            if sent:
                data = memoryview(data)[sent:]
        super().write(data)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        del self._loop._streams[self._sock_fd]
        self._sock = _Closing(self._stream)
        super()._call_connection_lost(exc)


def _not_now(data: bytes) -> int:
    """The fast lane of write() where there is none."""
    return 0
