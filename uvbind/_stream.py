"""Streams: what TCP connections and pipes share. Facts from libuv's manual, page "uv_stream_t"."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import Any, TypeVar, cast

from uvbind import _check
from uvbind._callbacks import FAST, call, crossing
from uvbind._errors import UVError, check, uv_error
from uvbind._handle import SocketBuffers
from uvbind._request import Request
from uvbind._uvbind import ffi, lib
from uvbind._writing import Writing

Self = TypeVar("Self", bound="Stream")


class Connect(Request):
    """A connect under way."""

    stream: Any = None

    def _complete(self, status: int) -> None:
        self.stream._end_connect(status == 0)
        super()._complete(status)


class Stream(Writing):
    """The base of TCP and Pipe. Wraps uv_stream_t."""

    _listening = False
    _connected = False
    _reading = False
    _accepted = False  # since the listen callback was called last
    _on_connection: Callable[..., object] | None = None
    _on_read: Callable[..., object] | None = None
    _counts = False  # reads land in the caller's buffer, and callbacks get their sizes

    # -- servers

    def listen(
        self: Self,
        callback: Callable[[Self, UVError | None], object],
        backlog: int = 511,
    ) -> None:
        """Call `callback(server, error)` for every connection, which accept() then takes.

        A connection that the callback does not accept waits for a later accept(); when the
        callback raises before accept(), it is closed. `backlog`: how many connections may wait
        in the kernel, and how many for accept(). An `error` EMFILE says that the process is out
        of descriptors: connections were dropped; the server goes on.
        Raises UVError: EADDRINUSE, EINVAL when connected. Wraps uv_listen.
        """
        _check.function("callback", callback)
        backlog = _check.integer("backlog", backlog, 0, 2**31 - 1)
        self._open()
        if self._listening:
            raise uv_error(lib.UV_EALREADY, "listen: this handle is listening already")
        check(lib.uvb_loop_watch_exhaustion(self._loop._c), "listen")
        # First: libuv is not to call back without one, and a signal handler may raise after it.
        self._on_connection, self._listening = callback, True
        error = lib.uvb_listen(self._c, backlog)
        if error < 0:
            self._listening = False
            raise uv_error(error, "listen")

    def accept(self, client: Stream | None = None) -> Any:
        """Take the connection that has waited longest and return its handle, in the listen callback
        or later.

        `client`: the new handle to use; without it, one of the server's kind is made. Raises
        UVError (EAGAIN) when no connection waits, ValueError for a handle that is in use or
        of another loop. Wraps uv_accept.
        """
        self._open()
        made = client is None
        if client is None:
            client = cast("Stream", self._new_client())
        else:
            _check.instance("client", client, Stream)
            client._open()
            if client._loop is not self._loop:
                raise ValueError("client: the handle is of another loop than the server")
            if client._in_use():
                raise ValueError("client: the handle is in use; accept() needs a new one")
        error = lib.uvb_handle_accept(self._c, client._c)
        if error < 0:
            if made:
                client.close()
            raise uv_error(error, "accept: no connection is waiting")
        self._accepted = True
        client._apply_options()
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
        self._read_start(callback, view)

    def _read_start(
        self,
        callback: Callable[..., object],
        into: memoryview | None,
        transport: tuple[Any, ...] | None = None,
        asks: bool = False,
    ) -> None:
        """Begin to read. `asks`: into what _lend() lends for every read.

        `transport`: what CPython's C calls instead of `callback`, which then is for errors:
        a context's run, a protocol, and what takes the exceptions that it raises.
        """
        self._open()
        if self._listening:
            raise uv_error(
                lib.UV_ENOTCONN, "read_start: this handle listens; read from what accept() returns"
            )
        if self._connecting or self._failed_to_connect:  # libuv would read the end of the stream
            raise uv_error(lib.UV_ENOTCONN, "read_start")
        call = (callback, None, None) if transport is None else transport
        # All in place before libuv reads: a signal handler may raise after that.
        before = self._on_read, self._counts, self._reading
        self._on_read, self._counts, self._reading = callback, into is not None, True
        error = self._core.read_start(asks, into, *call)
        if error < 0:
            self._on_read, self._counts, self._reading = before
            raise uv_error(error, "read_start")

    def read_stop(self) -> None:
        """Stop reading: no callback comes any more. A second call does nothing. Wraps
        uv_read_stop."""
        self._open()
        check(self._core.read_stop(), "read_stop")
        self._reading = False

    def _lend(self) -> None:
        """Have the next read land in a buffer, by the core's lend(); called when `asks` is set."""
        raise NotImplementedError

    def _read(self, data: Any, nread: int) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Return what to call for a read that C did not hand over itself: an error, or any read
        on PyPy. An error comes again when an exception has cut this off."""
        callback = self._on_read
        assert callback is not None
        landed = not FAST and self._core.landed()
        if nread > 0:
            return callback, (self, nread if landed else ffi.unpack(data, nread), None)
        if nread < 0:
            return self._read_failed(uv_error(nread, "read"))
        return _nothing, ()

    def _read_failed(self, error: UVError) -> tuple[Callable[..., object], tuple[Any, ...]]:
        callback = self._on_read
        assert callback is not None
        self._core.read_stop()  # as libuv has
        self._reading = False
        return callback, (self, 0 if self._counts else None, error)

    def _report(self, error: UVError) -> None:
        """A failure nobody gave a callback for: tell whoever reads, or else Loop.run()."""
        if error.code == lib.UV_ECANCELED or self._uv is None:
            return  # closed here, so it is known
        if not self._reading:
            raise error
        callback, arguments = self._read_failed(error)
        callback(*arguments)

    # -- state

    def is_readable(self) -> bool:
        """Tell whether the stream can be read: it is connected and not at its end.

        Wraps uv_is_readable.
        """
        if self._uv is None or self._connecting or self._failed_to_connect:
            return False
        return bool(lib.uv_is_readable(self._open_stream()))

    # -- for the other modules

    def _open_as(self, name: str, file: Any, libuv_open: Callable[[Any, int], int]) -> None:
        self._take_over(name, file, socket.SOCK_STREAM, libuv_open)
        # libuv takes a socket for connected that is not, or listens.
        if lib.uvb_socket_is_unconnected(self._known_fd):
            self._failed_to_connect = True
            self._use_fast_lane(False)
        self._apply_options()

    def _connect(
        self: Self,
        callback: Callable[[Self, UVError | None], object],
        submit: Callable[..., int],
        *arguments: Any,
    ) -> Request:
        if self._connected or self._listening:  # libuv finds out too late
            raise uv_error(lib.UV_EISCONN, "connect")
        then = functools.partial(callback, self)
        request = Connect(self._loop, "uv_connect_t *", "connect", then)
        request.stream = self
        before = self._connecting, self._failed_to_connect
        self._connecting, self._failed_to_connect = True, False  # before libuv calls back
        try:
            return request._submit(submit, self._uv, *arguments)
        except UVError:
            self._connecting, self._failed_to_connect = before
            raise

    def _end_connect(self, succeeded: bool) -> None:
        self._connecting = False
        self._connected = succeeded
        self._failed_to_connect = not succeeded
        self._use_fast_lane(succeeded and self._uv is not None)

    def _new_client(self) -> SocketBuffers:
        raise NotImplementedError

    def _state(self) -> str:
        if self._listening:
            return "listening"
        if self._connecting:
            return "connecting"
        if self._failed_to_connect:
            return "not connected"
        return "connected" if lib.uv_is_writable(self._uv_stream) else "not connected"

    def _begin_close(self) -> None:
        self._reading = False
        super()._begin_close()
        # A transport's protocol is to be free now, and not in the close callback.
        self._core.forget_calls()
        self._on_read = None

    def _connection_came(self, status: int) -> None:
        assert self._on_connection is not None
        self._accepted = False
        self._on_connection(self, None if status == 0 else uv_error(status, "accept"))
        if not self._accepted and self._uv is not None:
            lib.uvb_connection_waits(self._c)

    def _exhausted(self) -> None:
        if self._listening and self._uv is not None and self._on_connection is not None:
            error = uv_error(lib.UV_EMFILE, "accept: connections were dropped")
            call(self._on_connection, self, error)

    def _forget(self) -> None:
        super()._forget()
        self._on_connection = self._on_read = None


def _nothing() -> None:
    pass


@crossing
def uvb_on_connection(pointer: Any, status: int) -> None:
    server = ffi.from_handle(pointer)
    server._connection_came(status)


@crossing
def uvb_on_alloc(pointer: Any) -> None:
    stream = ffi.from_handle(pointer)
    stream._lend()


@crossing
def uvb_on_read(pointer: Any, data: Any, nread: int) -> None:
    stream = ffi.from_handle(pointer)
    call, arguments = stream._read(data, nread)
    call(*arguments)


@crossing
def uvb_on_write_failed(pointer: Any, status: int) -> None:
    stream = ffi.from_handle(pointer)
    stream._report(uv_error(status, "write"))
