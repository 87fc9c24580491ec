"""Handles: what every one of them has. Facts from libuv's manual, page "uv_handle_t".

An open handle belongs to its loop, which keeps it, until the close callback has run. Nothing
is closed by garbage collection.
"""

from __future__ import annotations

import functools
import socket
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from uvbind import _check
from uvbind._callbacks import call_next, crossing
from uvbind._core import half, pinned
from uvbind._errors import UVError, check, uv_error
from uvbind._loop import Loop
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="Handle")

_KINDS: dict[int, str] = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram"}
# The handles whose descriptors others may know the numbers of, by number, until the next of it.
_owners: dict[int, weakref.ref[Handle]] = {}


class Handle:
    """The base of all handles. Wraps uv_handle_t."""

    # Views of the same libuv struct, each the type that a group of libuv's functions takes.
    # `_uv` is None from the moment of close() on, so nothing can reach a closing handle.
    _uv: Any = None
    _uv_handle: Any = None
    _core: Any = None  # which keeps all that C needs, and the memory behind the views
    _c: Any = None  # and None when the close callback has run
    _callback: Any = None  # of those that have one
    _known_fd = -1  # its descriptor, once somebody may know the number

    def __init__(self, loop: Loop, ctype: str, kind: int, argument: int = 0) -> None:
        """`kind`, `argument`: which of libuv's handles it is, and what its init function takes."""
        _check.instance("loop", loop, Loop)
        if self._core is not None:
            raise RuntimeError(f"this {type(self).__name__} has been made already")
        loop._use()
        self._loop = loop
        self._close_callbacks: deque[Callable[..., object]] = deque()
        self._core = pinned(loop._core.handle, self)
        self._c = half(self._core, "uvb_handle *")
        self._make_views(ctype, lib.uvb_handle_uv(self._c))
        # Before init: Ctrl-C may come between any two steps, and libuv's must be ours to close.
        loop._handles[id(self)] = self
        error = self._core.init(kind, argument)
        if error < 0:
            self._uv = None
            self._end_close()
            raise uv_error(error, type(self).__name__)

    @property
    def loop(self) -> Loop:
        """The loop that the handle belongs to. Wraps uv_handle_get_loop."""
        return self._loop

    def close(self: Self, callback: Callable[[Self], object] | None = None) -> None:
        """Close the handle; `callback(handle)` is called when that is done.

        Legal everywhere, also in the handle's own callbacks; a second call does nothing but
        add its callback. Pending requests are called back with ECANCELED first. Raises
        ValueError for a callback when the handle has been closed already. Wraps uv_close.
        """
        _check.optional_function("callback", callback)
        if self._c is None:
            if callback is not None:
                raise ValueError(f"callback: this {type(self).__name__} has been closed already")
            return
        self._loop._use()
        if callback is not None:
            self._close_callbacks.append(callback)
        self._loop._closing[id(self)] = self  # first: a signal handler may cut off all that follows
        self._go_on_closing()

    def is_active(self) -> bool:
        """Tell whether the handle is doing something: a timer runs, a stream reads, writes,
        connects or listens. Wraps uv_is_active."""
        return self._uv is not None and bool(lib.uv_is_active(self._open_handle()))

    def is_closing(self) -> bool:
        """Tell whether the handle is closing or closed. Wraps uv_is_closing."""
        return self._uv is None

    def ref(self) -> None:
        """Let the handle keep its loop running, which is how handles start. Wraps uv_ref."""
        lib.uv_ref(self._open_handle())

    def unref(self) -> None:
        """Let the loop end although the handle is active. Wraps uv_unref."""
        lib.uv_unref(self._open_handle())

    def has_ref(self) -> bool:
        """Tell whether the handle keeps its loop running. Wraps uv_has_ref."""
        return bool(lib.uv_has_ref(self._open_handle()))

    def fileno(self) -> int:
        """Return the handle's file descriptor, which stays libuv's: do not close it.

        Raises UVError: EINVAL for handles without one, EBADF when there is none yet. Wraps
        uv_fileno.
        """
        found = ffi.new("uv_os_fd_t *")
        check(lib.uv_fileno(self._open_handle(), found), "fileno")
        fd = int(found[0])
        if self._known_fd != fd:
            self._known_fd = fd
            _owners[fd] = weakref.ref(self)
        return fd

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self._uv is None else self._state()}>"

    # -- for the other modules

    def _make_views(self, ctype: str, address: Any) -> None:
        self._uv_handle = ffi.cast("uv_handle_t *", address)
        self._uv = ffi.cast(ctype, address)

    def _state(self) -> str:
        return "active" if lib.uv_is_active(self._uv_handle) else "idle"

    def _open(self) -> Any:
        """Return libuv's handle; raise when it is closed or not this thread's to use."""
        uv = self._uv
        if uv is None:
            raise self._closed_error()
        self._loop._use()
        return uv

    def _open_handle(self) -> Any:
        self._open()
        return self._uv_handle

    def _closed_error(self) -> UVError:
        return uv_error(lib.UV_EBADF, f"this {type(self).__name__} is closed")

    def _begin_close(self) -> None:
        """Nothing may reach libuv's handle from here on."""
        self._uv = None

    def _after_fork(self) -> None:
        """This is a child process, and Loop.fork() was called."""

    def _exhausted(self) -> None:
        """The process ran out of descriptors: a matter for those that listen."""

    def _go_on_closing(self) -> None:
        """Close, from wherever an exception has cut it off before."""
        if self._uv is not None:
            self._begin_close()
        if self._c is None:
            self._end_close()
        else:
            self._close_half()

    def _close_half(self) -> None:
        # C knows whether it is closing already. libuv may never have had it; or it is closed, and
        # an exception, such as of a failed allocation, has kept Python from hearing of it.
        if not lib.uvb_handle_close(self._c):
            self._end_close()

    def _end_close(self) -> None:
        """The close callback: libuv has forgotten the handle, its loop does as well.

        An exception may cut this off at any line: the loop then calls it again.
        """
        self._loop._handles.pop(id(self), None)
        if self._uv is not None:  # an exception has cut off what had libuv close it
            self._begin_close()
        self._forget()
        self._core.release()
        while self._close_callbacks:
            call_next(self._close_callbacks, self)
        self._loop._closing.pop(id(self), None)

    def _forget(self) -> None:
        """Let go of libuv's handle and of what it called."""
        self._c = self._uv_handle = self._callback = None  # nothing is left that forms a cycle


class SocketBuffers(Handle):
    """Handles over a socket: the sizes of its two buffers in the kernel."""

    _uv_stream: Any = None  # what uv_accept takes, also for a UDP handle that came over a pipe

    def _make_views(self, ctype: str, address: Any) -> None:
        self._uv_stream = ffi.cast("uv_stream_t *", address)
        super()._make_views(ctype, address)

    def _forget(self) -> None:
        self._uv_stream = None
        super()._forget()

    @property
    def send_buffer_size(self) -> int:
        """The size of the send buffer in bytes; Linux doubles what is set, and keeps it within
        its limits: read it to know.

        Raises UVError (EBADF) while there is no socket. Wraps uv_send_buffer_size.
        """
        return self._buffer_size(lib.uv_send_buffer_size, 0)

    @send_buffer_size.setter
    def send_buffer_size(self, size: int) -> None:
        self._buffer_size(lib.uv_send_buffer_size, _check.integer("size", size, 1, 2**31 - 1))

    @property
    def recv_buffer_size(self) -> int:
        """The size of the receive buffer in bytes; Linux doubles what is set, and keeps it within
        its limits: read it to know.

        Raises UVError (EBADF) while there is no socket. Wraps uv_recv_buffer_size.
        """
        return self._buffer_size(lib.uv_recv_buffer_size, 0)

    @recv_buffer_size.setter
    def recv_buffer_size(self, size: int) -> None:
        self._buffer_size(lib.uv_recv_buffer_size, _check.integer("size", size, 1, 2**31 - 1))

    def _take_over(
        self, name: str, file: Any, kind: int, libuv_open: Callable[[Any, int], int]
    ) -> None:
        """Give a descriptor of the caller's to libuv, which checks next to nothing itself.

        `kind`: the type of socket that it has to be.
        """
        fd = _check.handed_over(name, file)
        uv = self._open()
        if self._in_use():
            kind_of_fd = "socket" if name == "sock" else "descriptor"
            raise uv_error(lib.UV_EBUSY, f"open: this handle has a {kind_of_fd} already")
        self._check_descriptor(f"{name}: {fd}", fd, kind)
        owner = _owner(fd)
        if owner is not None:
            what = f"{name}: {fd} belongs to {owner!r}; hand over os.dup() of it"
            raise uv_error(lib.UV_EEXIST, what)
        try:
            try:
                check(libuv_open(uv, fd), f"{name}: {fd}")
            finally:
                self._own(file, fd)
        finally:  # again: a signal handler may raise in the first call, and both would close it
            self._own(file, fd)

    def _own(self, file: Any, fd: int) -> None:
        """The descriptor that libuv has is no longer the caller's."""
        if self._in_use():
            self._known_fd = fd
            _owners[fd] = weakref.ref(self)
            if isinstance(file, _check.Socket):
                file.detach()

    def _check_descriptor(self, what: str, fd: int, kind: int) -> None:
        if check(lib.uvb_socket_type(fd), what) != kind:
            raise uv_error(lib.UV_EINVAL, f"{what} is not a {_KINDS[kind]} socket")

    def _apply_options(self) -> None:
        """There is a socket now, which gets the options that were set before."""

    def _report(self, error: UVError) -> None:
        """A failure nobody gave a callback for."""
        raise NotImplementedError

    def _then(self, callback: Any) -> Callable[[UVError | None], object]:
        """Return what a request does when it is done: call back, or report a failure."""
        return self._report_failure if callback is None else functools.partial(callback, self)

    def _report_failure(self, error: UVError | None) -> None:
        if error is not None:
            self._report(error)

    def _in_use(self) -> bool:
        fd = ffi.new("uv_os_fd_t *")
        return bool(lib.uv_fileno(self._uv_handle, fd) == 0)

    def _buffer_size(self, function: Callable[..., int], size: int) -> int:
        value = ffi.new("int *", size)
        check(function(self._open_handle(), value), "buffer size")
        return int(value[0])


def _owner(fd: int) -> Handle | None:
    """Return the open handle, of whichever loop, that has this descriptor."""
    known = _owners.get(fd)
    handle = None if known is None else known()
    if handle is None or handle._uv is None or handle._known_fd != fd:
        return None
    return handle


@crossing
def uvb_on_close(pointer: Any) -> None:
    handle = ffi.from_handle(pointer)
    handle._end_close()
