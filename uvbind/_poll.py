"""Watching file descriptors of others. Facts from libuv's manual, page "uv_poll_t"."""

from __future__ import annotations

import enum
import os
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._callbacks import crossing, take_first
from uvbind._errors import UVError, check, translate_sys_error, uv_error
from uvbind._handle import Handle
from uvbind._loop import Loop
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="Poll")


class PollEvent(enum.IntFlag):
    """What a Poll waits for. Wraps uv_poll_event."""

    READABLE = lib.UV_READABLE
    WRITABLE = lib.UV_WRITABLE
    DISCONNECT = lib.UV_DISCONNECT
    """The peer has shut down its side."""
    PRIORITIZED = lib.UV_PRIORITIZED
    """Out-of-band data, and what sysfs and procfs files have to tell."""


_ALL = int(PollEvent.READABLE | PollEvent.WRITABLE | PollEvent.DISCONNECT | PollEvent.PRIORITIZED)


class Poll(Handle):
    """Watches a file descriptor that somebody else reads and writes. Wraps uv_poll_t.

    `fd` is a descriptor or an object with fileno(); it becomes non-blocking and stays its
    owner's, who may close it at any time; a connection then ends when close() is called here
    too, for what is watched is a duplicate. Raises UVError: EPERM for regular files. Wraps
    uv_poll_init.
    """

    def __init__(self, loop: Loop, fd: Any) -> None:
        self._fd = _check.descriptor("fd", fd)
        self._duplicates: deque[int] = deque()
        # libuv aborts the process when it finds a descriptor closed that it should watch, and
        # takes another file's for it when the number is in use again: give it one of its own.
        try:
            try:
                self._duplicates.append(os.dup(self._fd))
            except OSError as error:
                code = translate_sys_error(error.errno or 0)
                raise uv_error(code, f"fd: cannot watch {self._fd}") from None
            super().__init__(loop, "uv_poll_t *", lib.UV_POLL, self._duplicates[0])
        except BaseException:
            if self._c is not None:  # libuv may have the duplicate
                self.close()
            self._close_duplicate()
            raise
        self._callback: Callable[[Poll, int, UVError | None], object] | None = None

    def fileno(self) -> int:
        """Return the descriptor that is watched."""
        self._open()
        return self._fd

    def start(self, events: int, callback: Callable[[Poll, int, UVError | None], object]) -> None:
        """Call `callback(poll, events, error)` as long as one of `events` is there.

        `events`: PollEvent flags, replacing those of an earlier start. A descriptor with an error,
        such as a refused connection, counts as readable and writable, as with select(): the next
        read or write raises the error. `error`: the watch has ended with this UVError. Wraps
        uv_poll_start.
        """
        _check.function("callback", callback)
        wanted = _check.integer("events", events, 1, _ALL)
        self._open()
        self._callback = callback  # first: libuv is not to call back without one
        check(self._core.poll_start(wanted, callback), "uv_poll_start")

    def stop(self) -> None:
        """Stop watching. Wraps uv_poll_stop."""
        check(lib.uv_poll_stop(self._open()), "uv_poll_stop")

    def close(self: Self, callback: Callable[[Self], object] | None = None) -> None:
        """Stop watching for good; see Handle.close(). Wraps uv_close."""
        super().close(callback)
        self._close_duplicate()  # libuv has let go of it by now, and so may the kernel

    def _retry(self) -> None:
        """Hear of no failure of epoll_ctl: the loop tries again, in a second."""
        lib.uvb_poll_retries(self._c)

    def _close_duplicate(self) -> None:
        if self._duplicates:
            take_first(self._duplicates, os.close)

    def _forget(self) -> None:
        super()._forget()
        self._close_duplicate()  # an exception may have cut close() off


@crossing
def uvb_on_poll(pointer: Any, status: int, events: int) -> None:
    poll = ffi.from_handle(pointer)
    error = None if status == 0 else uv_error(status, "poll")
    poll._callback(poll, events, error)
