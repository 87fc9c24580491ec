"""libuv's threads, which look names up: how many there are, and what a fork makes of them.

Facts from libuv's manual, page "Thread pool work scheduling".

Lookups that need a name server run in libuv's pool of threads, 16 at a time unless the
environment variable UV_THREADPOOL_SIZE says otherwise: N threads do (N + 1) // 2 at a time. It
counts when the process does its first lookup.
"""

from __future__ import annotations

import atexit
import os
import threading

from uvbind._errors import check
from uvbind._ownership import _loops
from uvbind._uvbind import lib

_AT_A_TIME = 16

_starting = threading.Lock()
_started = False
_lost = 0  # lookups that ran when this process was forked off


def start_threads() -> None:
    """Make libuv's pool of threads, once, in the size that lookups need."""
    global _started
    if not _started:
        with _starting:
            if not _started:
                check(lib.uvb_lookup_threads(_AT_A_TIME, _lost), "starting the threads for lookups")
                _started = True


def _before_exit() -> None:
    """libuv waits for its threads at the end of a process, and crashes on those of a parent."""
    if not _started:
        lib.uvb_lookup_threads(0, 0)


def _after_fork_in_child() -> None:
    global _started, _starting, _lost
    if _started:
        atexit.register(_before_exit)
    _started, _starting = False, threading.Lock()  # no thread of the parent's is here
    for loop in list(_loops):
        _lost += sum(request._runs() for request in loop._requests)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
