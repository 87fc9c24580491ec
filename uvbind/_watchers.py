"""Callbacks at a certain place of every turn of the loop.

Facts from libuv's manual, pages "uv_prepare_t", "uv_check_t" and "uv_idle_t".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from uvbind import _check
from uvbind._callbacks import crossing
from uvbind._errors import check
from uvbind._handle import Handle
from uvbind._loop import Loop
from uvbind._uvbind import ffi, lib

Self = TypeVar("Self", bound="_Watcher")


class _Watcher(Handle):
    _name: str  # libuv's, as in uv_<name>_t

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, f"uv_{self._name}_t *", getattr(lib, f"UV_{self._name.upper()}"))
        self._callback: Callable[..., object] | None = None

    def start(self: Self, callback: Callable[[Self], object]) -> None:
        """Call `callback(handle)` once a turn; one that runs gets the new callback.

        Wraps uv_prepare_start, uv_check_start, uv_idle_start.
        """
        _check.function("callback", callback)
        start = getattr(lib, f"uv_{self._name}_start")
        crossing_function = ffi.addressof(lib, f"uvb_{self._name}_cb")
        uv = self._open()
        self._callback = callback  # first: libuv is not to call back without one
        check(start(uv, crossing_function), f"uv_{self._name}_start")

    def stop(self) -> None:
        """Stop calling back. Wraps uv_prepare_stop, uv_check_stop, uv_idle_stop."""
        check(getattr(lib, f"uv_{self._name}_stop")(self._open()), f"uv_{self._name}_stop")


class Prepare(_Watcher):
    """Calls back right before the loop waits for events. Wraps uv_prepare_t and uv_prepare_init."""

    _name = "prepare"


class Check(_Watcher):
    """Calls back right after the loop has waited for events. Wraps uv_check_t and uv_check_init."""

    _name = "check"


class Idle(_Watcher):
    """Calls back once a turn, before Prepare, and keeps the loop from waiting.

    Wraps uv_idle_t and uv_idle_init.
    """

    _name = "idle"


@crossing
def uvb_on_watcher(pointer: Any) -> None:
    watcher = ffi.from_handle(pointer)
    watcher._callback(watcher)
