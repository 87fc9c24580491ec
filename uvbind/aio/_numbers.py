"""What asyncio remembers by the number of a descriptor, which may be another's by now.

A number comes back as soon as its descriptor is closed. asyncio finds readers, writers and
transports by it, so that what is left of one connection may meet the next.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import base_events, selector_events
from typing import Any

from uvbind._handle import SocketBuffers

_Base: Any = selector_events.BaseSelectorEventLoop


class Holder(SocketBuffers):
    """What the handle of a transport inherits to have the descriptor of a socket object."""

    sock: Any = None

    def hold(self, sock: Any) -> None:
        """Before libuv gets the descriptor: Ctrl-C may come between any two lines.

        From now on who closes the socket object does not close the descriptor under libuv: it
        waits, as for a file that makefile() has made.
        """
        self.sock = sock
        if isinstance(sock, socket.socket):
            sock._io_refs += 1  # type: ignore[attr-defined]

    def let_go(self) -> None:
        """What libuv has, libuv closes: nothing is left to close for the socket object."""
        sock, self.sock = self.sock, None
        if sock is None:
            return
        has = self._in_use()
        if has:
            sock.detach()
        if isinstance(sock, socket.socket):
            sock._decref_socketios()  # type: ignore[attr-defined]
        if has:
            sock.close()  # of a class of the program's there is more to do


class Numbers(_Base):  # type: ignore[misc]
    """What the loop inherits to tell one owner of a number from the next."""

    def _sock_read_done(self, fd: int, future: Any, handle: Any = None) -> None:
        if self._waits(fd, 0, handle):
            _Base._remove_reader(self, fd)

    def _sock_write_done(self, fd: int, future: Any, handle: Any = None) -> None:
        if self._waits(fd, 1, handle):
            _Base._remove_writer(self, fd)

    def _waits(self, fd: int, side: int, handle: Any) -> bool:
        """Tell whether it is still this handle that waits for the descriptor."""
        key = self._selector.get_map().get(fd)
        return key is not None and key.data[side] is handle

    async def sock_accept(self, sock: Any) -> Any:
        """Accept a connection, as asyncio does; one that nobody gets any more is closed."""
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        future = self.create_future()
        self._sock_accept(future, sock)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                future.result()[0].close()
            raise

    def _sock_accept(self, future: Any, sock: Any) -> None:
        if not future.done():  # given up in the turn in which the connection came
            super()._sock_accept(future, sock)

    def _let_go_of(self, transport: Any) -> None:
        """Forget a transport whose descriptor is about to be closed."""
        fd = transport._sock_fd
        del self._streams[fd]
        waiter = getattr(transport, "_empty_waiter", None)  # of streams
        sends_file = waiter is not None and waiter.done()
        if sends_file:  # asyncio would end the waiter once more, and leave sendfile waiting
            transport._empty_waiter = None
        key = self._selector.get_map().get(fd)
        if key is None:
            return
        self._selector.unregister(fd)
        for handle in filter(None, key.data):
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
