"""UDP. Facts from libuv's manual, page "uv_udp_t"."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import Address, ask, pack, unpack
from uvbind._callbacks import call, crossing
from uvbind._errors import UVError, check, uv_error
from uvbind._loop import Loop
from uvbind._udp_options import UDPOptions
from uvbind._udp_sending import UDPSending
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="UDP")
Datagram = tuple[bytes, Address, int]


class UDP(UDPSending, UDPOptions):
    """A UDP socket. Wraps uv_udp_t.

    `family`: socket.AF_INET or AF_INET6 makes the socket at once, without it bind(), connect()
    or the first send() do. `recvmmsg`: receive up to 20 datagrams with one system call where
    the platform can. Wraps uv_udp_init and uv_udp_init_ex.
    """

    PARTIAL: int = lib.UV_UDP_PARTIAL
    """The flag of a datagram that was longer than what was received of it."""

    _on_read: Callable[..., object] | None = None
    _receiving = False
    _batching = 0  # of what batches are made: tuples of so many parts
    _hands_over = False  # recv_start() was called: `_kept` comes first, then libuv receives
    _unbound = False  # its socket was made before bind()
    _kept: deque[tuple[Any, ...]] | tuple[()] = ()  # what recv_stop() left of a batch

    def __init__(
        self, loop: Loop, family: int = socket.AF_UNSPEC, *, recvmmsg: bool = False
    ) -> None:
        flags = _check.integer("family", family, 0, 255)
        self._unbound = flags != socket.AF_UNSPEC
        flags |= lib.UV_UDP_RECVMMSG if recvmmsg else 0
        super().__init__(loop, "uv_udp_t *", lib.UV_UDP, flags)
        self._batch: list[Any] = []

    # -- addresses

    def bind(
        self,
        address: Address,
        *,
        ipv6only: bool = False,
        reuseaddr: bool = False,
        reuseport: bool = False,
        linux_recverr: bool = False,
    ) -> None:
        """Bind to `address`; port 0 takes a free one.

        `ipv6only`: no IPv4 on an IPv6 socket. `reuseaddr`: others may bind to the address too,
        as for multicast. `reuseport`: the kernel spreads datagrams over the sockets bound;
        needs libuv 1.49. `linux_recverr`: ICMP errors reach the receive callback, on Linux. Raises
        UVError: EADDRINUSE, EACCES, EADDRNOTAVAIL, EINVAL. Wraps uv_udp_bind.
        """
        storage = pack(address)
        flags = lib.UV_UDP_IPV6ONLY if ipv6only else 0
        flags |= lib.UV_UDP_REUSEADDR if reuseaddr else 0
        flags |= lib.UV_UDP_LINUX_RECVERR if linux_recverr else 0
        if reuseport:
            needs(1, 49, "bind(reuseport=True)")
            flags |= lib.UV_UDP_REUSEPORT
        self._open()
        check(lib.uvb_udp_bind(self._c, storage, flags), f"bind to {address!r:.100}")

    def connect(self, address: Address) -> None:
        """Send to and receive from `address` only. Raises UVError (EISCONN). Wraps
        uv_udp_connect."""
        storage = pack(address)
        self._open()
        check(lib.uvb_udp_connect(self._c, storage), f"connect to {address!r:.100}")

    def disconnect(self) -> None:
        """Undo connect(). Raises UVError (ENOTCONN). Wraps uv_udp_connect."""
        self._open()
        check(lib.uvb_udp_connect(self._c, ffi.NULL), "disconnect")

    def open(self, sock: Any) -> None:
        """Take over a datagram socket.

        `sock`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on, and non-blocking with its duplicates. Its SO_REUSEADDR stays as the caller
        has it, although libuv would set it. When this raises, it stays the caller's: TypeError
        for sockets with a recv() or send() of their own, UVError (EEXIST when a handle has it,
        EBADF, EINVAL when it is no datagram socket). Wraps uv_udp_open.
        """
        self._take_over("sock", sock, socket.SOCK_DGRAM, lib.uvb_udp_open)

    def open_ex(self, sock: Any, *, reuseaddr: bool = False, reuseport: bool = False) -> None:
        """As open(), and set SO_REUSEADDR or SO_REUSEPORT; needs libuv 1.52.

        Raises UVError (ENOTSUP) where the kernel does not balance the load of `reuseport`. Wraps
        uv_udp_open_ex.
        """
        needs(1, 52, "open_ex()")
        flags = lib.UV_UDP_REUSEADDR if reuseaddr else 0
        flags |= lib.UV_UDP_REUSEPORT if reuseport else 0

        def opened(uv: Any, fd: int) -> int:
            return int(lib.uvb_udp_open_ex(uv, fd, flags))

        self._take_over("sock", sock, socket.SOCK_DGRAM, opened)

    def getsockname(self) -> Address:
        """Return the address that the socket is bound to. Wraps uv_udp_getsockname."""
        return ask(lib.uv_udp_getsockname, self._open(), "getsockname")

    def getpeername(self) -> Address:
        """Return the address of connect(). Raises UVError (ENOTCONN). Wraps
        uv_udp_getpeername."""
        return ask(lib.uv_udp_getpeername, self._open(), "getpeername")

    # -- receiving

    def recv_start(
        self: Self,
        callback: Callable[[Self, bytes | None, Address | None, int, UVError | None], object],
    ) -> None:
        """Call `callback(udp, data, address, flags, error)` for every datagram, empty ones too.

        `flags`: UDP.PARTIAL when the datagram was truncated, else 0. With an `error`, data and
        address are None, and receiving goes on. A socket that is not bound is bound to a free port
        of all interfaces. Raises UVError (EALREADY). Wraps uv_udp_recv_start.
        """
        _check.function("callback", callback)
        self._recv_start(callback, 0)

    def recv_batch_start(
        self: Self,
        callback: Callable[[Self, list[Datagram], UVError | None], object],
    ) -> None:
        """Call `callback(udp, datagrams, error)` with several datagrams at once.

        `datagrams`: a list of (data, address, flags) in their order, what one system call
        received of at most 20 with recvmmsg=True, else what one turn of the loop did, of at
        most 32. With an `error` it is empty, and receiving goes on. Raises UVError (EALREADY).
        Wraps uv_udp_recv_start.
        """
        _check.function("callback", callback)
        self._recv_start(callback, 3)

    def _recv_start(self, callback: Callable[..., object], batching: int) -> None:
        udp = self._open()
        if self._hands_over:
            raise uv_error(lib.UV_EALREADY, "recv_start")
        if self._unbound:  # libuv binds those only whose socket it makes here
            self._bind_to_any(udp)
        # All in place before libuv receives: a signal handler may raise after that.
        before = self._on_read, self._batching, self._receiving
        self._on_read, self._batching, self._receiving = callback, batching, True
        error = 0 if self._kept else self._core.recv_start(batching, callback)
        if error < 0:
            self._on_read, self._batching, self._receiving = before
            raise uv_error(error, "recv_start")
        if self._kept:
            self._loop._call_later(self._hand_over_kept)
            self._hands_over = True  # last: while it is set recv_start() would be refused

    def recv_stop(self) -> None:
        """Stop receiving; a second call does nothing.

        The next recv_start() begins with what had been received by then, with recvmmsg=True up
        to 19 datagrams. Wraps uv_udp_recv_stop.
        """
        self._open()
        self._hands_over = False
        check(lib.uvb_udp_recv_stop(self._c), "recv_stop")
        self._receiving = False

    def is_active(self) -> bool:
        """Tell whether the handle receives or has datagrams to send. Wraps uv_is_active."""
        return self._hands_over or super().is_active()

    def using_recvmmsg(self) -> bool:
        """Tell whether several datagrams are received with one system call. Wraps
        uv_udp_using_recvmmsg."""
        return bool(lib.uv_udp_using_recvmmsg(self._open()))

    def _received(self, data: Any, nread: int, sender: Any, flags: int) -> None:
        """What C did not hand over itself: an error, or any datagram on PyPy."""
        if nread < 0:
            self._fail(uv_error(nread, "recv"))
            return
        if self._uv is None:
            return
        payload, address = ffi.unpack(data, nread), _sender(sender)
        if flags & lib.UVB_KEEP:
            self._keep(payload, address, flags & ~lib.UVB_KEEP)
        elif self._batching:
            self._batch.append((payload, address, flags)[: self._batching])
        else:
            assert self._on_read is not None
            self._on_read(self, payload, address, flags, None)

    def _received_batch(self) -> None:
        batch, self._batch = self._batch, []
        assert self._on_read is not None
        self._on_read(self, batch, None)

    def _keep(self, *datagram: Any) -> None:
        kept = self._kept or deque()
        kept.append(datagram)
        self._kept = kept

    def _hand_over_kept(self) -> None:
        """Deliver what recv_stop() left of a batch, and have libuv receive again."""
        while self._kept and self._hands_over:
            assert self._on_read is not None
            if self._batching:
                batch, self._kept = [datagram[: self._batching] for datagram in self._kept], ()
                call(self._on_read, self, batch, None)
            else:
                call(self._on_read, self, *self._kept.popleft(), None)
        if self._hands_over:
            check(self._core.recv_start(self._batching, self._on_read), "recv_start")
            self._hands_over = False

    def _fail(self, error: UVError) -> None:
        if self._uv is not None and self._on_read is not None:
            if self._batching:
                self._on_read(self, [], error)
            else:
                self._on_read(self, None, None, 0, error)

    def _report(self, error: UVError) -> None:
        """A late failure nobody gave a callback for."""
        if error.code == lib.UV_ECANCELED or self._uv is None:
            return  # closed here, so it is known
        if not self._receiving:
            raise error
        self._fail(error)

    # -- for the other modules

    def _bind_to_any(self, udp: Any) -> None:
        name = ask(lib.uv_udp_getsockname, udp, "getsockname")
        if name[1] == 0:
            storage = pack(("0.0.0.0" if len(name) == 2 else "::", 0))
            check(lib.uvb_udp_bind(self._c, storage, 0), "recv_start: bind")
        self._unbound = False

    def _begin_close(self) -> None:
        self._receiving = self._hands_over = False
        super()._begin_close()

    def _forget(self) -> None:
        super()._forget()
        self._on_read = None
        self._kept = ()


def _sender(sender: Any) -> Any:
    try:
        return unpack(sender)
    except UVError:  # a unix socket's
        return None


@crossing
def uvb_on_datagram(pointer: Any, data: Any, nread: int, sender: Any, flags: int) -> None:
    ffi.from_handle(pointer)._received(data, nread, sender, flags)


@crossing
def uvb_on_batch(pointer: Any) -> None:
    ffi.from_handle(pointer)._received_batch()
