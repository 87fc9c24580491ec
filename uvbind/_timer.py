"""Timers. Facts from libuv's manual, page "uv_timer_t"; times are whole milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvbind import _check
from uvbind._callbacks import crossing
from uvbind._errors import check
from uvbind._handle import Handle
from uvbind._loop import Loop
from uvbind._uvbind import ffi, lib

_FOREVER = 2**63 - 1
_TIMER_CB = ffi.addressof(lib, "uvb_timer_cb")


class Timer(Handle):
    """Calls back after a time, once or again and again. Wraps uv_timer_t and uv_timer_init."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, "uv_timer_t *", lib.UV_TIMER)
        self._callback: Callable[[Timer], object] | None = None

    def start(self, callback: Callable[[Timer], object], timeout: int, repeat: int = 0) -> None:
        """Call `callback(timer)` in `timeout` ms and then every `repeat` ms if that is not 0.

        The time counts from Loop.now(). A timer that runs is started anew. Wraps
        uv_timer_start.
        """
        _check.function("callback", callback)
        timeout = _check.integer("timeout", timeout, 0, _FOREVER)
        repeat = _check.integer("repeat", repeat, 0, _FOREVER)
        uv = self._open()
        self._callback = callback  # first: libuv is not to call back without one
        check(lib.uv_timer_start(uv, _TIMER_CB, timeout, repeat), "uv_timer_start")

    def stop(self) -> None:
        """Stop the timer; it will not call back. Wraps uv_timer_stop."""
        check(lib.uv_timer_stop(self._open()), "uv_timer_stop")

    def again(self) -> None:
        """Start the timer anew with `repeat` as its timeout; one that does not repeat is stopped.

        Raises UVError (EINVAL) when it was never started. Wraps uv_timer_again.
        """
        uv = self._open()
        check(lib.uv_timer_again(uv), "again: the timer was never started")
        if lib.uv_timer_get_repeat(uv) == 0:  # as libuv's manual has it; its code lets it run
            lib.uv_timer_stop(uv)

    @property
    def repeat(self) -> int:
        """The interval in ms, 0 for once; a change counts from the next expiry on.

        Wraps uv_timer_set_repeat and uv_timer_get_repeat.
        """
        return int(lib.uv_timer_get_repeat(self._open()))

    @repeat.setter
    def repeat(self, interval: int) -> None:
        repeat = _check.integer("repeat", interval, 0, _FOREVER)
        lib.uv_timer_set_repeat(self._open(), repeat)

    @property
    def due_in(self) -> int:
        """How many ms are left, 0 when it is due or stopped. Wraps uv_timer_get_due_in."""
        uv = self._open()
        return int(lib.uv_timer_get_due_in(uv)) if lib.uv_is_active(self._uv_handle) else 0


@crossing
def uvb_on_timer(pointer: Any) -> None:
    timer = ffi.from_handle(pointer)
    timer._callback(timer)
