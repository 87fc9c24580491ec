"""TCP. Facts from libuv's manual, page "uv_tcp_t"."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import Address, ask, pack
from uvbind._errors import UVError, check
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._stream import Stream
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="TCP")

_CONNECT_CB = ffi.addressof(lib, "uvb_connect_cb")


class TCP(Stream):
    """A TCP server or connection. Wraps uv_tcp_t.

    `family`: socket.AF_INET or AF_INET6 makes the socket at once, for options before bind();
    without it bind() and connect() do. Raises UVError (EMFILE, EINVAL). Wraps uv_tcp_init and
    uv_tcp_init_ex.
    """

    def __init__(self, loop: Loop, family: int = socket.AF_UNSPEC) -> None:
        flags = _check.integer("family", family, 0, 255)
        super().__init__(loop, "uv_tcp_t *", lib.uv_tcp_init_ex, flags)

    def bind(self, address: Address, *, ipv6only: bool = False, reuseport: bool = False) -> None:
        """Bind to `address`, with SO_REUSEADDR set; port 0 takes a free one.

        `ipv6only`: no IPv4 on an IPv6 socket. `reuseport`: several sockets share the port and
        the kernel spreads connections over them; needs libuv 1.49. Raises UVError: EACCES,
        EADDRNOTAVAIL, EINVAL when bound already; EADDRINUSE comes from listen() or connect().
        Wraps uv_tcp_bind.
        """
        storage = pack(address)
        flags = lib.UV_TCP_IPV6ONLY if ipv6only else 0
        if reuseport:
            needs(1, 49, "bind(reuseport=True)")
            flags |= lib.UV_TCP_REUSEPORT
        check(lib.uv_tcp_bind(self._open(), storage, flags), f"bind to {address!r:.100}")

    def connect(
        self: Self, address: Address, callback: Callable[[Self, UVError | None], object]
    ) -> Request:
        """Connect to `address` and call `callback(tcp, error)` when that is done.

        Raises UVError: EALREADY while connecting, EISCONN. Wraps uv_tcp_connect.
        """
        storage = pack(address)
        _check.function("callback", callback)
        self._open()
        return self._connect(callback, lib.uv_tcp_connect, storage, _CONNECT_CB)

    def open(self, sock: Any) -> None:
        """Take over a connected or listening stream socket.

        `sock`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on. When this raises, UVError (EEXIST, EBADF, EINVAL when it is no stream
        socket), it stays the caller's. Wraps uv_tcp_open.
        """
        self._take_over(sock, socket.SOCK_STREAM, "stream", lib.uv_tcp_open)

    def nodelay(self, enable: bool) -> None:
        """Send small writes at once (TCP_NODELAY), or gather them. Wraps uv_tcp_nodelay."""
        on = bool(enable)
        check(lib.uv_tcp_nodelay(self._open(), on), "nodelay")

    def keepalive(self, enable: bool, delay: int = 60) -> None:
        """Probe a connection that has been idle for `delay` seconds. Wraps uv_tcp_keepalive."""
        on = bool(enable)
        seconds = _check.integer("delay", delay, 1, 2**31 - 1) if on else 0
        check(lib.uv_tcp_keepalive(self._open(), on, seconds), "keepalive")

    def simultaneous_accepts(self, enable: bool) -> None:
        """Let Windows queue several accepts; nothing elsewhere. Wraps
        uv_tcp_simultaneous_accepts."""
        on = bool(enable)
        check(lib.uv_tcp_simultaneous_accepts(self._open(), on), "simultaneous_accepts")

    def getsockname(self) -> Address:
        """Return the address that the socket is bound to. Wraps uv_tcp_getsockname."""
        return ask(lib.uv_tcp_getsockname, self._open(), "getsockname")

    def getpeername(self) -> Address:
        """Return the address of the peer. Raises UVError (ENOTCONN). Wraps
        uv_tcp_getpeername."""
        return ask(lib.uv_tcp_getpeername, self._open(), "getpeername")

    def close_reset(self: Self, callback: Callable[[Self], object] | None = None) -> None:
        """Close by sending RST, so that the peer sees ECONNRESET; what is unsent is lost.

        Raises UVError: EINVAL after shutdown(), EBADF when never connected or closed. Wraps
        uv_tcp_close_reset.
        """
        _check.optional_function("callback", callback)
        self._open()
        check(lib.uvb_tcp_close_reset(self._c), "close_reset")
        self._begin_close()
        if callback is not None:
            self._close_callbacks.append(callback)

    @classmethod
    def socketpair(cls, loop: Loop) -> tuple[TCP, TCP]:
        """Return two handles that are connected to each other, as for a test or a thread.

        Raises UVError (EMFILE). Wraps uv_socketpair and uv_tcp_open.
        """
        pair: list[TCP] = []
        try:
            for _ in range(2):
                pair.append(cls(loop))
            ends = ffi.new("uv_os_sock_t[2]")
            nonblocking = lib.UV_NONBLOCK_PIPE
            error = lib.uv_socketpair(socket.SOCK_STREAM, 0, ends, nonblocking, nonblocking)
            check(error, "uv_socketpair")
            unopened = [ends[1], ends[0]]
            try:
                for tcp in pair:
                    tcp.open(unopened[-1])
                    unopened.pop()
            finally:
                for fd in unopened:
                    os.close(fd)
        except BaseException:
            for tcp in pair:
                tcp.close()
            raise
        return pair[0], pair[1]

    def _new_client(self) -> TCP:
        return TCP(self._loop)
