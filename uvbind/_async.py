"""Waking a loop from another thread. Facts from libuv's manual, page "uv_async_t"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from uvbind import _check
from uvbind._callbacks import crossing
from uvbind._errors import check
from uvbind._handle import Handle
from uvbind._loop import Loop
from uvbind._ownership import for_any_thread
from uvbind._uvbind import ffi, lib


class Async(Handle):
    """Calls `callback(async_)` in the loop's thread after send(). Wraps uv_async_t.

    It is active, and keeps its loop running, until it is closed (or unref'd). Wraps
    uv_async_init.
    """

    def __init__(self, loop: Loop, callback: Callable[[Async], object]) -> None:
        _check.function("callback", callback)
        self._callback = callback
        self._lock = threading.RLock()  # reentrant, for a signal handler that sends
        super().__init__(loop, "uv_async_t *", lib.UV_ASYNC)

    @for_any_thread
    def send(self) -> None:
        """Wake the loop; callable from any thread and from signal handlers.

        Sends that come before the loop has looked are one. Raises UVError (EBADF) when the
        handle is closed. Wraps uv_async_send.
        """
        if self._loop._forked:
            self._loop._raise_unless_usable()
        with self._lock:
            if self._uv is None:
                raise self._closed_error()
            check(lib.uv_async_send(self._uv), "uv_async_send")

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # a thread that we do not have may have held it

    def _begin_close(self) -> None:
        # A send in another thread must be over by now: libuv before 1.46 would write to whatever
        # descriptor has the number of the closed loop's by then.
        with self._lock:
            super()._begin_close()


@crossing
def uvb_on_async(pointer: Any) -> None:
    async_ = ffi.from_handle(pointer)
    async_._callback(async_)
