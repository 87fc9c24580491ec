"""The `sock_*` methods: calls of plain sockets, made again when the system is ready for them.

As in asyncio a call is tried at once. When it has to wait it waits for readiness alone, and is made
when its task runs again: a task that is cancelled in between has lost nothing, and tasks that wait
for the same socket all get their turn.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import weakref
from asyncio import base_events, selector_events
from typing import Any

from uvbind._callbacks import FAST
from uvbind._check import Socket
from uvbind.aio._buffers import view_of
from uvbind.aio._readiness import polled

_Base: Any = selector_events.BaseSelectorEventLoop
_LATER = (BlockingIOError, InterruptedError)
# What waits for nothing has no need of an exception to say so.
_receive: Any = FAST.get("receive")
_send: Any = FAST.get("send")


class Sockets(_Base):  # type: ignore[misc]
    """What EventLoop inherits for plain sockets."""

    def __init__(self, *arguments: Any) -> None:
        self._itself = weakref.ref(self)  # what Wait.get_loop calls
        # Now, not when first needed: programs look for leaks by counting descriptors.
        self._waits = self._new_waits()
        self._waits_poll = polled(self.uv, self._waits)
        super().__init__(*arguments)

    def close(self) -> None:
        super().close()  # raises while it runs
        if not self.uv._forked:
            self._waits_poll.close()
        self._waits.close()

    async def sock_recv(self, sock: Any, n: int) -> Any:
        if sock.__class__ is not Socket or self._debug:
            self._check_socket(sock)
        if _receive is None or sock.__class__ is not Socket or n.__class__ is not int or n <= 0:
            return await self._call(self._waits.reading, sock, "recv", n)
        while (data := _receive(fd := sock.fileno(), n)) is None:
            if fd in self._transports.data:
                self._ensure_fd_no_transport(fd)  # raises, unless the transport is closing
            await self._waits.reading(fd)
        return data

    async def sock_recv_into(self, sock: Any, buf: Any) -> Any:
        self._check_socket(sock)
        return await self._call(self._waits.reading, sock, "recv_into", buf)

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> Any:
        self._check_socket(sock)
        return await self._call(self._waits.reading, sock, "recvfrom", bufsize)

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> Any:
        self._check_socket(sock)
        nbytes = nbytes or len(buf)
        return await self._call(self._waits.reading, sock, "recvfrom_into", buf, nbytes)

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        if sock.__class__ is not Socket or self._debug:
            self._check_socket(sock)
        if _send is not None and sock.__class__ is Socket and data.__class__ is bytes:
            sent = _send(sock.fileno(), data, 0)
            while sent < len(data):
                if (fd := sock.fileno()) in self._transports.data:
                    self._ensure_fd_no_transport(fd)
                await self._waits.writing(fd)
                sent += _send(sock.fileno(), data, sent)
            return
        view: Any = data if data.__class__ is bytes else view_of(data)
        try:
            try:
                sent = sock.send(view)
            except _LATER:
                sent = 0
            if sent < len(view) and view is data:
                view = memoryview(data)
            while sent < len(view):
                await self._until(self._waits.writing, sock)
                with contextlib.suppress(*_LATER), view[sent:] as rest:
                    sent += sock.send(rest)
        finally:
            if view is not data:
                view.release()

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> Any:
        self._check_socket(sock)
        return await self._call(self._waits.writing, sock, "sendto", data, address)

    async def sock_accept(self, sock: Any) -> Any:
        self._check_socket(sock)
        connection, address = await self._call(self._waits.reading, sock, "accept")
        connection.setblocking(False)
        return connection, address

    async def sock_connect(self, sock: Any, address: Any) -> None:
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        fd = sock.fileno()
        try:
            sock.connect(address)
            return
        except _LATER as error:
            if error.errno == errno.EAGAIN and sock.family == getattr(socket, "AF_UNIX", None):
                raise  # the server's queue is full: nothing is under way
        try:
            await self._until(self._waits.writing, sock)
        finally:
            self._waits.release(fd)  # which libuv reads from now on, or nobody
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code != 0:
            raise OSError(code, f"Connect call failed {address}")

    def _check_socket(self, sock: Any) -> None:
        if sock.__class__ is Socket and not self._debug:
            return
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _call(self, wait_for: Any, sock: Any, method: str, *arguments: Any) -> Any:
        """Call a method of a socket until the system does not put it off."""
        while True:
            try:
                return getattr(sock, method)(*arguments)  # looked up anew, as asyncio does
            except _LATER:
                pass
            await self._until(wait_for, sock)

    def _until(self, wait_for: Any, sock: Any) -> Any:
        """Wait until a call of a socket is worth another try."""
        fd = sock.fileno()
        if fd in self._transports.data:
            self._ensure_fd_no_transport(fd)  # raises, unless the transport is closing
        return wait_for(fd)
