"""The sending half of UDP. Facts from libuv's manual, page "uv_udp_t"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import Address, pack, unpack
from uvbind._callbacks import FAST
from uvbind._errors import UVError, check, uv_error
from uvbind._handle import SocketBuffers
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="UDPSending")

_PORTION = 20  # how many datagrams libuv hands to the kernel at once
_SEND_CB = ffi.addressof(lib, "uvb_udp_send_cb")


class UDPSending(SocketBuffers):
    """What UDP inherits to send with."""

    def __init__(self, loop: Loop, ctype: str, kind: int, argument: int = 0) -> None:
        super().__init__(loop, ctype, kind, argument)
        self._send_now: Callable[..., int | None] = self._send_bytes
        self._try_send: Callable[..., int | None] = _not_now
        self._send_batch: Callable[..., int | None] = _not_now
        if FAST:
            self._send_now, self._try_send, self._send_batch = self._core.senders(_raw)

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
        sent = self._try_send(data, address)
        if sent is None:
            buffers, keep = _buffer(_check.buffer("data", data))
            storage = _storage(address)  # may run any code, that closes the handle too
            sent = int(lib.uv_udp_try_send(self._open(), buffers, 1, storage))
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

    @property
    def send_queue_size(self) -> int:
        """How many bytes wait to be sent. Wraps uv_udp_get_send_queue_size."""
        return int(lib.uv_udp_get_send_queue_size(self._open()))

    @property
    def send_queue_count(self) -> int:
        """How many datagrams wait to be sent. Wraps uv_udp_get_send_queue_count."""
        return int(lib.uv_udp_get_send_queue_count(self._open()))

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
        storage = _storage(address)
        self._open()
        return int(lib.uvb_udp_send_now(self._c, data, len(data), storage, ffi.NULL))

    def _send(self, data: Any, address: Any, callback: Any) -> None:
        _check.optional_function("callback", callback)
        kept = _check.keepable(_check.buffer("data", data))
        storage = _storage(address)
        udp = self._open()
        buffers, keep = _buffer(kept)
        if callback is None:
            sent = lib.uv_udp_try_send(udp, buffers, 1, storage)
            if sent != lib.UV_EAGAIN:
                check(sent, "send")
                return

        request = Request(self._loop, "uv_udp_send_t *", "send", self._then(callback), keep)
        request._submit(lib.uvb_udp_send, udp, buffers, 1, storage, _SEND_CB)

    def _send_portion(self, datagrams: list[Any]) -> int:
        """try_send_batch() for whatever the fast lane has left, datagram by datagram checked."""
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
        uv = self._open()
        if not self._in_use() and storages[0] != ffi.NULL:
            self._bind_for(storages[0])
        if lib.uv_udp_get_send_queue_count(uv):
            return 0  # not past what send() has queued
        return int(lib.uvb_udp_send_batch(self._c, count, buffers, storages))

    def _bind_for(self, storage: Any) -> None:
        """libuv does this before a first send, and forgets it before a first batch."""
        address = ("::", 0) if len(unpack(storage)) == 4 else ("0.0.0.0", 0)
        check(lib.uvb_udp_bind(self._c, pack(address), 0), f"bind to {address}")

    # -- for the other modules

    def _begin_close(self) -> None:
        self._send_now = self._try_send = self._send_batch = _not_now
        super()._begin_close()


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
