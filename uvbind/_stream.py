"""Streams: what TCP connections and pipes share. Facts from libuv's manual, page "uv_stream_t"."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Optional, TypeVar

from uvbind import _check
from uvbind._callbacks import FAST, call, crossing
from uvbind._errors import UVError, check, uv_error
from uvbind._handle import Handle, SocketBuffers
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="Stream")
# What a stream calls back when an operation is done.
Done = Optional[Callable[[Self, Optional[UVError]], object]]

_ALLOC_CB = ffi.addressof(lib, "uvb_alloc_cb")
_READ_CB = ffi.addressof(lib, "uvb_read_cb")
_WRITE_CB = ffi.addressof(lib, "uvb_write_cb")
_SHUTDOWN_CB = ffi.addressof(lib, "uvb_shutdown_cb")
_CONNECTION_CB = ffi.addressof(lib, "uvb_connection_cb")


def _not_now(data: object) -> bool:
    """The fast lane of write() on a closed stream: leaves it to the other."""
    return False


class Stream(SocketBuffers):
    """The base of TCP and Pipe. Wraps uv_stream_t."""

    _uv_stream: Any = None
    _listening = False
    _connecting = False
    _connected = False
    _reading = False
    _shut = False
    _on_connection: Callable[..., object] | None = None
    _on_read: Callable[..., object] | None = None
    _into: Any = None  # the caller's buffer that reads land in, while read_start_into lasts

    def __init__(self, loop: Loop, ctype: str, init: Callable[..., int], *arguments: Any) -> None:
        super().__init__(loop, ctype, init, *arguments)
        address = lib.uvb_handle_uv(self._c)
        self._uv_stream = ffi.cast("uv_stream_t *", address)
        self._address = int(ffi.cast("uintptr_t", self._c))
        self._write_now = FAST["writer"](self._address) if FAST else self._write_bytes

    # -- servers

    def listen(
        self: Self,
        callback: Callable[[Self, UVError | None], object],
        backlog: int = 511,
    ) -> None:
        """Call `callback(server, error)` for every connection, which accept() then takes.

        `backlog`: how many connections may wait in the kernel. An `error` EMFILE says that
        the process is out of descriptors: connections were dropped; the server goes on.
        Raises UVError: EADDRINUSE, EINVAL when connected. Wraps uv_listen.
        """
        _check.function("callback", callback)
        backlog = _check.integer("backlog", backlog, 0, 2**31 - 1)
        stream = self._open_stream()
        if self._listening:
            raise uv_error(lib.UV_EALREADY, "listen: this handle is listening already")
        check(lib.uvb_loop_watch_exhaustion(self._loop._c), "listen")
        check(lib.uv_listen(stream, backlog, _CONNECTION_CB), "listen")
        self._on_connection = callback
        self._listening = True

    def accept(self, client: Stream | None = None) -> Any:
        """Take a connection and return its handle, to be called in the listen callback.

        `client`: the new handle to use; without it, one of the server's kind is made. Raises
        UVError (EAGAIN) when no connection waits, ValueError for a handle that is in use or
        of another loop. Wraps uv_accept.
        """
        stream = self._open_stream()
        made = client is None
        if client is None:
            client = self._new_client()
        else:
            _check.instance("client", client, Stream)
            client._open()
            if client._loop is not self._loop:
                raise ValueError("client: the handle is of another loop than the server")
            if client._in_use():
                raise ValueError("client: the handle is in use; accept() needs a new one")
        error = lib.uv_accept(stream, client._uv_stream)
        if error < 0:
            if made:
                client.close()
            raise uv_error(error, "accept: no connection is waiting")
        return client

    # -- reading

    def read_start(
        self: Self, callback: Callable[[Self, bytes | None, UVError | None], object]
    ) -> None:
        """Call `callback(stream, data, error)` with what arrives, as bytes of up to 256 KiB.

        At the end of the stream `data` is None and `error.name` "EOF", after a failure `data`
        is None and `error` says which; nothing more is read then. Raises UVError: ENOTCONN
        when not connected or listening, EALREADY when reading. Wraps uv_read_start.
        """
        _check.function("callback", callback)
        self._read_start(callback, None)

    def read_start_into(
        self: Self,
        buffer: Any,
        callback: Callable[[Self, int, UVError | None], object],
    ) -> None:
        """Read into `buffer`, a writable bytes-like object, without a copy.

        `callback(stream, nbytes, error)` finds `nbytes` new bytes at the buffer's beginning
        and is done with them when it returns. After an error, EOF included, `nbytes` is 0.
        The buffer cannot be resized until read_stop(). Raises as read_start does. Wraps
        uv_read_start.
        """
        _check.function("callback", callback)
        view = _check.buffer("buffer", buffer, writable=True)
        if view.nbytes == 0:
            raise ValueError("buffer: expected room for at least one byte")
        self._read_start(callback, ffi.from_buffer("char[]", view, require_writable=True))

    def _read_start(self, callback: Callable[..., object], into: Any) -> None:
        stream = self._open_stream()
        if self._listening:
            raise uv_error(
                lib.UV_ENOTCONN, "read_start: this handle listens; read from what accept() returns"
            )
        check(lib.uv_read_start(stream, _ALLOC_CB, _READ_CB), "read_start")
        self._reading = True
        self._into = into
        if into is None:
            lib.uvb_handle_read_into(self._c, ffi.NULL, 0)
        else:
            lib.uvb_handle_read_into(self._c, into, len(into))
        self._on_read = callback
        if FAST:
            FAST["reader"](self._address, self, callback)

    def read_stop(self) -> None:
        """Stop reading: no callback comes any more. A second call does nothing. Wraps
        uv_read_stop."""
        check(lib.uv_read_stop(self._open_stream()), "read_stop")
        self._end_reading()

    def _end_reading(self) -> None:
        self._reading = False
        self._into = None

    def _read(self, data: Any, nread: int) -> None:
        """A read that C did not hand over itself: an error, or any read on PyPy."""
        callback = self._on_read
        assert callback is not None
        if nread >= 0:
            callback(self, nread if self._into is not None else ffi.unpack(data, nread), None)
        else:
            self._read_failed(uv_error(nread, "read"))

    def _read_failed(self, error: UVError) -> None:
        callback, nothing = self._on_read, None if self._into is None else 0
        assert callback is not None
        self._end_reading()  # libuv has stopped
        callback(self, nothing, error)

    # -- writing

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

        `send_handle`: a TCP, UDP or Pipe handle of the same loop. It stays open here; close it
        when it is sent. Raises ValueError for empty data, UVError (EINVAL) when this is not an
        IPC pipe. Wraps uv_write2.
        """
        self._check_send_handle(data, send_handle)
        self._write((data,), callback, send_handle)

    def try_write2(self, data: Any, send_handle: Handle) -> int:
        """As write2(), for what can be sent at once: return how many bytes, 0 if none and the
        handle was not passed either. Wraps uv_try_write2."""
        view = self._check_send_handle(data, send_handle)
        return self._try_write(self._open_to_write(), (view,), send_handle)

    def _check_send_handle(self, data: Any, send_handle: Any) -> memoryview:
        _check.instance("send_handle", send_handle, Handle)
        if send_handle._loop is not self._loop:
            raise ValueError("send_handle: the handle is of another loop")
        send_handle.fileno()  # raises when it is closed or there is nothing to pass yet
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
        # What is kept must not change under libuv: bytes cannot, the rest is copied.
        kept = tuple(view if type(view.obj) is bytes else memoryview(bytes(view)) for view in views)
        buffers, keep = _buffers(kept)

        def finish(error: UVError | None) -> None:
            if callback is not None:
                callback(self, error)
            elif error is not None:
                self._report(error)

        passed = ffi.NULL
        if send_handle is not None:
            passed = ffi.cast("uv_stream_t *", send_handle._uv_handle)
        request = Request(self._loop, "uv_write_t *", "write", finish, (keep, send_handle))
        request._submit(lib.uv_write2, stream, buffers, len(kept), passed, _WRITE_CB)

    def _report(self, error: UVError) -> None:
        """A failure nobody gave a callback for: tell whoever reads, or else Loop.run()."""
        if error.code == lib.UV_ECANCELED or self._uv is None:
            return  # closed here, so it is known
        if not self._reading:
            raise error
        lib.uv_read_stop(self._uv_stream)
        self._read_failed(error)

    def shutdown(self: Self, callback: Done[Self] = None) -> Request:
        """Send the end of the stream after all that is written; reading goes on.

        `callback(stream, error)` is called when it is sent; without one a failure goes where
        those of write() go. Raises UVError (ENOTCONN) when not connected or shut down. Wraps
        uv_shutdown.
        """
        _check.optional_function("callback", callback)
        stream = self._open_stream()
        if self._connecting:
            raise uv_error(lib.UV_ENOTCONN, "shutdown: not connected yet")

        def finish(error: UVError | None) -> None:
            if callback is not None:
                callback(self, error)
            elif error is not None:
                self._report(error)

        request = Request(self._loop, "uv_shutdown_t *", "shutdown", finish)
        request._submit(lib.uv_shutdown, stream, _SHUTDOWN_CB)
        self._shut = True
        return request

    # -- state

    def is_readable(self) -> bool:
        """Tell whether the stream can be read: it is connected and not at its end.

        Wraps uv_is_readable.
        """
        return self._uv is not None and bool(lib.uv_is_readable(self._open_stream()))

    def is_writable(self) -> bool:
        """Tell whether the stream can be written to. Wraps uv_is_writable."""
        return self._uv is not None and bool(lib.uv_is_writable(self._open_stream()))

    @property
    def write_queue_size(self) -> int:
        """How many bytes wait to be sent. Wraps uv_stream_get_write_queue_size."""
        return int(lib.uv_stream_get_write_queue_size(self._open_stream()))

    def set_blocking(self, blocking: bool) -> None:
        """Let writes block the whole loop until they are done. Wraps uv_stream_set_blocking."""
        check(lib.uv_stream_set_blocking(self._open_stream(), bool(blocking)), "set_blocking")

    # -- for the other modules

    def _connect(
        self: Self,
        callback: Callable[[Self, UVError | None], object],
        submit: Callable[..., int],
        *arguments: Any,
    ) -> Request:
        def finish(error: UVError | None) -> None:
            self._connecting = False
            self._connected = error is None
            callback(self, error)

        if self._connected:  # Linux says so only at the second try
            raise uv_error(lib.UV_EISCONN, "connect")
        request = Request(self._loop, "uv_connect_t *", "connect", finish)
        request._submit(submit, self._uv, *arguments)
        self._connecting = True
        return request

    def _new_client(self) -> Stream:
        raise NotImplementedError

    def _in_use(self) -> bool:
        fd = ffi.new("uv_os_fd_t *")
        return bool(lib.uv_fileno(self._uv_handle, fd) == 0)

    def _open_stream(self) -> Any:
        self._open()
        return self._uv_stream

    def _open_to_write(self) -> Any:
        stream = self._open_stream()
        if not lib.uv_is_writable(stream):
            if self._shut:
                raise uv_error(lib.UV_EPIPE, "write: not after shutdown()")
            raise uv_error(lib.UV_ENOTCONN, "write: this handle is not connected")
        return stream

    def _state(self) -> str:
        if self._listening:
            return "listening"
        if self._connecting:
            return "connecting"
        return "connected" if lib.uv_is_writable(self._uv_stream) else "not connected"

    def _begin_close(self) -> None:
        self._write_now = _not_now
        self._reading = False
        super()._begin_close()

    def _exhausted(self) -> None:
        if self._listening and self._uv is not None and self._on_connection is not None:
            error = uv_error(lib.UV_EMFILE, "accept: connections were dropped")
            call(self._on_connection, self, error)

    def _end_close(self) -> None:
        super()._end_close()
        self._on_connection = self._on_read = self._into = self._uv_stream = None


def _buffers(views: tuple[memoryview, ...]) -> tuple[Any, Any]:
    """Return an array of uv_buf_t over the views, and what has to live as long."""
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


@crossing
def uvb_on_connection(pointer: Any, status: int) -> None:
    server = ffi.from_handle(pointer)
    server._on_connection(server, None if status == 0 else uv_error(status, "accept"))


@crossing
def uvb_on_read(pointer: Any, data: Any, nread: int) -> None:
    ffi.from_handle(pointer)._read(data, nread)


@crossing
def uvb_on_write_failed(pointer: Any, status: int) -> None:
    stream = ffi.from_handle(pointer)
    stream._report(uv_error(status, "write"))
