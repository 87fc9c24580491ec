"""The writing half of streams. Facts from libuv's manual, page "uv_stream_t"."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._callbacks import FAST
from uvbind._errors import UVError, check, uv_error
from uvbind._handle import Handle, SocketBuffers
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="Writing")
# What a stream calls back when an operation is done.
Done = Callable[[Self, UVError | None], object] | None

_WRITE_CB = ffi.addressof(lib, "uvb_write_cb")
_SHUTDOWN_CB = ffi.addressof(lib, "uvb_shutdown_cb")


def _not_now(data: object) -> bool:
    """The fast lane of write() where there is none: leaves it to the other."""
    return False


class Writing(SocketBuffers):
    """What Stream inherits to write with."""

    _ipc = False
    _connecting = False
    _failed_to_connect = False
    _shut = False

    def __init__(self, loop: Loop, ctype: str, kind: int, argument: int = 0) -> None:
        super().__init__(loop, ctype, kind, argument)
        self._use_fast_lane(True)

    def _use_fast_lane(self, use: bool) -> None:
        """Let write() try C first, or have everything go through the checks in Python."""
        self._write_now: Callable[[object], bool] = _not_now
        if use:
            self._write_now = self._core.write_now if FAST else self._write_bytes

    def write(self: Self, data: Any, callback: Done[Self] = None) -> None:
        """Write all of `data`, a bytes-like object, now or as soon as the peer takes it.

        What cannot be sent at once is kept (bytes as they are, anything else as a copy).
        `callback(stream, error)` is called when all is sent or has failed. Without one a late
        failure goes to the read callback, or, when the stream is not reading, out of
        Loop.run(). Raises UVError: ENOTCONN, EPIPE after shutdown(). Wraps uv_write.
        """
        if callback is None and self._write_now(data):
            return
        self._write((data,), callback)

    def _write_bytes(self, data: object) -> bool:
        """The fast lane of write() where the extension has no builtin for it."""
        if type(data) is not bytes:
            return False
        self._open()
        written = lib.uvb_write_now(self._c, data, len(data), ffi.NULL)
        if written < 0:
            raise MemoryError
        return bool(written)

    def writelines(self: Self, data: Iterable[Any], callback: Done[Self] = None) -> None:
        """Write several bytes-like objects with one system call; the rest as write().

        Wraps uv_write.
        """
        if isinstance(data, (str, bytes, bytearray, memoryview)):
            raise TypeError("data: expected an iterable of bytes-like objects; use write() for one")
        pieces = tuple(data)
        if pieces or callback is not None:
            self._write(pieces or (b"",), callback)

    def try_write(self, data: Any) -> int:
        """Write what can be sent at once and return how many bytes that was, 0 if none.

        Raises UVError like write(), and at once when the connection has failed. Wraps
        uv_try_write.
        """
        view = _check.buffer("data", data)
        return self._try_write(self._open_to_write(), (view,))

    def write2(self: Self, data: Any, send_handle: Handle, callback: Done[Self] = None) -> None:
        """Write `data` and pass a handle to the process at the other end of an IPC pipe.

        `send_handle`: a TCP, UDP or Pipe handle of the same loop. It stays open here and may be
        closed at once; its close callback comes when it has been passed. Raises ValueError for
        empty data, UVError (EINVAL) when this is not an IPC pipe. Wraps uv_write2.
        """
        self._check_send_handle(data, send_handle)
        self._write((data,), callback, send_handle)

    def try_write2(self, data: Any, send_handle: Handle) -> int:
        """As write2(), for what can be sent at once: return how many bytes, 0 if none and the
        handle was not passed either. Wraps uv_try_write2."""
        view = self._check_send_handle(data, send_handle)
        return self._try_write(self._open_to_write(), (view,), send_handle)

    def _check_send_handle(self, data: Any, send_handle: Any) -> memoryview:
        if not isinstance(send_handle, SocketBuffers):
            kind = type(send_handle).__name__
            raise TypeError(f"send_handle: expected a uvbind.TCP, UDP or Pipe, not {kind}")
        if send_handle._loop is not self._loop:
            raise ValueError("send_handle: the handle is of another loop")
        send_handle.fileno()  # raises when it is closed or there is nothing to pass yet
        self._open_to_write()
        if not self._ipc:  # which uv_try_write2 does not ask
            raise uv_error(lib.UV_EINVAL, "write: only a Pipe(loop, ipc=True) can pass a handle")
        if lib.uv_guess_handle(self.fileno()) != lib.UV_NAMED_PIPE:
            # The kernel sends the data, and drops the handle without an error.
            what = "write: a handle can only be passed over a unix socket"
            raise uv_error(lib.UV_EINVAL, what)
        view = _check.buffer("data", data)
        if view.nbytes == 0:
            raise ValueError("data: a handle travels with at least one byte of data")
        return view

    def _try_write(
        self, stream: Any, views: tuple[memoryview, ...], send_handle: Handle | None = None
    ) -> int:
        buffers, keep = _buffers(views)
        if send_handle is None:
            sent = lib.uv_try_write(stream, buffers, len(views))
        else:
            passed = ffi.cast("uv_stream_t *", send_handle._uv_handle)
            sent = lib.uv_try_write2(stream, buffers, len(views), passed)
        del keep
        return 0 if sent == lib.UV_EAGAIN else check(sent, "try_write")

    def _write(
        self, data: tuple[Any, ...], callback: Any, send_handle: Handle | None = None
    ) -> None:
        _check.optional_function("callback", callback)
        views = tuple(_check.buffer("data", piece) for piece in data)
        stream = self._open_to_write()
        if callback is None and send_handle is None:
            with contextlib.suppress(UVError):  # uv_write meets it again, and reports it later
                views = _after(views, self._try_write(stream, views))
            if not views:
                return
        pieces = tuple(_check.keepable(view) for view in views)
        buffers, keep = _buffers(pieces)

        request = Request(self._loop, "uv_write_t *", "write", self._then(callback), keep)
        if send_handle is None:
            request._submit(lib.uv_write, stream, buffers, len(pieces), _WRITE_CB)
        else:
            request._submit(lib.uvb_write2, stream, buffers, len(pieces), send_handle._c)

    def shutdown(self: Self, callback: Done[Self] = None) -> Request:
        """Send the end of the stream after all that is written; reading goes on.

        `callback(stream, error)` is called when it is sent; without one a failure goes where
        those of write() go. Raises UVError (ENOTCONN) when not connected or shut down. Wraps
        uv_shutdown.
        """
        _check.optional_function("callback", callback)
        stream = self._open_stream()
        if self._connecting or self._failed_to_connect:
            raise uv_error(lib.UV_ENOTCONN, "shutdown: not connected")

        request = Request(self._loop, "uv_shutdown_t *", "shutdown", self._then(callback))
        request._submit(lib.uv_shutdown, stream, _SHUTDOWN_CB)
        self._shut = True
        return request

    def is_writable(self) -> bool:
        """Tell whether the stream can be written to. Wraps uv_is_writable."""
        if self._uv is None or self._connecting or self._failed_to_connect:
            return False
        return bool(lib.uv_is_writable(self._open_stream()))

    @property
    def write_queue_size(self) -> int:
        """How many bytes wait to be sent. Wraps uv_stream_get_write_queue_size."""
        return int(lib.uv_stream_get_write_queue_size(self._open_stream()))

    def set_blocking(self, blocking: bool) -> None:
        """Let writes block the whole loop until they are done. Wraps uv_stream_set_blocking."""
        block = bool(blocking)
        check(lib.uv_stream_set_blocking(self._open_stream(), block), "set_blocking")

    # -- for the other modules

    def _open_stream(self) -> Any:
        self._open()
        return self._uv_stream

    def _open_to_write(self) -> Any:
        stream = self._open_stream()
        if self._failed_to_connect or not lib.uv_is_writable(stream):
            if self._shut:
                raise uv_error(lib.UV_EPIPE, "write: not after shutdown()")
            raise uv_error(lib.UV_ENOTCONN, "write: this handle is not connected")
        return stream

    def _begin_close(self) -> None:
        self._use_fast_lane(False)
        super()._begin_close()


def _buffers(views: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return an array of uv_buf_t over bytes-like objects, and what has to live as long."""
    buffers = ffi.new("uv_buf_t[]", len(views))
    keep = [ffi.from_buffer("char[]", view) for view in views]
    for buffer, memory in zip(buffers, keep):
        buffer.base = memory
        buffer.len = len(memory)
    return buffers, keep


def _after(views: tuple[memoryview, ...], sent: int) -> tuple[memoryview, ...]:
    """Return what is left of the views after `sent` bytes."""
    rest = []
    for view in views:
        if sent < view.nbytes:
            rest.append(view.cast("B")[sent:] if sent else view)
        sent = max(0, sent - view.nbytes)
    return tuple(rest)
