"""Crossings from C into Python: how they are entered, and where their exceptions go.

The crossings are declared in src/_uvbind/cdef/callbacks.h; the module of each handle defines
its own with the `crossing` decorator. Whatever one of them raises, an exception raised before
its first line included, reaches `failed`, and from there the loop that is running.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from uvbind._uvbind import ffi, lib


class Running(Protocol):
    """What `failed` asks of a running loop."""

    def _failed(self, exception: BaseException) -> None: ...
    def _stop_with(self, exception: BaseException) -> None: ...


class _Thread(threading.local):
    def __init__(self) -> None:
        self.loops: list[Running] = []


_thread = _Thread()


def running() -> list[Running]:
    """Return the loops that run in this thread, the innermost last."""
    return _thread.loops


def failed(exception: BaseException) -> None:
    """Hand an exception that left a callback to the loop that runs in this thread."""
    loops = _thread.loops
    if loops:
        loops[-1]._failed(exception)
    else:  # not reached while C calls us from inside a loop only; never lose it, though
        sys.excepthook(type(exception), exception, exception.__traceback__)


def interrupted(exception: BaseException) -> None:
    """Have the loop that runs in this thread stop, and raise what a signal handler raised."""
    running()[-1]._stop_with(exception)


def crossing_to(
    taker: Callable[[BaseException], None],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function the Python side of the crossing of its name; `taker` gets what it raises."""

    def onerror(kind: Any, exception: BaseException, traceback: Any) -> None:
        try:
            taker(exception)
        except BaseException as second:  # Ctrl-C in the middle of it: neither is lost
            taker(exception)
            taker(second)

    def connect(function: Callable[..., None]) -> Callable[..., None]:
        ffi.def_extern(onerror=onerror)(function)
        return function

    return connect


crossing = crossing_to(failed)


def call(callback: Callable[..., object], *arguments: object) -> None:
    """Call one of several callbacks: an exception does not keep the others from theirs."""
    try:
        callback(*arguments)
    except BaseException as exception:
        failed(exception)


# CPython's builtins, see src/_uvbind/python.c; empty elsewhere.
FAST: dict[str, Any] = {"failed": failed}
if sys.implementation.name != "cpython":
    FAST.clear()
elif not lib.uvb_install(ffi.cast("void *", id(FAST))):
    raise ImportError("there was no memory for uvbind's builtins")
