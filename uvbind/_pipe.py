"""Pipes: unix domain sockets, and handles passed between processes.

Facts from libuv's manual, page "uv_pipe_t".
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from uvbind import _check
from uvbind._errors import check, translate_sys_error, uv_error
from uvbind._loop import Loop
from uvbind._stream import Stream
from uvbind._tcp import TCP
from uvbind._udp import UDP
from uvbind._uvbind import lib


class Pipe(Stream):
    """A unix domain socket or a FIFO. Wraps uv_pipe_t.

    `ipc`: handles can be passed over it, with write2() at one end and accept() at the other.
    Wraps uv_pipe_init.
    """

    def __init__(self, loop: Loop, ipc: bool = False) -> None:
        super().__init__(loop, "uv_pipe_t *", lib.uv_pipe_init, bool(ipc))

    def open(self, file: Any) -> None:
        """Take over a connected socket or one end of a pipe.

        `file`: a socket object, which is detached, or a descriptor, which is libuv's to close
        from then on. When this raises, UVError (EEXIST, EBADF, EINVAL when it is neither), it
        stays the caller's. Wraps uv_pipe_open.
        """
        fd = _check.handed_over("file", file)
        uv = self._open()
        try:
            mode = os.fstat(fd).st_mode
        except OSError as error:
            raise uv_error(translate_sys_error(error.errno or 0), f"file: {fd}") from None
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            raise uv_error(lib.UV_EINVAL, f"file: {fd} is neither a socket nor a pipe")
        if self._in_use():
            raise uv_error(lib.UV_EBUSY, "open: this handle has a descriptor already")
        check(lib.uv_pipe_open(uv, fd), f"file: {fd}")
        if isinstance(file, socket.socket):
            file.detach()

    def pending_count(self) -> int:
        """Return how many handles have arrived and wait for accept(). Wraps
        uv_pipe_pending_count."""
        return int(lib.uv_pipe_pending_count(self._open()))

    def pending_type(self) -> type[TCP | UDP | Pipe] | None:
        """Return the class of the handle that accept() takes next, None when there is none or
        it is of a kind that uvbind has no class for. Wraps uv_pipe_pending_type."""
        return _CLASSES.get(lib.uv_pipe_pending_type(self._open()))

    def _new_client(self) -> TCP | UDP | Pipe:
        if self._listening:
            return Pipe(self._loop)
        kind = self.pending_type()
        if kind is None:
            raise uv_error(lib.UV_EAGAIN, "accept: no handle has arrived")
        return kind(self._loop)


_CLASSES: dict[int, type[TCP | UDP | Pipe]] = {
    lib.UV_TCP: TCP,
    lib.UV_UDP: UDP,
    lib.UV_NAMED_PIPE: Pipe,
}
