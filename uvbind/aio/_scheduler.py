"""The scheduler of the asyncio loop in Python: ready callbacks and timers.

PyPy uses it, and CPython when the environment has UVBIND_PURE=1; else CPython has the same in C,
see _scheduler_fast.py.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import os
import time
from threading import get_ident
from typing import Any

from uvbind import Loop, Timer
from uvbind._callbacks import FAST
from uvbind._uvbind import lib
from uvbind.aio._readiness import ReadinessSet
from uvbind.aio._turns import Turns
from uvbind.aio._waits import Waits

_Base: Any = asyncio.unix_events._UnixSelectorEventLoop
_Handle: Any = asyncio.Handle
_LONGEST = 2**31 - 1  # milliseconds until it looks again, also at what is never due
_CANCELLED = 100  # so many timers that were cancelled may wait for their time to come
# The clock that libuv's timers agree with. Tests replace one of these and make time jump: then each
# turn looks at the timers, as in asyncio. In a tuple, since freezegun replaces a module's names.
_CLOCK = (time.monotonic, _Base.time)


# Whether this process uses the scheduler in Python.
PURE = os.environ.get("UVBIND_PURE", "") not in ("", "0") or "scheduler_type" not in FAST


class PureScheduler(Turns):
    """Calls what is ready, on asyncio's own queues: `_ready` and `_scheduled`."""

    _closed = True  # until there is something to close
    _timer_cancelled_count: int  # asyncio's
    _woken = False
    _timer_due = math.inf
    _due = False
    _clock_replaced = False

    def _attach(self) -> None:
        """Have libuv call the turns."""
        # No function in Python: some have a callback in hand when they ask, which a signal handler
        # that raises there would lose.
        self._has_ready = self._ready.__len__
        self.uv._run_later = self._turn  # type: ignore[method-assign]

    def _new_readiness_set(self) -> Any:
        return ReadinessSet(self)

    def _new_waits(self) -> Any:
        return Waits(self)

    def _detach_wakeup(self) -> None:
        """The Async is about to be closed: its own lock keeps other threads off."""

    def _detach(self) -> None:
        """The loop is closed."""
        vars(self.uv).pop("_run_later", None)  # a method of ours, which has this loop

    def _forget_turn(self) -> None:
        """An exception may have left a turn or a timer here that libuv does not have."""
        self._woken = False
        self._timer_due = math.inf

    def _wake(self) -> None:
        """Have a turn come when what runs now has returned; for the loop's thread only."""
        if not self._woken:
            lib.uvb_loop_later(self.uv._c)
            self._woken = True  # not before it is so: Ctrl-C may come at any line

    def _turn(self, early: bool) -> bool:
        """Call what is ready by now, as one turn of asyncio's, and tell whether there is more.

        `early`: this is before what a poll has found; timers that are due come after that.
        """
        uv = self.uv
        if uv._failures and not self._closed:  # run() is about to raise, the rest is the next one's
            return True
        if uv._later:
            Loop._run_later(uv, early)
        if self._closed:
            return bool(uv._later)
        self._woken = True
        try:
            if self._scheduled and not early:
                replaced = time.monotonic is not _CLOCK[0] or (
                    getattr(self.time, "__func__", None) is not _CLOCK[1]
                )
                if replaced or self._clock_replaced:  # libuv's timer may have been set by it
                    self._due, self._timer_due = True, math.inf
                    self._clock_replaced = replaced
            if not early and (self._due or self._timer_cancelled_count > _CANCELLED):
                self._take_due()
            if self._debug:
                self._debug_turn()
            else:
                ready = self._ready
                for _ in range(len(ready)):
                    handle = ready.popleft()
                    if not handle._cancelled:
                        handle._run()
                handle = None  # which a traceback would keep with this frame, and it the traceback
            if self._stopping:
                uv.stop()
            self._woken = bool(self._ready)
            if self._scheduled and self._scheduled[0]._when != self._timer_due:
                self._start_timer(self._scheduled[0]._when)
        except BaseException as exception:  # SystemExit, Ctrl-C, and what a clock of its own raises
            uv._stop_with(exception)
            return True
        return self._woken or self._due or bool(uv._later)

    def _take_due(self) -> None:
        """Make ready what is due, and forget timers that were cancelled, as asyncio does."""
        self._due = False
        scheduled = self._scheduled
        if self._timer_cancelled_count > max(_CANCELLED, len(scheduled) // 2):
            for handle in scheduled:
                handle._scheduled = not handle._cancelled
            scheduled[:] = [handle for handle in scheduled if handle._scheduled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
        now = self.time()
        while scheduled and (scheduled[0]._cancelled or not scheduled[0]._when > now):  # or NaN
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if handle._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(handle)

    def _start_timer(self, when: float) -> None:
        """Take a turn at that time. It may be before it, which the turn sees, and starts anew."""
        if self.uv._forked:
            return  # until its fork() was called, then the next turn does it
        self.uv.update_time()
        delay = min(max(0.0, when - self.time()) * 1000, _LONGEST)
        self._timer.start(self._on_timer, math.ceil(delay))
        self._timer_due = when  # not before it is so: Ctrl-C may come at any line

    def _on_timer(self, timer: Timer) -> None:
        self._timer_due = math.inf
        self._due = True
        self._wake()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if self._debug or self._closed:
            handle: Any = super().call_soon(callback, *args, context=context)
            if handle._source_traceback:  # asyncio too takes itself off
                del handle._source_traceback[-1]
        else:
            handle = _Handle(callback, args, self, context)
            self._ready.append(handle)
        # Not before the loop runs, which begins with a turn, and never from another thread, where
        # asyncio lets the mistake pass outside of its debug mode.
        if not self._woken and self._thread_id == get_ident():
            lib.uvb_loop_later(self.uv._c)  # _wake(), without another call
            self._woken = True
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle: Any = super().call_at(when, callback, *args, context=context)
        if handle._source_traceback:
            del handle._source_traceback[-1]
        if (
            self._scheduled[0] is handle
            and not self._woken  # a turn that comes looks at it anyway
            and self._thread_id == get_ident()
        ):
            self._start_timer(when)
        return handle
