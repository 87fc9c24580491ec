"""Crossings from C into Python: how they are entered, and where their exceptions go.

The crossings are declared in src/_uvbind/cdef/callbacks.h; the module of each handle defines
its own with the `crossing` decorator. Whatever one of them raises, an exception raised before
its first line included, reaches `failed`, and from there the loop that is running.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from uvbind._uvbind import ffi, lib


class Running(Protocol):
    """What `failed` asks of a running loop."""

    def _failed(self, exception: BaseException) -> None: ...
    def _stop_with(self, exception: BaseException) -> None: ...
    def _is_running(self) -> bool: ...


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
    """Make a function the Python side of the crossing of its name; `taker` gets what it raises.

    A signal handler may raise in it before it has called the program's callback, which is the last
    line of each such function: then the function is called again.
    """

    def take(exception: BaseException) -> None:
        try:
            taker(exception)
        except BaseException as second:  # Ctrl-C in the middle of it: neither is lost
            taker(exception)
            taker(second)

    def connect(function: Callable[..., None]) -> Callable[..., None]:
        code = function.__code__
        last = max(line for _, _, line in code.co_lines() if line is not None)

        def onerror(kind: Any, exception: BaseException, traceback: Any) -> None:
            take(exception)
            if traceback is None or traceback.tb_frame.f_code is not code:
                return
            if traceback.tb_lineno != last:
                values = traceback.tb_frame.f_locals
                try:
                    function(*[values[name] for name in code.co_varnames[: code.co_argcount]])
                except BaseException as second:
                    take(second)

        ffi.def_extern(onerror=onerror)(function)
        return function

    return connect


crossing = crossing_to(failed)


def repeat(function: Callable[[], object]) -> None:
    """Call a function of ours, once more when an exception has cut it off: it goes on then."""
    for _ in range(2):
        try:
            function()
            return
        except BaseException as exception:
            failed(exception)


def call(callback: Callable[..., object], *arguments: object) -> None:
    """Call one of several callbacks: an exception does not keep the others from theirs."""
    try:
        callback(*arguments)
    except BaseException as exception:
        failed(exception)


def take_first(things: deque[Any], function: Callable[..., object], *arguments: object) -> None:
    """Take the first thing and call the function with it and the arguments, in one step of C's.

    No signal handler runs in between, so that the thing is neither lost nor taken twice.
    """
    next(map(function, map(deque.popleft, (things,)), *zip(arguments)))


def call_first(callbacks: deque[Callable[..., object]], *arguments: object) -> None:
    """Take the first of several callbacks and call it."""
    take_first(callbacks, operator.call, *arguments)


def call_next(callbacks: deque[Any], *arguments: object) -> None:
    """As call_first(); what the callback raises is for the loop."""
    try:
        call_first(callbacks, *arguments)
    except BaseException as exception:
        failed(exception)


# CPython's builtins, see src/_uvbind/python.c; empty elsewhere.
FAST: dict[str, Any] = {"failed": failed}
if sys.implementation.name != "cpython":
    FAST.clear()
elif not lib.uvb_install(ffi.cast("void *", id(FAST))):
    raise ImportError("there was no memory for uvbind's builtins")
