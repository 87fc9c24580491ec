"""Python's signals, Ctrl-C above all, while libuv waits for events.

While a loop runs in the main thread, the process's wakeup fd is a socket of the loop's: Python
writes the number of a signal to it, which ends libuv's wait, and src/_uvbind/loop.c then enters
Python, where the signal's handler runs. A loop that waits is never woken for nothing.

An asyncio loop with signal handlers of its own learns of its signals from that socket too, which
stays the wakeup fd while the loop does not run.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from threading import get_ident
from typing import Any

from uvbind._callbacks import crossing_to, interrupted
from uvbind._errors import check, uv_error
from uvbind._uvbind import ffi, lib


class Wakeup:
    """The wakeup fd of a loop, made at the latest when it first runs in the main thread."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._watched = False  # libuv watches the first
        self._before: int | None = None  # to be the wakeup fd when the loop runs no more
        self._kept = False  # and that is ours,
        self._replaced = -1  # in the place of this one

    def make(self) -> tuple[socket.socket, socket.socket]:
        """Make the sockets, for start() may find that there are no descriptors left."""
        if self._ends is None:
            self._ends = _socketpair()
        return self._ends

    def start(self, c: Any) -> None:
        """Put ours in the place of the wakeup fd there is; `c` is the C half of the loop."""
        main = get_ident() == threading.main_thread().ident
        if main or self._kept:
            self.watch(c)
        if not main:
            return  # only the main thread may set the wakeup fd
        ours = self.make()[1].fileno()
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        if before == ours and not self._kept:
            before = -1  # a signal handler raised before stop() could put the other back
        self._before = before
        lib.uvb_loop_forward_wakeup(c, self._replaced if before == ours else before)

    def watch(self, c: Any) -> None:
        """Have libuv watch the socket; for the thread that runs the loop."""
        if not self._watched:  # Ctrl-C may have come between any two of these lines
            check(lib.uvb_loop_watch_wakeup(c, self.make()[0].fileno()), "run")
            self._watched = True

    def keep(self) -> None:
        """Have ours be the wakeup fd from now on; ValueError in another thread than the main."""
        ours = self.make()[1].fileno()
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        if before != ours:
            self._replaced = before
        elif not self._kept:
            self._replaced = -1 if self._before is None else self._before
        self._kept = True
        if self._before is not None:
            self._before = ours

    def release(self) -> None:
        """Have ours be the wakeup fd only while the loop runs."""
        if not self._kept:
            return
        ours = self.make()[1].fileno()
        if self._before is None:
            current = _set_wakeup_fd(self._replaced)
            if current != ours:  # somebody's who came later
                _set_wakeup_fd(current)
        elif self._before == ours:
            self._before = self._replaced
        self._kept = False

    def take(self, c: Any) -> bytes:
        """Return the numbers of the signals that came since the last call."""
        signals = ffi.new("char[]", lib.UVB_SIGNALS)
        return bytes(ffi.buffer(signals, lib.uvb_loop_signals(c, signals)))

    def stop(self) -> None:
        """Put the wakeup fd of before back; whether it warned of a full buffer nobody can ask,
        so it does, as is Python's default."""
        before, self._before = self._before, None
        if before is not None:
            _set_wakeup_fd(before)

    def forked(self) -> None:
        """This is a child: its signals are not for its parent, with which it shares the sockets."""
        if self._ends is not None:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, self._ends[1].fileno()):
                _set_wakeup_fd(current)

    def fork(self) -> None:
        """Put new sockets in the places of those that a child shares with its parent."""
        if self._ends is not None:
            for ours, fresh in zip(self._ends, _socketpair()):
                os.dup2(fresh.fileno(), ours.fileno(), inheritable=False)
                fresh.close()
            if self._kept:
                self.keep()

    def close(self) -> None:
        """Close the sockets; the loop has been closed."""
        for end in self._ends or ():
            end.close()


def _set_wakeup_fd(fd: int) -> int:
    """As signal.set_wakeup_fd(), with none for one that has been closed."""
    try:
        return signal.set_wakeup_fd(fd)
    except (ValueError, OSError):
        return signal.set_wakeup_fd(-1)


def _socketpair() -> tuple[socket.socket, socket.socket]:
    # No generator: in Python 3.13 one that gets no memory ends the process with a signal.
    ours, theirs = socket.socketpair()
    ours, theirs = _above_2(ours), _above_2(theirs)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def _above_2(end: socket.socket) -> socket.socket:
    """Return a socket that a program which closes 0 to 2, or opens them anew, does not meet."""
    if end.fileno() > 2:
        return end
    fd = lib.uvb_above_2(end.detach())
    if fd == -1:
        raise uv_error(lib.UV_EMFILE, "socketpair")
    return socket.socket(fileno=fd)


@crossing_to(interrupted)
def uvb_on_wakeup(pointer: Any) -> None:
    """Run Python's signal handlers: this, a change of nothing, looks for signals at its end.

    Being entered is enough for CPython, but PyPy may have noted the signal in another thread.
    """
    try:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        ffi.from_handle(pointer)._signalled()


@crossing_to(interrupted)
def uvb_on_unwatched(error: int) -> None:
    """The system does not watch what wakes libuv up; the loop tries again in a second."""
    raise uv_error(error, "epoll_ctl")
