"""Cores: what C keeps of Python for a loop, a handle or a request.

A core owns the C memory, everything that C calls, and what libuv reads from or into. The core of a
loop keeps those of the handles and requests that libuv has, from the step that gives them to libuv
on until libuv's last callback of theirs; so no order of lines in Python matters for that, and no
attribute of Python's. On CPython cores are objects of C's (src/_uvbind/python_core.c). This module
has the same where there is no such type, as on PyPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvbind._callbacks import FAST
from uvbind._uvbind import ffi, lib

_ALLOC_CB = ffi.addressof(lib, "uvb_alloc_cb")
_READ_CB = ffi.addressof(lib, "uvb_read_cb")


class Core:
    """The core of a handle or a request, where there is none of C's."""

    def __init__(self, loop: LoopCore, half: Any, pin: Any) -> None:
        self._loop = loop
        self.half = half
        self._pin = pin
        self._lent: Any = None  # memory that reads land in
        self._view: memoryview | None = None  # our own, of all that they land in
        self._asks = False
        self.kept: Any = None

    @property
    def address(self) -> int:
        return int(ffi.cast("uintptr_t", self.half))

    def init(self, kind: int, argument: int) -> int:
        """Have libuv have it; return 0 or libuv's error."""
        self._loop.cores[id(self)] = self  # first: from then on C calls back
        error = int(lib.uvb_handle_init(self.half, kind, argument))
        if error != 0:
            self.release()
        return error

    def release(self) -> None:
        """Keep it no longer: libuv is done with it, or never had it."""
        self._loop.cores.pop(id(self), None)
        self._forget_lent()
        self._pin = self.kept = None

    def read_start(
        self, asks: bool, into: Any, callback: object, protocol: object, raised: object
    ) -> int:
        """Read, into `into` if that is not None; Python has the callbacks."""
        stream = ffi.cast("uv_stream_t *", lib.uvb_handle_uv(self.half))
        error = int(lib.uv_read_start(stream, _ALLOC_CB, _READ_CB))
        if error == 0:
            self._asks = asks
            lib.uvb_handle_asks(self.half, asks)
            if into is None:
                self._return()
            else:
                self.lend(into)
                self._view = into
        return error

    def read_stop(self) -> int:
        stream = ffi.cast("uv_stream_t *", lib.uvb_handle_uv(self.half))
        error = int(lib.uv_read_stop(stream))
        self._return()
        return error

    def forget_calls(self) -> None:
        """Nothing is read any more: here Python alone has what reads were for."""

    queued = 0  # bytes that wait for the end of the turn: none do here

    def flush(self) -> None:
        """Send what waits."""

    def set_bound(self, bound: int) -> None:
        """Say how much may wait."""

    def lend(self, buffer: Any) -> None:
        """Have reads land in a writable buffer: one that was asked for, or all."""
        memory = ffi.from_buffer("char[]", buffer, require_writable=True)
        self._lent = memory
        lib.uvb_handle_read_into(self.half, memory, len(memory))

    def landed(self) -> bool:
        """Tell whether the read was into a buffer; one that was asked for is its owner's again."""
        into = self._lent is not None
        if self._asks and into:
            self._return()
        return into

    def _return(self) -> None:
        lib.uvb_handle_read_into(self.half, ffi.NULL, 0)
        self._forget_lent()

    def _forget_lent(self) -> None:
        """Give the buffer free now: a garbage collector may take its time."""
        lent, view, self._lent, self._view = self._lent, self._view, None, None
        if lent is not None:
            ffi.release(lent)
        if view is not None:
            view.release()

    def recv_start(self, batching: int, callback: object) -> int:
        return int(lib.uvb_udp_recv_start(self.half, batching))

    def poll_start(self, events: int, callback: object) -> int:
        return int(lib.uvb_poll_start(self.half, events))


class LoopCore:
    """The core of a loop, where there is none of C's."""

    def __init__(self, half: Any, pin: Any) -> None:
        self.half = half
        self._pin = pin
        self.cores: dict[int, Core] = {}  # of what libuv has, by id

    @property
    def address(self) -> int:
        return int(ffi.cast("uintptr_t", self.half))

    def handle(self, handle: object, pin: Any, pinned: int) -> Core:
        """Return the core of a handle that libuv does not have yet."""
        half = lib.uvb_handle_new(self.half, pin)
        if half == ffi.NULL:
            raise MemoryError
        return Core(self, ffi.gc(half, lib.uvb_handle_free), pin)

    def request(self, request: object, kept: Any) -> Core:
        """Return the core of a request that is about to be submitted; `kept` libuv reads."""
        pin = ffi.new_handle(request)
        half = lib.uvb_request_new(self.half, pin)
        if half == ffi.NULL:
            raise MemoryError
        core = Core(self, ffi.gc(half, lib.uvb_request_free), pin)
        core.kept = kept
        self.cores[id(core)] = core
        return core

    def run(self, mode: int, thread: int) -> int:
        return int(lib.uvb_loop_run(self.half, mode, thread))

    def close(self) -> int:
        """Close the loop; return 0 or libuv's error. release() comes next."""
        return int(lib.uvb_loop_close(self.half))

    def release(self) -> None:
        """Keep nothing any longer: the loop is closed."""
        self.cores.clear()
        self._pin = None

    def handles(self) -> list[Any]:
        """Return the handles that libuv has, closing ones included."""
        found: list[Any] = []
        pin = ffi.new_handle(found)
        lib.uvb_loop_walk(self.half, pin)
        return found


def _plain_loop_core(loop: object, pin: Any, pinned: int) -> LoopCore | int:
    error = ffi.new("int *")
    half = lib.uvb_loop_new(pin, error)
    if half == ffi.NULL:
        return int(error[0])
    return LoopCore(ffi.gc(half, lib.uvb_loop_free), pin)


_loop_core: Callable[..., Any] = FAST["loop"] if FAST else _plain_loop_core


def pinned(function: Callable[..., Any], thing: object) -> Any:
    """Return the core that `function` makes for a loop or a handle; C crosses by a cffi handle."""
    pin = ffi.new_handle(thing)
    return function(thing, pin, int(ffi.cast("uintptr_t", pin)))


def loop_core(loop: object) -> Any:
    """Return the core of a new loop, or libuv's error."""
    return pinned(_loop_core, loop)


def half(core: Any, ctype: str) -> Any:
    """Return the C half that a core has, for functions that take it."""
    return ffi.cast(ctype, core.address)
