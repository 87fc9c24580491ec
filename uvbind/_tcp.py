"""TCP. Facts from libuv's manual, page "uv_tcp_t"."""

from __future__ import annotations

import operator
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import Address, ask, pack
from uvbind._errors import UVError, check, uv_error
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._stream import Stream
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="TCP")

_CONNECT_CB = ffi.addressof(lib, "uvb_connect_cb")
_LINUX_MOST = (32767, 32767, 127)  # seconds idle, seconds between probes, probes


class TCP(Stream):
    """A TCP server or connection. Wraps uv_tcp_t.

    `family`: socket.AF_INET or AF_INET6 makes the socket at once, for options before bind();
    without it bind() and connect() do. Raises UVError (EMFILE, EINVAL). Wraps uv_tcp_init and
    uv_tcp_init_ex.
    """

    _options: Mapping[str, tuple[Any, ...]] = {}  # set before there was a socket

    def __init__(self, loop: Loop, family: int = socket.AF_UNSPEC) -> None:
        flags = _check.integer("family", family, 0, 255)
        super().__init__(loop, "uv_tcp_t *", lib.UV_TCP, flags)

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
        check(lib.uvb_tcp_bind(self._open(), storage, flags), f"bind to {address!r:.100}")
        self._apply_options()

    def connect(
        self: Self, address: Address, callback: Callable[[Self, UVError | None], object]
    ) -> Request:
        """Connect to `address` and call `callback(tcp, error)` when that is done.

        After an error it may be called again, but not with an address of the other family.
        Raises UVError: EALREADY while connecting, EISCONN, EINVAL for a link-local address that
        does not say on which interface it is. Wraps uv_tcp_connect.
        """
        storage = pack(address)
        _check.function("callback", callback)
        if _needs_scope(address):  # libuv would take the first interface that it finds
            what = f"connect: {address[0]!r} is link-local, give its interface: 'fe80::1%eth0'"
            raise uv_error(lib.UV_EINVAL, what)
        self._open()
        if self._failed_to_connect:
            # Linux fails the first connect() after one that has failed, and then forgets that.
            submit: Callable[..., int] = _connect_again
        else:
            submit = lib.uvb_tcp_connect
        request = self._connect(callback, submit, storage, _CONNECT_CB)
        self._apply_options()
        return request

    def listen(
        self: Self, callback: Callable[[Self, UVError | None], object], backlog: int = 511
    ) -> None:
        """Call `callback(server, error)` for every connection, see Stream.listen().

        Without bind() it takes a free port of all IPv4 interfaces. Wraps uv_listen.
        """
        super().listen(callback, backlog)
        self._apply_options()

    def open(self, sock: Any) -> None:
        """Take over a stream socket, connected, listening or neither.

        `sock`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on, and non-blocking with its duplicates. When this raises, it stays the
        caller's: TypeError for an SSLSocket and others with a recv() or send() of their own,
        UVError (EEXIST when a handle has it, EBADF, EINVAL when it is no stream socket). Wraps
        uv_tcp_open.
        """
        self._open_as("sock", sock, lib.uvb_tcp_open)

    # -- options, which are remembered while there is no socket

    def nodelay(self, enable: bool) -> None:
        """Send small writes at once (TCP_NODELAY), or gather them; before connect() as well.

        Raises UVError (ENOTSUP) for a unix socket. Wraps uv_tcp_nodelay.
        """
        self._set_option("nodelay", lib.uv_tcp_nodelay, bool(enable))

    def keepalive(self, enable: bool, delay: int = 60) -> None:
        """Probe a connection that has been idle for `delay` seconds; before connect() as well.

        After 10 probes, one a second, that nobody answers it is closed with ETIMEDOUT. Raises
        UVError: EINVAL for a delay that the system does not take, Linux up to 32,767. Wraps
        uv_tcp_keepalive.
        """
        on = bool(enable)
        seconds = _check.integer("delay", delay, 1, 2**31 - 1) if on else 0
        self._set_option("keepalive", lib.uv_tcp_keepalive, on, seconds)

    def keepalive_ex(
        self, enable: bool, idle: int = 60, interval: int = 1, count: int = 10
    ) -> None:
        """As keepalive(), with `count` probes, one every `interval` seconds, after `idle` seconds.

        Needs libuv 1.52. Raises UVError: EINVAL for numbers that the system does not take, Linux
        up to 32,767 seconds and 127 probes. Wraps uv_tcp_keepalive_ex.
        """
        on = bool(enable)
        numbers = (0, 0, 0)
        if on:
            numbers = (
                _check.integer("idle", idle, 1, 2**31 - 1),
                _check.integer("interval", interval, 1, 2**31 - 1),
                _check.integer("count", count, 1, 2**31 - 1),
            )
        needs(1, 52, "keepalive_ex()")
        self._set_option("keepalive", lib.uv_tcp_keepalive_ex, on, *numbers)

    def _set_option(self, name: str, setter: Callable[..., int], on: bool, *numbers: int) -> None:
        tcp = self._open()
        if not self._in_use():
            if sys.platform == "linux" and any(map(operator.gt, numbers, _LINUX_MOST)):
                raise uv_error(lib.UV_EINVAL, f"{name}: {numbers}, of which {_LINUX_MOST} fit")
            # libuv remembers that it is on, and no numbers.
            self._options = {**self._options, name: (setter, on, *numbers)}
        check(setter(tcp, on, *numbers), name)

    def _apply_options(self) -> None:
        """There is a socket now."""
        options, self._options = self._options, {}
        for name, (setter, on, *numbers) in options.items():
            error = setter(self._uv, on, *numbers)
            if on:  # an option that a socket of another kind does not have is off
                check(error, name)

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

        While write2() passes the handle to another process, this is close(). Raises UVError:
        EINVAL until shutdown() has called back, EBADF when never connected or closed. Wraps
        uv_tcp_close_reset.
        """
        _check.optional_function("callback", callback)
        self._open()
        if callback is not None:
            self._close_callbacks.append(callback)
        error = lib.uvb_tcp_close_reset(self._c)
        if error < 0:
            if callback is not None:
                self._close_callbacks.pop()
            raise uv_error(error, "close_reset")
        self.close()  # for Python; C knows that it is closing

    @classmethod
    def socketpair(cls, loop: Loop) -> tuple[TCP, TCP]:
        """Return two handles that are connected to each other, as for a test or a thread.

        Raises UVError (EMFILE). Wraps uv_socketpair and uv_tcp_open.
        """
        pair: list[TCP] = []
        try:
            for _ in range(2):
                pair.append(cls(loop))
            ends = ffi.new("uv_os_sock_t[2]", [-1, -1])
            nonblocking = lib.UV_NONBLOCK_PIPE
            try:
                error = lib.uv_socketpair(socket.SOCK_STREAM, 0, ends, nonblocking, nonblocking)
                check(error, "uv_socketpair")
                for tcp, fd in zip(pair, ends):
                    tcp.open(fd)
            finally:
                for tcp, fd in zip(pair, ends):
                    if fd != -1 and not tcp._in_use():
                        os.close(fd)
        except BaseException:
            for tcp in pair:
                tcp.close()
            raise
        return pair[0], pair[1]

    def _new_client(self) -> TCP:
        return TCP(self._loop)


def _needs_scope(address: Any) -> bool:
    host = address[0]
    return host[:5].lower() == "fe80:" and "%" not in host and not any(address[3:])


def _connect_again(*arguments: Any) -> int:
    error = int(lib.uvb_tcp_connect(*arguments))
    return int(lib.uvb_tcp_connect(*arguments)) if error == lib.UV_ECONNABORTED else error
