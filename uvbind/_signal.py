"""Signals. Facts from libuv's manual, page "uv_signal_t"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvbind import _check
from uvbind._callbacks import crossing
from uvbind._errors import check
from uvbind._handle import Handle
from uvbind._loop import Loop
from uvbind._uvbind import ffi, lib


class Signal(Handle):
    """Calls back when the process gets a signal. Wraps uv_signal_t and uv_signal_init.

    Works in any thread. While a signal is watched, Python's own handler for it is not called;
    when its last watcher stops, what handled it before does so again.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, "uv_signal_t *", lib.UV_SIGNAL)
        self._callback: Callable[[Signal, int], object] | None = None

    def start(self, callback: Callable[[Signal, int], object], signum: int) -> None:
        """Call `callback(signal, signum)` each time the process gets the signal.

        Raises UVError (EINVAL) for signals that cannot be caught. Wraps uv_signal_start.
        """
        self._start(callback, signum, False)

    def start_oneshot(self, callback: Callable[[Signal, int], object], signum: int) -> None:
        """Like start, for the first time only. Wraps what uv_signal_start_oneshot is for."""
        self._start(callback, signum, True)

    def stop(self) -> None:
        """Stop watching. Wraps uv_signal_stop."""
        self._open()
        check(lib.uvb_signal_stop(self._c), "uv_signal_stop")

    def _start(self, callback: Callable[[Signal, int], object], signum: int, oneshot: bool) -> None:
        _check.function("callback", callback)
        number = _check.integer("signum", signum, 1, 2**31 - 1)
        self._open()
        self._callback = callback  # first: libuv is not to call back without one
        check(lib.uvb_signal_start(self._c, number, oneshot), f"signum: {number} cannot be caught")

    def _begin_close(self) -> None:
        lib.uvb_signal_stop(self._c)
        super()._begin_close()


@crossing
def uvb_on_signal(pointer: Any, signum: int) -> None:
    signal = ffi.from_handle(pointer)
    signal._callback(signal, signum)
