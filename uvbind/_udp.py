"""UDP. Facts from libuv's manual, page "uv_udp_t"."""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import Address, ask, pack, unpack
from uvbind._callbacks import FAST, crossing
from uvbind._errors import UVError, check, uv_error
from uvbind._handle import SocketBuffers
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="UDP")
Datagram = tuple[bytes, Address, int]

_PORTION = 20  # how many datagrams libuv hands to the kernel at once
_SEND_CB = ffi.addressof(lib, "uvb_udp_send_cb")


class Membership(enum.IntEnum):
    """What to do with a multicast group. Wraps uv_membership."""

    LEAVE_GROUP = lib.UV_LEAVE_GROUP
    JOIN_GROUP = lib.UV_JOIN_GROUP


class UDP(SocketBuffers):
    """A UDP socket. Wraps uv_udp_t.

    `family`: socket.AF_INET or AF_INET6 makes the socket at once, without it bind(), connect()
    or the first send() do. `recvmmsg`: receive up to 20 datagrams with one system call where
    the platform can. Wraps uv_udp_init_ex.
    """

    PARTIAL: int = lib.UV_UDP_PARTIAL
    """The flag of a datagram that was longer than what was received of it."""

    _on_read: Callable[..., object] | None = None
    _receiving = False
    _batching = False

    def __init__(
        self, loop: Loop, family: int = socket.AF_UNSPEC, *, recvmmsg: bool = False
    ) -> None:
        flags = _check.integer("family", family, 0, 255)
        flags |= lib.UV_UDP_RECVMMSG if recvmmsg else 0
        super().__init__(loop, "uv_udp_t *", lib.uv_udp_init_ex, flags)
        # What uv_accept takes, for a UDP handle that arrives over a pipe.
        self._uv_stream = ffi.cast("uv_stream_t *", self._uv_handle)
        self._address = int(ffi.cast("uintptr_t", self._c))
        self._batch: list[Datagram] = []
        self._send_now: Callable[..., int | None] = self._send_bytes
        self._send_batch: Callable[..., int | None] = _not_now
        if FAST:
            self._send_now, self._send_batch = FAST["senders"](self._address, _raw)

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
        needs libuv 1.49. `linux_recverr`: ICMP errors reach the receive callback. Raises
        UVError: EADDRINUSE, EACCES, EADDRNOTAVAIL, EINVAL. Wraps uv_udp_bind.
        """
        storage = pack(address)
        flags = lib.UV_UDP_IPV6ONLY if ipv6only else 0
        flags |= lib.UV_UDP_REUSEADDR if reuseaddr else 0
        flags |= lib.UV_UDP_LINUX_RECVERR if linux_recverr else 0
        if reuseport:
            needs(1, 49, "bind(reuseport=True)")
            flags |= lib.UV_UDP_REUSEPORT
        check(lib.uv_udp_bind(self._open(), storage, flags), f"bind to {address!r:.100}")

    def connect(self, address: Address) -> None:
        """Send to and receive from `address` only. Raises UVError (EISCONN). Wraps
        uv_udp_connect."""
        storage = pack(address)
        check(lib.uv_udp_connect(self._open(), storage), f"connect to {address!r:.100}")

    def disconnect(self) -> None:
        """Undo connect(). Raises UVError (ENOTCONN). Wraps uv_udp_connect."""
        check(lib.uv_udp_connect(self._open(), ffi.NULL), "disconnect")

    def open(self, sock: Any) -> None:
        """Take over a datagram socket.

        `sock`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on. When this raises, UVError (EEXIST, EBADF, EINVAL when it is no datagram
        socket), it stays the caller's. Wraps uv_udp_open.
        """
        self._take_over(sock, socket.SOCK_DGRAM, "datagram", lib.uv_udp_open)

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
        address are None, and receiving goes on. Raises UVError (EALREADY). Wraps
        uv_udp_recv_start.
        """
        _check.function("callback", callback)
        self._recv_start(callback, False)

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
        self._recv_start(callback, True)

    def _recv_start(self, callback: Callable[..., object], batch: bool) -> None:
        self._open()
        check(lib.uvb_udp_recv_start(self._c, batch), "recv_start")
        self._on_read, self._batching, self._receiving = callback, batch, True
        if FAST:
            FAST["reader"](self._address, self, callback)

    def recv_stop(self) -> None:
        """Stop receiving; a second call does nothing. Wraps uv_udp_recv_stop."""
        check(lib.uv_udp_recv_stop(self._open()), "recv_stop")
        self._receiving = False

    def using_recvmmsg(self) -> bool:
        """Tell whether several datagrams are received with one system call. Wraps
        uv_udp_using_recvmmsg."""
        return bool(lib.uv_udp_using_recvmmsg(self._open()))

    def _received(self, data: Any, nread: int, sender: Any, flags: int) -> None:
        """What C did not hand over itself: an error, or any datagram on PyPy."""
        if nread < 0:
            self._fail(uv_error(nread, "recv"))
            return
        payload, address = ffi.unpack(data, nread), _sender(sender)
        if self._batching:
            self._batch.append((payload, address, flags))
        else:
            assert self._on_read is not None
            self._on_read(self, payload, address, flags, None)

    def _received_batch(self) -> None:
        batch, self._batch = self._batch, []
        assert self._on_read is not None
        self._on_read(self, batch, None)

    def _fail(self, error: UVError) -> None:
        if self._uv is not None and self._on_read is not None:
            if self._batching:
                self._on_read(self, [], error)
            else:
                self._on_read(self, None, None, 0, error)

    # -- sending

    def send(
        self: Self,
        data: Any,
        address: Address | None = None,
        callback: Callable[[Self, UVError | None], object] | None = None,
    ) -> None:
        """Send a datagram, now or as soon as the kernel takes it.

        `data`: a bytes-like object of at most 65,507 bytes (IPv4). `address`: not after
        connect(). `callback(udp, error)` is called when it is sent or has failed. Without one
        an immediate failure raises, and a late one goes to the receive callback, or, when
        there is none, out of Loop.run(). Raises UVError: EMSGSIZE, EDESTADDRREQ, EISCONN,
        ENETUNREACH ... Wraps uv_udp_send.
        """
        if callback is None:
            status = self._send_now(data, address)
            if status == 0:
                return
            if status is not None:
                raise uv_error(status, "send")
        self._send(data, address, callback)

    def try_send(self, data: Any, address: Address | None = None) -> int:
        """Send a datagram if the kernel takes it now: return how many bytes that was.

        Raises UVError like send(), and BlockingIOError (EAGAIN) when the kernel does not take
        it. Wraps uv_udp_try_send.
        """
        udp = self._open()
        buffers, keep = _buffer(_check.buffer("data", data))
        sent = lib.uv_udp_try_send(udp, buffers, 1, _storage(address))
        del keep
        return check(sent, "try_send")

    def try_send_batch(self, datagrams: Iterable[tuple[Any, Address | None]]) -> int:
        """Send (data, address) pairs as long as the kernel takes them: return how many it took.

        The address is None after connect(). To go on, call it again with those that are left.
        The failure of the first of them raises UVError, of a later one ends the call. Wraps
        uv_udp_try_send2.
        """
        sent = self._send_batch(datagrams, 0)
        if sent is None:
            return self._send_each(datagrams, 0)
        if sent < 0 and sent != lib.UV_EAGAIN:
            raise uv_error(sent, "try_send_batch")
        if 0 < sent < len(datagrams):  # type: ignore[arg-type]  # a list, or it were None
            return self._send_each(datagrams, sent)
        return sent if sent > 0 else 0

    def _send_each(self, datagrams: Iterable[Any], done: int) -> int:
        """try_send_batch() where one call of the fast lane does not do, from `done` on."""
        queue = datagrams if type(datagrams) is list else list(datagrams)
        if not queue:
            self._open()
        while done < len(queue):
            try:
                sent = self._send_batch(queue, done)
                if sent is None:
                    sent = self._send_portion(queue[done : done + _PORTION])
            except (TypeError, ValueError):
                if done == 0:
                    raise
                break
            if sent < 0 and sent != lib.UV_EAGAIN and done == 0:
                raise uv_error(sent, "try_send_batch")
            if sent <= 0:
                break
            done += sent
        return done

    def _send_bytes(self, data: object, address: Any) -> int | None:
        """The fast lane of send() where the extension has no builtin for it."""
        if type(data) is not bytes:
            return None
        self._open()
        return int(lib.uvb_udp_send_now(self._c, data, len(data), _storage(address), ffi.NULL))

    def _send(self, data: Any, address: Any, callback: Any) -> None:
        _check.optional_function("callback", callback)
        kept = _check.keepable(_check.buffer("data", data))
        udp, storage = self._open(), _storage(address)
        buffers, keep = _buffer(kept)
        if callback is None:
            sent = lib.uv_udp_try_send(udp, buffers, 1, storage)
            if sent != lib.UV_EAGAIN:
                check(sent, "send")
                return

        request = Request(self._loop, "uv_udp_send_t *", "send", self._then(callback), keep)
        request._submit(lib.uv_udp_send, udp, buffers, 1, storage, _SEND_CB)

    def _send_portion(self, datagrams: list[Any]) -> int:
        """try_send_batch() for whatever the fast lane has left, datagram by datagram checked."""
        uv = self._open()
        if not self._in_use():
            self._bind_for(datagrams[0])
        if lib.uv_udp_get_send_queue_count(uv):
            return 0  # not past what send() has queued
        count = 0
        buffers = ffi.new("uv_buf_t[]", len(datagrams))
        storages = ffi.new("struct sockaddr *[]", len(datagrams))
        keep = []
        for datagram in datagrams:
            try:
                data, address = datagram
                view, storage = _check.buffer("data", data), _storage(address)
            except (TypeError, ValueError):
                if count == 0:
                    raise
                break
            memory = ffi.from_buffer("char[]", view)
            buffers[count].base, buffers[count].len = memory, len(memory)
            storages[count] = storage
            keep.append((memory, storage))
            count += 1
        return int(lib.uvb_udp_send_batch(self._c, count, buffers, storages))

    def _bind_for(self, datagram: Any) -> None:
        """What libuv does before a first send, and forgets before a first batch."""
        address = datagram[1] if isinstance(datagram, tuple) and len(datagram) == 2 else None
        if address is not None:
            ipv6 = len(unpack(pack(address))) == 4
            self.bind(("::", 0) if ipv6 else ("0.0.0.0", 0))

    def _report(self, error: UVError) -> None:
        """A late failure nobody gave a callback for."""
        if error.code == lib.UV_ECANCELED or self._uv is None:
            return  # closed here, so it is known
        if not self._receiving:
            raise error
        self._fail(error)

    # -- options

    def set_membership(
        self,
        group: str,
        interface: str | None = None,
        membership: Membership = Membership.JOIN_GROUP,
    ) -> None:
        """Join or leave a multicast group.

        `group`: its address. `interface`: the address of the interface to use (IPv4), or its
        address or index as "::%eth0" (IPv6); None lets the system choose. Raises UVError
        (EINVAL, EADDRNOTAVAIL, EADDRINUSE when joined already, ENODEV). Wraps
        uv_udp_set_membership.
        """
        names = _text("group", group), _optional_text("interface", interface)
        kind = Membership(membership)
        check(lib.uv_udp_set_membership(self._open(), *names, kind), f"group: {group!r:.100}")

    def set_source_membership(
        self,
        group: str,
        interface: str | None,
        source: str,
        membership: Membership = Membership.JOIN_GROUP,
    ) -> None:
        """Join or leave a multicast group for what `source` sends to it; arguments and errors
        as of set_membership(). Wraps uv_udp_set_source_membership."""
        names = (
            _text("group", group),
            _optional_text("interface", interface),
            _text("source", source),
        )
        kind = Membership(membership)
        error = lib.uv_udp_set_source_membership(self._open(), *names, kind)
        check(error, f"group: {group!r:.100} from {source!r:.100}")

    def set_multicast_loop(self, on: bool) -> None:
        """Let multicast datagrams come back to this host, as they do. Wraps
        uv_udp_set_multicast_loop."""
        back = bool(on)
        check(lib.uv_udp_set_multicast_loop(self._open(), back), "set_multicast_loop")

    def set_multicast_ttl(self, ttl: int) -> None:
        """Let multicast datagrams travel `ttl` hops, 1 to 255. Wraps
        uv_udp_set_multicast_ttl."""
        hops = _check.integer("ttl", ttl, 1, 255)
        check(lib.uv_udp_set_multicast_ttl(self._open(), hops), "set_multicast_ttl")

    def set_multicast_interface(self, interface: str | None) -> None:
        """Send multicast datagrams from this interface, given as for set_membership(). Wraps
        uv_udp_set_multicast_interface."""
        name = _optional_text("interface", interface)
        error = lib.uv_udp_set_multicast_interface(self._open(), name)
        check(error, f"interface: {interface!r:.100}")

    def set_broadcast(self, on: bool) -> None:
        """Allow sending to broadcast addresses. Wraps uv_udp_set_broadcast."""
        allowed = bool(on)
        check(lib.uv_udp_set_broadcast(self._open(), allowed), "set_broadcast")

    def set_ttl(self, ttl: int) -> None:
        """Let datagrams travel `ttl` hops, 1 to 255. Wraps uv_udp_set_ttl."""
        hops = _check.integer("ttl", ttl, 1, 255)
        check(lib.uv_udp_set_ttl(self._open(), hops), "set_ttl")

    @property
    def send_queue_size(self) -> int:
        """How many bytes wait to be sent. Wraps uv_udp_get_send_queue_size."""
        return int(lib.uv_udp_get_send_queue_size(self._open()))

    @property
    def send_queue_count(self) -> int:
        """How many datagrams wait to be sent. Wraps uv_udp_get_send_queue_count."""
        return int(lib.uv_udp_get_send_queue_count(self._open()))

    # -- for the other modules

    def _begin_close(self) -> None:
        self._send_now = self._send_batch = _not_now
        self._receiving = False
        super()._begin_close()

    def _end_close(self) -> None:
        super()._end_close()
        self._on_read = self._uv_stream = None


def _not_now(first: object, second: object) -> int | None:
    """The fast lanes of a closed handle: leave it to the others."""
    return None


def _storage(address: Any) -> Any:
    return ffi.NULL if address is None else pack(address)


def _raw(address: Any) -> bytes:
    """What C keeps of an address: its `struct sockaddr` as bytes."""
    return bytes(ffi.buffer(pack(address)))


def _buffer(view: memoryview | bytes) -> tuple[Any, Any]:
    """Return a uv_buf_t over it, and what has to live as long."""
    memory = ffi.from_buffer("char[]", view)
    buffers = ffi.new("uv_buf_t[1]")
    buffers[0].base, buffers[0].len = memory, len(memory)
    return buffers, memory


def _text(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected an address as a str, not {type(value).__name__}")
    raw = value.encode("ascii", "replace")
    if b"\0" in raw:
        raise ValueError(f"{name}: {value!r:.100} is not an address")
    return raw


def _optional_text(name: str, value: Any) -> Any:
    return ffi.NULL if value is None else _text(name, value)


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
