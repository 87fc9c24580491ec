"""Pipes: unix domain sockets, and handles passed between processes.

Facts from libuv's manual, page "uv_pipe_t".
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._address import ask_text
from uvbind._errors import UVError, check, translate_sys_error, uv_error
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._stream import Stream
from uvbind._tcp import TCP
from uvbind._udp import UDP
from uvbind._uvbind import ffi, lib
from uvbind._version import needs

Self = TypeVar("Self", bound="Pipe")
Name = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_CONNECT_CB = ffi.addressof(lib, "uvb_connect_cb")


class Pipe(Stream):
    """A unix domain socket or a FIFO, on Windows a named pipe. Wraps uv_pipe_t.

    `ipc`: handles can be passed over it, with write2() at one end and accept() at the other.
    Such a pipe cannot listen: let one without `ipc` do it, and accept(Pipe(loop, ipc=True)).
    Wraps uv_pipe_init.

    A name is the path of the socket, or on Linux an abstract name, which begins with NUL, is in
    no folder and is gone when the last socket of that name is closed (needs libuv 1.46).
    """

    def __init__(self, loop: Loop, ipc: bool = False) -> None:
        self._ipc = bool(ipc)
        super().__init__(loop, "uv_pipe_t *", lib.UV_NAMED_PIPE, self._ipc)

    # -- names

    def bind(self, name: Name) -> None:
        """Bind to `name`, a path that does not exist yet or an abstract name.

        Closing removes the path, as seen from the working folder at that time, also when the
        handle has been passed on; a forked child's copy leaves it. An empty name has Linux
        choose an abstract one. Raises UVError: EADDRINUSE, also for a path that a dead server
        left; EACCES, also when the folder does not exist; ENAMETOOLONG; EINVAL when bound or
        connected. Wraps uv_pipe_bind and uv_pipe_bind2.
        """
        self._bind(name, True)

    def bind2(self, name: Name, *, no_truncate: bool = True) -> None:
        """As bind(); without `no_truncate` a path that is too long is cut off.

        Needs libuv 1.46. Wraps uv_pipe_bind2.
        """
        needs(1, 46, "bind2()")
        self._bind(name, no_truncate)

    def connect(
        self: Self, name: Name, callback: Callable[[Self, UVError | None], object]
    ) -> Request:
        """Connect to `name` and call `callback(pipe, error)` when that is done.

        `error`: ENOENT when there is no such path, ECONNREFUSED when nobody listens, EACCES,
        EAGAIN when the server's queue is full. Then make a new handle to try again. Raises
        UVError: ENAMETOOLONG, EALREADY while connecting, EISCONN, EINVAL when bound or after
        an error. Wraps uv_pipe_connect and uv_pipe_connect2.
        """
        return self._connect_to(name, callback, True)

    def connect2(
        self: Self,
        name: Name,
        callback: Callable[[Self, UVError | None], object],
        *,
        no_truncate: bool = True,
    ) -> Request:
        """As connect(); without `no_truncate` a path that is too long is cut off.

        Needs libuv 1.46. Wraps uv_pipe_connect2.
        """
        needs(1, 46, "connect2()")
        return self._connect_to(name, callback, no_truncate)

    def listen(
        self: Self, callback: Callable[[Self, UVError | None], object], backlog: int = 511
    ) -> None:
        """Call `callback(server, error)` for every connection, see Stream.listen().

        Raises UVError (EINVAL) also for an ipc pipe and before bind(). Wraps uv_listen.
        """
        self._open()
        if self._ipc:
            raise uv_error(
                lib.UV_EINVAL,
                "listen: an ipc pipe cannot; let another listen and accept(Pipe(loop, ipc=True))",
            )
        if not self._in_use():
            raise uv_error(lib.UV_EINVAL, "listen: bind() this pipe first")
        super().listen(callback, backlog)

    def getsockname(self) -> str | bytes:
        """Return the name that the pipe is bound to: a path as str, an abstract name as bytes,
        "" when there is none. Wraps uv_pipe_getsockname."""
        return self._name(lib.uv_pipe_getsockname, "getsockname")

    def getpeername(self) -> str | bytes:
        """Return the name that the peer is bound to, as getsockname() does; a client mostly has
        none. Raises UVError (ENOTCONN). Wraps uv_pipe_getpeername."""
        return self._name(lib.uv_pipe_getpeername, "getpeername")

    def chmod(self, *, readable: bool = False, writable: bool = False) -> None:
        """Let every user read from or write to the path that the pipe is bound to; to connect
        takes both on some platforms, on Linux writing.

        Raises UVError: EBADF before bind(), EINVAL when bound to no path. Wraps uv_pipe_chmod.
        """
        mode = (lib.UV_READABLE if readable else 0) | (lib.UV_WRITABLE if writable else 0)
        if mode == 0:
            raise ValueError("chmod: expected readable=True, writable=True or both")
        name = self.getsockname()
        if not isinstance(name, str) or not name:
            raise uv_error(lib.UV_EINVAL, "chmod: this pipe is not bound to a path")
        before = _mode(name)
        check(lib.uv_pipe_chmod(self._uv, mode), "chmod")
        taken = before & ~_mode(name)
        if taken:  # from libuv 1.52 on, it takes away what others had
            os.chmod(name, _mode(name) | before)

    def pending_instances(self, count: int) -> None:
        """Set how many connections may wait on Windows, before bind(); nothing elsewhere.
        Wraps uv_pipe_pending_instances."""
        number = _check.integer("count", count, 1, 2**31 - 1)
        lib.uv_pipe_pending_instances(self._open(), number)

    # -- descriptors

    def open(self, file: Any) -> None:
        """Take over a stream socket or one end of a pipe.

        `file`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on, and non-blocking with its duplicates. When this raises, it stays the
        caller's: TypeError for an SSLSocket and others with a recv() or send() of their own,
        UVError (EEXIST when a handle has it, EBADF, EINVAL when it is neither). Wraps
        uv_pipe_open.
        """
        self._open_as("file", file, lib.uvb_pipe_open)

    def accept(self, client: Stream | None = None) -> Any:
        """Take a connection, see Stream.accept(), or a handle that was passed to an ipc pipe.

        `client`: as there, and of the class that pending_type() tells. Raises UVError: EAGAIN
        when nothing waits, ENOTSUP for a descriptor of another kind; TypeError for a `client`
        of another class. Wraps uv_accept.
        """
        if client is not None and not self._listening:
            # libuv takes anything, and aborts when it is to poll a file.
            _check.instance("client", client, self._arrived())
        return super().accept(client)

    def pending_count(self) -> int:
        """Return how many handles have arrived and wait for accept(). Wraps
        uv_pipe_pending_count."""
        return int(lib.uv_pipe_pending_count(self._open()))

    def pending_type(self) -> type[TCP | UDP | Pipe] | None:
        """Return the class of the handle that accept() takes next, None when there is none or
        it is of a kind that uvbind has no class for. Wraps uv_pipe_pending_type."""
        return _CLASSES.get(lib.uv_pipe_pending_type(self._open()))

    # -- for the other modules

    def _check_descriptor(self, what: str, fd: int, kind: int) -> None:
        try:
            mode = os.fstat(fd).st_mode
        except OSError as error:
            raise uv_error(translate_sys_error(error.errno or 0), what) from None
        if stat.S_ISSOCK(mode):
            super()._check_descriptor(what, fd, kind)
        elif not stat.S_ISFIFO(mode):
            raise uv_error(lib.UV_EINVAL, f"{what} is neither a socket nor a pipe")

    def _bind(self, name: Name, no_truncate: bool) -> None:
        raw, flags = _pack(name, no_truncate)
        what = f"bind to {name!r:.150}"
        check(lib.uvb_pipe_bind(self._open(), raw, len(raw), flags), what)

    def _connect_to(
        self: Self,
        name: Name,
        callback: Callable[[Self, UVError | None], object],
        no_truncate: bool,
    ) -> Request:
        raw, flags = _pack(name, no_truncate)
        if not raw:
            raise ValueError("name: expected the name to connect to, not an empty one")
        _check.function("callback", callback)
        stream = self._open_stream()
        if self._connecting:
            raise uv_error(lib.UV_EALREADY, "connect")
        if self._in_use():  # libuv would connect it, and neither read nor write then
            if self._listening or lib.uv_is_readable(stream) or lib.uv_is_writable(stream):
                raise uv_error(lib.UV_EISCONN, "connect")
            what = "connect: libuv connects a Pipe once, and not when it is bound; make a new one"
            raise uv_error(lib.UV_EINVAL, what)
        return self._connect(callback, lib.uvb_pipe_connect, raw, len(raw), flags, _CONNECT_CB)

    def _name(self, getter: Callable[..., int], what: str) -> str | bytes:
        # libuv takes the name of any socket for a unix one's.
        if lib.uv_guess_handle(self.fileno()) != lib.UV_NAMED_PIPE:
            raise uv_error(lib.UV_EAFNOSUPPORT, f"{what}: this is not a unix stream socket")
        raw = ask_text(getter, what, self._uv)
        return raw if raw.startswith(b"\0") else os.fsdecode(raw)

    def _after_fork(self) -> None:
        lib.uvb_pipe_keep_path(self._c)  # the parent's, which goes on serving there

    def _new_client(self) -> TCP | UDP | Pipe:
        return Pipe(self._loop) if self._listening else self._arrived()(self._loop)

    def _arrived(self) -> type[TCP | UDP | Pipe]:
        kind = self.pending_type()
        if kind is None and self.pending_count() > 0:
            what = "accept: what has arrived is no TCP, UDP or Pipe handle; close() drops it"
            raise uv_error(lib.UV_ENOTSUP, what)
        if kind is None:
            raise uv_error(lib.UV_EAGAIN, "accept: no handle has arrived")
        return kind


_CLASSES: dict[int, type[TCP | UDP | Pipe]] = {
    lib.UV_TCP: TCP,
    lib.UV_UDP: UDP,
    lib.UV_NAMED_PIPE: Pipe,
}


def pipe(*, nonblock_read: bool = False, nonblock_write: bool = False) -> tuple[int, int]:
    """Return the descriptors of a new pipe's two ends, to read from and to write to.

    They are the caller's to close and are not inherited by other programs. `nonblock_read`,
    `nonblock_write`: that end is non-blocking, which Pipe.open() makes them anyway. Raises
    UVError (EMFILE). Wraps uv_pipe.
    """
    flags = [lib.UV_NONBLOCK_PIPE if end else 0 for end in (nonblock_read, nonblock_write)]
    ends = ffi.new("uv_os_fd_t[2]", [-1, -1])
    try:
        check(lib.uv_pipe(ends, *flags), "pipe")
        return ends[0], ends[1]
    except BaseException:  # a signal handler may raise when they are open
        for fd in ends:
            if fd != -1:
                os.close(fd)
        raise


def _mode(path: str) -> int:
    """Return the permissions of a path, 0 when there is no such."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0


def _pack(name: Any, no_truncate: bool) -> tuple[bytes, int]:
    """Return a name in bytes, and libuv's flags for it."""
    try:
        raw = os.fsencode(name)
    except TypeError:
        kind = type(name).__name__
        raise TypeError(f"name: expected a str, bytes or os.PathLike, not {kind}") from None
    room = lib.UVB_PIPE_NAME_SIZE
    if raw[:1] in (b"", b"\0"):
        if sys.platform != "linux":
            raise ValueError("name: expected a path; only Linux has empty and abstract names")
        needs(1, 46, "an empty or abstract name")
    else:
        room -= 1
    if b"\0" in raw[1:]:
        raise ValueError(f"name: {name!r:.150} has a NUL behind the first character")
    if no_truncate and len(raw) > room:
        what = f"name: {len(raw)} bytes, of which {room} fit: {name!r:.150}"
        raise uv_error(lib.UV_ENAMETOOLONG, what)
    return raw, lib.UV_PIPE_NO_TRUNCATE if no_truncate else 0
