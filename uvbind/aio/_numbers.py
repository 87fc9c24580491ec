"""What asyncio remembers by the number of a descriptor, which may be another's by now.

A number comes back as soon as its descriptor is closed. asyncio finds readers, writers and
transports by it, so that what is left of one connection may meet the next.
"""

from __future__ import annotations

import asyncio
from asyncio import selector_events
from typing import Any

from uvbind._check import Socket
from uvbind._handle import SocketBuffers
from uvbind._uvbind import lib
from uvbind.aio._mended import LostOnce

_Base: Any = selector_events.BaseSelectorEventLoop
_Transport: Any = selector_events._SelectorTransport  # type: ignore[attr-defined]

# What asyncio's transports call of a socket.
_CALLS = ("recv", "recv_into", "recvfrom", "send", "sendmsg", "sendto")


def has_own_calls(sock: Any) -> bool:
    """Tell whether a class of the program's receives or sends in its own way."""
    kind = type(sock)
    return kind is not Socket and (
        not issubclass(kind, Socket)
        or any(getattr(kind, name) is not getattr(Socket, name) for name in _CALLS)
    )


class Holder(SocketBuffers):
    """What the handle of a transport inherits to have the descriptor of a socket object."""

    sock: Any = None

    def hold(self, sock: Any) -> None:
        """Before libuv gets the descriptor: Ctrl-C may come between any two lines.

        From now on who closes the socket object does not close the descriptor under libuv: it
        waits, as for a file that makefile() has made.
        """
        self.sock = sock
        if isinstance(sock, Socket):
            sock._io_refs += 1

    def leave(self) -> None:
        """The loop closes while the transport is open: the socket object has the descriptor again.

        A program may have lent it and may go on to use it. Else the transport closes it when it is
        forgotten, as asyncio's does.
        """
        if self._uv is not None and self.sock is not None:
            lib.uvb_handle_leave_descriptor(self._c)

    def let_go(self) -> None:
        """What libuv has, libuv closes: nothing is left to close for the socket object."""
        sock, self.sock = self.sock, None
        if sock is None:
            return
        has = self._in_use()
        if has:
            sock.detach()
        if isinstance(sock, Socket):
            sock._decref_socketios()
        if has:
            sock.close()  # of a class of the program's there is more to do


class LastStep:
    """Stands for the socket in asyncio's last step, which is to close it and to forget the rest."""

    def __init__(self, loop: Any, handle: Any) -> None:
        self._loop = loop
        self._handle = handle

    def close(self) -> None:
        try:
            self._handle.close()
        except BaseException as exception:  # a signal handler's: raised in the loop's next turn
            self._handle.close()
            if self._loop._closed:
                raise
            self._loop.call_soon(_raise, exception)


def _raise(exception: BaseException) -> None:
    raise exception


class Closing(LostOnce, _Transport):  # type: ignore[misc]
    """A base of transports, which are not closed half way: another thread hears first that it
    cannot close one, and an exception of a signal handler does not keep connection_lost() away.
    """

    _buffer: Any
    _closing: bool
    _context: Any = None  # that the protocol's callbacks run in

    def _add_reader(self, fd: int, callback: Any) -> None:
        """As asyncio's; when a signal handler raises in it, reading begins in the next turn."""
        try:
            super()._add_reader(fd, callback)
        except BaseException:
            self._loop.call_soon(super()._add_reader, fd, callback, context=self._context)
            raise

    def close(self) -> None:
        if not self._closing:
            self._check_thread()
        try:
            super().close()
        except BaseException:
            self._writer_removed()  # else it ends when all is written
            raise

    def _force_close(self, exc: BaseException | None) -> None:
        try:
            super()._force_close(exc)
        except BaseException:
            self._closing = True
            self._end_later(exc)
            raise

    def _writer_removed(self) -> None:
        """Perhaps: a signal handler has raised while the last of what was written was sent."""
        if self._closing and not self._buffer:
            self._end_later(None)

    def _end_later(self, exc: BaseException | None) -> None:
        """Have the protocol hear of the end, of which it hears once."""
        self._conn_lost = self._conn_lost or 1
        self._loop.call_soon(self._call_connection_lost, exc)

    def abort(self) -> None:
        if self._loop is not None:
            self._check_thread()
        super().abort()

    def _check_thread(self) -> None:
        if not self._loop._closed:
            self._loop.uv._use()


class Numbers(_Base):  # type: ignore[misc]
    """What the loop inherits to tell one owner of a number from the next."""

    def _let_go_of(self, transport: Any) -> None:
        """Forget a transport whose descriptor is about to be closed."""
        fd = transport._sock_fd
        if self._streams.get(fd) is transport:
            del self._streams[fd]
        waiter = getattr(transport, "_empty_waiter", None)  # of streams
        sends_file = waiter is not None and waiter.done()
        if sends_file:  # asyncio would end the waiter once more, and leave sendfile waiting
            transport._empty_waiter = None
        for handle in filter(None, self._readiness.forget(fd) or ()):
            future = handle._args and handle._args[0]
            handle.cancel()
            if sends_file and asyncio.isfuture(future) and not future.done():
                future.set_exception(ConnectionError("Connection is closed by peer"))

    async def _sendfile_native(self, transport: Any, *arguments: Any) -> Any:
        fd = transport._sock_fd
        try:
            return await super()._sendfile_native(transport, *arguments)
        finally:
            # asyncio takes the number for the transport's own again.
            if transport._sock is None:
                self._transports.pop(fd, None)
                if fd in self._streams:
                    self._transports[fd] = self._streams[fd]
