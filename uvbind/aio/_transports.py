"""Stream transports: asyncio's own, with libuv reading and writing.

libuv owns the descriptor. It reads, and what it reads goes straight from its callback to the
protocol; all that one turn writes is sent at its end. All else is asyncio's: flow control, half
close, sendfile, start_tls, and the bytes that the socket does not take at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import weakref
from asyncio import futures, protocols, selector_events
from typing import Any

from uvbind import TCP, UVError
from uvbind._callbacks import FAST
from uvbind._errors import uv_error
from uvbind._uvbind import lib
from uvbind.aio._errors import plain_error
from uvbind.aio._mended import WRITE_ERROR, Writes
from uvbind.aio._numbers import Closing, Holder, LastStep

_Base: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
_EOF = lib.UV_EOF
_QUEUED = 64 * 1024  # bytes that may wait for the end of the turn


class _Stream(Holder, TCP):
    """The stream of a transport."""

    transport: Any = None  # a weak reference

    def take(self, sock: socket.socket) -> None:
        """Have libuv own a descriptor that asyncio has looked at."""
        self.hold(sock)
        error = lib.uvb_tcp_open(self._uv, sock.fileno())
        if error < 0:
            raise plain_error(uv_error(error, "sock"))
        # The kernel refuses this on sockets that are not TCP's, which is no error. `proto` tells
        # nothing: it is 0 for a socket that the program made, and for what that one accepts.
        lib.uv_tcp_nodelay(self._uv, 1)

    def _use_fast_lane(self, use: bool) -> None:
        """The transport has one of its own."""

    def _lend(self) -> None:
        self.transport()._lend()

    def forget_reader(self) -> None:
        """Nothing is read until the transport starts again, and nothing keeps it for that."""
        self._on_read = None
        self._core.forget_calls()

    def _read_failed(self, error: UVError) -> tuple[Any, tuple[Any, ...]]:
        transport = None if self.transport is None else self.transport()
        if transport is not None:
            transport._expect_end(error)
        return super()._read_failed(error)

    def _begin_close(self) -> None:
        self.let_go()
        found, self.transport = self.transport, None
        transport = None if found is None else found()
        if transport is not None:
            transport._send = _send_at_once  # C is done with the handle, we perhaps are not
        super()._begin_close()


class SocketTransport(Closing, Writes, _Base):  # type: ignore[misc]
    """A connection over a stream socket."""

    _sock: Any  # and in the end what stands for it
    # The end or an error that the protocol has yet to hear of, and the context to hear it in.
    _end: tuple[UVError, contextvars.Context] | None = None
    _begun = False  # to read, and not come to the end

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: Any,
        waiter: Any = None,
        extra: Any = None,
        server: Any = None,
        at_once: bool = False,
        context: contextvars.Context | None = None,
    ) -> None:
        connection_made = protocol.connection_made  # or it is no protocol
        self._loop, self._sock = loop, None  # for __del__
        scheduled: list[Any] = []
        stream, fd = None, sock.fileno()
        try:
            self._stream = stream = _Stream(loop.uv)
            # A reader keeps the transport, as a writer does: one that is paused and that the
            # program forgets is closed, as asyncio's is.
            stream.transport = weakref.ref(self)
            stream.take(sock)
            self._reading: contextvars.Context | None = None  # while libuv reads, and so
            self._fills = False  # into buffers of the protocol's
            self._send = stream._core.send if FAST else _send_at_once
            loop._streams[fd] = self
            # What asyncio's class adds to its base, which tests/aio/test_transports.py compares.
            self._eof = self._paused = False
            self._empty_waiter = self._read_ready_cb = None
            if sys.version_info >= (3, 12):
                self._write_ready = self._write_sendmsg
            _Base.__base__.__init__(self, loop, sock, protocol, extra, server)
            # The protocol's callbacks run in it; without one, as before Python 3.15, in copies of
            # the contexts that they come from. asyncio's __init__ has set its own there.
            self._context = context
            if not at_once:  # or else its maker calls begin()
                scheduled.append(loop.call_soon(connection_made, self, context=context))
                add = self._add_reader
                scheduled.append(loop.call_soon(add, fd, self._read_ready, context=context))
                if waiter is not None:
                    done: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
                    loop.call_soon(done, waiter, None, context=context)
        except BaseException:  # asyncio fails so when the server was closed a moment ago
            for handle in scheduled:
                handle.cancel()
            if loop._streams.get(fd) is self:
                del loop._streams[fd]
            if stream is not None:
                stream.close()
            self._sock = None
            raise

    def begin(self) -> None:
        """Do at once what else the loop does in its next turn: nobody waits for it."""
        try:
            made = self._protocol.connection_made
            asyncio.Handle(made, (self,), self._loop, self._context)._run()
        finally:
            self._add_reader(self._sock_fd, self._read_ready)

    def __repr__(self) -> str:
        text: str = super().__repr__()  # asks the selector, which is not who reads
        return text if self._reading is None else text.replace("read=idle", "read=polling", 1)

    # asyncio has the loop watch the descriptor, and the loop calls these.

    def _start_reading(self) -> None:
        if self._reading is not None or self._paused:
            return  # pause_reading() or resume_reading() in connection_made() was before asyncio
        context = contextvars.copy_context() if self._context is None else self._context
        if self._stream._reading:  # a signal handler has interrupted _stop_reading()
            self._stream.read_stop()
        transport: Any = None
        callback: Any = self._on_read
        try:
            self._begun = True
            self._reading = context
            self._fills = isinstance(self._protocol, protocols.BufferedProtocol)
            if self._loop._debug:
                callback = self._loop._measured(callback)
            else:
                transport = (context.run, self._protocol, self._raised)
            self._stream._read_start(callback, None, transport, self._fills)
        except BaseException:
            self._reading = None
            raise

    def _stop_reading(self) -> bool:
        """Tell whether libuv did read, which it no longer does."""
        if self._reading is None:
            return False
        self._reading = None
        self._stream.read_stop()
        self._stream.forget_reader()
        return True

    def __del__(self) -> None:
        forgotten = self._sock is not None
        super().__del__()  # warns
        # In a forked child the connection is the parent's.
        if forgotten and not self._loop._closed and not self._loop.uv._forked:
            try:
                self._stream.close()
            except RuntimeError:  # the garbage collector runs in another thread
                self._loop.call_soon_threadsafe(self._stream.close)

    def set_protocol(self, protocol: Any) -> None:
        super().set_protocol(protocol)
        if self._begun and not self._closing:
            try:
                self._loop._remove_reader(self._sock_fd)
            finally:
                self._add_reader(self._sock_fd, self._read_ready)

    def _lend(self) -> None:
        """A read is next: have it land in the protocol's buffer."""
        context, what = self._reading, "Fatal error: protocol.get_buffer() call failed."
        assert context is not None
        try:
            buffer = context.run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            if self._reading is context:  # or else it stopped reading
                what = "Fatal read error on socket transport"
                self._stream._core.lend(buffer)
        except BaseException as exception:
            self._raised(exception, what)

    def _on_read(self, stream: _Stream, data: bytes | int | None, error: UVError | None) -> None:
        """The end, or an error. Where C does not call the protocol itself, all that is read."""
        context = self._reading
        if context is None:
            return
        if error is None:
            try:
                if self._fills:
                    context.run(self._protocol.buffer_updated, data)
                else:
                    context.run(self._protocol.data_received, data)
            except BaseException as exception:
                self._raised(exception)
            return
        self._on_end()

    def _expect_end(self, error: UVError) -> None:
        """libuv tells of the end once: the next turn tells again, should a signal handler cut off
        what hears of it."""
        if self._reading is not None:
            self._end = error, self._reading
            self._loop.call_soon(self._on_end)

    def _on_end(self) -> None:
        if self._end is None or self._closing:
            return
        error, context = self._end
        self._begun = False
        self._reading = None  # libuv has stopped
        self._stream.forget_reader()
        if error.code == _EOF:
            context.run(self._read_ready__on_eof)
        else:
            self._fatal_error(plain_error(error), "Fatal read error on socket transport")
        self._end = None

    def _raised(self, exception: BaseException, what: str = "") -> None:
        """The protocol raised; what ends the program is the loop's to raise."""
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            raise exception
        method = "buffer_updated" if self._fills else "data_received"
        self._fatal_error(exception, what or f"Fatal error: protocol.{method}() call failed.")

    # Writes wait for the end of the loop's turn in C (src/_uvbind/python_writes.c), and leave
    # together. asyncio's `_buffer` has bytes only while none wait there.

    def write(self, data: Any) -> None:
        """Write before the loop polls again what the socket takes then; asyncio keeps the rest."""
        if not (self._buffer or self._conn_lost or self._eof or self._empty_waiter):
            kind = data.__class__
            if kind is bytes:
                self._send(self, data)
                return
            if (kind is memoryview and data.nbytes <= _QUEUED) or (
                kind is bytearray and len(data) <= _QUEUED
            ):
                self._send(self, bytes(data))  # the caller may change the buffer at once
                return
        self._flush()
        super().write(data)

    def writelines(self, list_of_data: Any) -> None:
        pieces = list(list_of_data)
        if self._is_idle() and all(piece.__class__ is bytes for piece in pieces):
            for piece in pieces:
                self.write(piece)
            return
        self._flush()
        super().writelines(pieces)

    def _unsent(self, rest: bytes | memoryview | int) -> None:
        """C calls this with the bytes that the socket does not take now, or with libuv's error."""
        if isinstance(rest, int):
            self._fatal_error(plain_error(uv_error(rest, "write")), WRITE_ERROR)
        else:
            _Base.write(self, rest)

    def _flush(self) -> None:
        """Send now what waits for the end of the turn: another step comes behind it."""
        self._stream._core.flush()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, for the end of the turn or for the socket."""
        return int(super().get_write_buffer_size() + self._stream._core.queued)

    def _set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        super()._set_write_buffer_limits(high, low)
        self._stream._core.set_bound(min(self._high_water, _QUEUED))

    def _make_empty_waiter(self) -> Any:
        self._flush()
        return super()._make_empty_waiter()

    def write_eof(self) -> None:
        self._flush()
        super().write_eof()

    def close(self) -> None:
        if not self._closing:
            self._check_thread()
            self._flush()
            # asyncio ends the connection once its own buffer is empty: nothing more waits in C.
            self._send = _send_at_once
        super().close()

    def _force_close(self, exc: BaseException | None) -> None:
        super()._force_close(exc)
        # Afterwards: when this fails as well, the protocol is told the first error.
        self._flush()

    def leave_socket(self) -> None:
        self._stream.leave()
        self._forget_methods()

    def _let_go(self) -> None:
        self._loop._let_go_of(self)
        self._sock = LastStep(self._loop, self._stream)


def _send_at_once(transport: SocketTransport, data: bytes) -> None:
    """Stand for C's queue where there is none."""
    transport._unsent(data)
