"""asyncio's transports where asyncio loses bytes, ends twice or fails after the end: put right.

`Writes`, `Sends` and `LostOnce` are for our transports as well. The classes below serve what libuv
does not read: pipes, families other than IP, and sockets that have a `recv` or `send` of their own.
"""

from __future__ import annotations

from asyncio import constants, selector_events, unix_events
from asyncio.log import logger
from collections.abc import Callable, Iterable
from typing import Any

from uvbind.aio._buffers import release_views, unchanging, view_of, views_of

_selector: Any = selector_events
_unix: Any = unix_events
_BUFFERS = (bytes, bytearray, memoryview)  # all that asyncio takes
_IOV_MAX = 1024  # Linux's and macOS's; sendmsg() takes no more
_KEPT = {"_read_ready_cb", "_write_ready"}  # methods that asyncio keeps in the transport itself
WRITE_ERROR = "Fatal write error on socket transport"  # asyncio's words


class LostOnce:
    """For a transport: it ends once, and after its end every method still works.

    asyncio ends it twice when the protocol closes it in resume_writing(). When it was closed with
    something unsent, asyncio takes it for open after its end.
    """

    _conn_lost: int
    _loop: Any

    def abort(self) -> None:
        if self._loop is not None:
            super().abort()  # type: ignore[misc]

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        if self._loop is not None:
            self._conn_lost = self._conn_lost or 1
            try:
                self._let_go()
            except BaseException:  # a signal handler's: once more, or the descriptor stays open
                self._let_go()
                raise
            finally:  # the protocol hears of the end all the same
                super()._call_connection_lost(exc)  # type: ignore[misc]
            self._forget_methods()

    def _forget_methods(self) -> None:
        """Nothing is left for them to do, and without them no garbage collector is needed."""
        for method in _KEPT.intersection(vars(self)):
            setattr(self, method, None)

    def _let_go(self) -> None:
        """The descriptor is closed next."""


class Writes:
    """For a stream transport: each byte of each buffer is written, as it is at the call."""

    _buffer: Any
    _conn_lost: int
    _empty_waiter: Any
    _eof: bool
    _fatal_error: Callable[[BaseException, str], None]
    _sock: Any

    def write(self, data: Any) -> None:
        if data.__class__ is bytes or not isinstance(data, _BUFFERS):
            super().write(data)  # type: ignore[misc]
            return
        with view_of(data) as view:
            sent = 0
            if view and self._is_idle():
                done = self._send_now(self._sock.send, view)
                if done is None or done == len(view):
                    return
                sent = done
            # The caller may change the buffer before the rest is sent: a copy of it waits.
            with view[sent:] as unsent:
                rest = unchanging(unsent)
        super().write(rest)  # type: ignore[misc]

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write several pieces with one system call, or as write() does what that does not take."""
        pieces: list[Any] = []
        try:
            views_of(list_of_data, pieces)
            size, sent = sum(map(len, pieces)), 0
            if size and self._is_idle():
                done = self._send_now(self._sock.sendmsg, pieces[:_IOV_MAX])
                if done is None or done == size:
                    return
                sent = done
            rest = memoryview(b"".join(pieces))[sent:]
        finally:
            release_views(pieces)
        super().write(rest)  # type: ignore[misc]

    def _is_idle(self) -> bool:
        """Tell whether nothing stands between a write and the socket."""
        return not (self._buffer or self._conn_lost or self._eof or self._empty_waiter)

    def _send_now(self, send: Callable[[Any], int], data: Any) -> int | None:
        """Return how many bytes the socket took; None when the connection has failed."""
        try:
            return send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._fatal_error(error, WRITE_ERROR)
            return None


class Sends:
    """For a datagram transport: sendto() after the end drops the datagram, as write() does.

    asyncio from 3.12 on adds 8 bytes for each datagram that waits and never takes them off: its
    count begins anew here when none waits.
    """

    _address: Any
    _buffer: Any
    _buffer_size: int
    _conn_lost: int
    _sock: Any

    def get_write_buffer_size(self) -> int:
        return self._buffer_size if self._buffer else 0

    def sendto(self, data: Any, addr: Any = None) -> None:
        if self._sock is None and not self._address and isinstance(data, _BUFFERS):
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        if not self._buffer:
            self._buffer_size = 0
        if isinstance(data, memoryview):
            with view_of(data) as view:
                super().sendto(view, addr)  # type: ignore[misc]
        else:
            super().sendto(data, addr)  # type: ignore[misc]


class SocketTransport(LostOnce, Writes, _selector._SelectorSocketTransport):  # type: ignore[misc]
    """A connection over a stream socket that the program has a say in."""


class DatagramTransport(LostOnce, Sends, _selector._SelectorDatagramTransport):  # type: ignore[misc]
    """A datagram endpoint over such a socket, or one of another family than IP."""


class WritePipeTransport(LostOnce, _unix._UnixWritePipeTransport):  # type: ignore[misc]
    """The writing end of a pipe."""

    def write(self, data: Any) -> None:
        if isinstance(data, (bytearray, memoryview)):  # asyncio would not release its views of it
            with view_of(data) as view:
                data = unchanging(view)
        super().write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        pieces: list[Any] = []
        try:
            views_of(list_of_data, pieces)
            data = b"".join(pieces)
        finally:
            release_views(pieces)
        super().write(data)
