"""Python's signals, Ctrl-C above all, while libuv waits for events.

While a loop runs in the main thread, the process's wakeup fd is a socket of the loop's: Python
writes the number of a signal to it, which ends libuv's wait, and src/_uvbind/loop.c then enters
Python, where the signal's handler runs. A loop that waits is never woken for nothing.
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
from uvbind._errors import check
from uvbind._uvbind import lib


class Wakeup:
    """The wakeup fd of a loop, made at the latest when it first runs in the main thread."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._watched = False  # libuv watches the first
        self._before: int | None = None  # the wakeup fd whose place ours took

    def make(self) -> tuple[socket.socket, socket.socket]:
        """Make the sockets, for start() may find that there are no descriptors left."""
        if self._ends is None:
            self._ends = _socketpair()
        return self._ends

    def start(self, c: Any) -> None:
        """Put ours in the place of the wakeup fd there is; `c` is the C half of the loop."""
        if get_ident() != threading.main_thread().ident:
            return  # signals are the main thread's
        woken, waking = self.make()
        if not self._watched:  # Ctrl-C may have come between any two of these lines
            check(lib.uvb_loop_watch_wakeup(c, woken.fileno()), "run")
            self._watched = True
        ours = waking.fileno()
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        # Ours: a signal handler raised an exception before stop() could put the other back.
        self._before = before if before != ours else -1
        lib.uvb_loop_forward_wakeup(c, self._before)

    def stop(self) -> None:
        """Put the wakeup fd of before back; whether it warned of a full buffer nobody can ask,
        so it does, as is Python's default."""
        before, self._before = self._before, None
        if before is not None:
            try:
                signal.set_wakeup_fd(before)
            except (ValueError, OSError):  # closed in the meantime
                signal.set_wakeup_fd(-1)

    def fork(self) -> None:
        """Put new sockets in the places of those that a child shares with its parent."""
        if self._ends is not None:
            for ours, fresh in zip(self._ends, _socketpair()):
                os.dup2(fresh.fileno(), ours.fileno(), inheritable=False)
                fresh.close()

    def close(self) -> None:
        """Close the sockets; the loop has been closed."""
        for end in self._ends or ():
            end.close()


def _socketpair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


@crossing_to(interrupted)
def uvb_on_wakeup() -> None:
    """Run Python's signal handlers: this, a change of nothing, looks for signals at its end.

    Being entered is enough for CPython, but PyPy may have noted the signal in another thread.
    """
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, ())
