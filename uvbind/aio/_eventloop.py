"""The asyncio loop: asyncio's own, with libuv where a selector would wait.

asyncio runs a loop turn by turn: wait in the selector, then call what is ready. Here libuv runs
undivided: what asyncio has to call has libuv call `_turn` right after it has polled (`_wake`).
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import contextlib
import heapq
import math
import sys
import time
from asyncio.log import logger
from threading import get_ident
from typing import Any

from uvbind import Async, Loop, Timer, UVError
from uvbind._uvbind import lib
from uvbind.aio._connections import Connections
from uvbind.aio._metrics import Measured
from uvbind.aio._names import Names
from uvbind.aio._numbers import Numbers
from uvbind.aio._processes import Processes
from uvbind.aio._selector import Selector
from uvbind.aio._signals import Signals
from uvbind.aio._sockets import Sockets

_Base: Any = asyncio.unix_events._UnixSelectorEventLoop
_Handle: Any = asyncio.Handle
_format_handle: Any = asyncio.base_events._format_handle  # type: ignore[attr-defined]
_LONGEST = 2**31 - 1  # milliseconds until it looks again, also at what is never due
_CANCELLED = 100  # so many timers that were cancelled may wait for their time to come
# The clock that libuv's timers agree with. Tests replace one of these and make time jump: then each
# turn looks at the timers, as in asyncio. In a tuple, since freezegun replaces a module's names.
_CLOCK = (time.monotonic, _Base.time)


class EventLoop(Measured, Connections, Sockets, Names, Numbers, Processes, Signals, _Base):  # type: ignore[misc]
    """An asyncio event loop on libuv. `uv` is the uvbind.Loop below, for its own handles."""

    _clock_resolution: float  # asyncio's
    _selector: Any
    _closed = True  # until there is something to close

    def __init__(self) -> None:
        try:
            self.uv = Loop()
            self._set_up()
        except BaseException:
            self._closed = True
            if "uv" in vars(self):
                self.uv.__exit__(None, None, None)
            raise

    def _set_up(self) -> None:
        self.uv._run_later = self._turn  # type: ignore[method-assign]
        self.uv._failed = self._raised  # type: ignore[method-assign]
        self.uv._signalled = self._signalled  # type: ignore[method-assign]
        self._woken = False
        self._timer_due = math.inf
        self._due = False
        self._clock_replaced = False
        self._timer_cancelled_count = 0  # asyncio's
        self.uv._wakeup.make()
        self._timer = Timer(self.uv)
        selector = Selector(self.uv, self._on_ready)
        try:
            super().__init__(selector)
        except BaseException:
            selector.close()
            raise

    def close(self) -> None:
        """Close the loop, and what is left open in `uv`."""
        try:
            self._close_all()
        except BaseException:
            if not self.is_running():  # a signal handler's: asyncio.run() does not call this again
                self._close_all()
            raise

    def _close_all(self) -> None:
        """As close(); callable again after an exception."""
        if not (self._closed or self.is_running() or self.uv._forked):
            self.uv._take_over(get_ident())  # whichever thread it was made in
        super().close()  # raises while it runs
        if self._selector is not None:  # asyncio's close() was cut off, and does nothing then
            self._selector.close()
            self._selector = None
        if not self.uv._forked:
            for transport in self._streams.values():
                transport.leave_socket()
        self.uv.__exit__(None, None, None)
        self._streams.clear()
        for name in (
            "_run_later",
            "_failed",
            "_signalled",
        ):  # methods of ours, which have this loop
            vars(self.uv).pop(name, None)

    @property
    def _nest_patched(self) -> bool:
        """nest_asyncio asks for this before it replaces the loop's methods, and tells why not."""
        raise ValueError(
            "a uvbind loop does not run inside itself, as libuv's does not; "
            "run programs that need nest_asyncio on asyncio's own loop"
        )

    # -- turns

    def _run_once(self) -> None:
        """What asyncio repeats until it is stopped: here libuv repeats it."""
        if self.uv._forked:
            self._run_in_child()
            return
        try:
            self._wake()  # for what was there before the loop ran
            self._signalled()  # also those that an exception left
            self.uv.run()
        except BaseException:
            self._recover()
            raise

    def _run_in_child(self) -> None:
        """A turn in a forked child, without libuv, whose loop is the parent's.

        So a coroutine that forked can end in the child as well, and asyncio.run() can cancel the
        other tasks there. Raises RuntimeError where the loop would have to wait.
        """
        if sys.version_info >= (3, 14):  # whose tasks look, and a child begins with no running loop
            asyncio._set_running_loop(self)
        ready = self._ready
        if not ready and not self._stopping:
            self.uv._raise_unless_usable()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    async def shutdown_default_executor(self, *timeout: Any, **options: Any) -> None:
        """Wait for the threads of the executor to end, of which a forked child has none."""
        if self.uv._forked:
            self._executor_shutdown_called = True
        else:
            await super().shutdown_default_executor(*timeout, **options)

    def _recover(self) -> None:
        """What a signal handler raised may have left any line of ours: look at everything anew."""
        self._woken = False
        self._timer_due = math.inf
        self._waits.rearm()

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

    def _raised(self, exception: BaseException) -> None:
        """What left a callback of `uv` goes where asyncio has what leaves its callbacks go."""
        try:
            if isinstance(exception, (SystemExit, KeyboardInterrupt)):
                raise exception
            message = "Exception in a callback of loop.uv"
            self.call_exception_handler({"message": message, "exception": exception})
            if not self._closed:
                self._recover()
                self._wake()
        except BaseException as last:  # also of the handler
            self.uv._stop_with(last)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As asyncio's; but what ends a forked child is raised.

        From Python 3.14 on a task that forked meets a RuntimeError when its step ends in the child,
        where no loop runs, and that hides the SystemExit.
        """
        exception = context.get("exception")
        if self.uv._forked and type(exception) is RuntimeError:
            hidden, text = exception.__context__, str(exception)
            ends = isinstance(hidden, (SystemExit, KeyboardInterrupt))
            if hidden is not None and ends and text.endswith(" is not the running loop"):
                raise hidden
        super().call_exception_handler(context)

    def _debug_turn(self) -> None:
        """Call what is ready as asyncio does in debug mode, which tells of slow callbacks."""
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            self._current_handle = handle
            try:
                begin = self.time()
                handle._run()
                duration = self.time() - begin
                if duration >= self.slow_callback_duration:
                    text = _format_handle(handle)
                    logger.warning("Executing %s took %.3f seconds", text, duration)
            finally:
                self._current_handle = None
        handle = None  # which a traceback would keep with this frame

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

    def _on_ready(self, events: list[Any]) -> None:
        self._process_events(events)
        self._wake()

    def stop(self) -> None:
        """Have run_forever() return; what is ready by now is still called."""
        super().stop()
        if self._thread_id == get_ident():  # maybe in a protocol's data_received, between turns
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

    # -- other threads

    def _make_self_pipe(self) -> None:
        self._async = Async(self.uv, self._on_async)

    def _close_self_pipe(self) -> None:
        if not self.uv._forked:  # a child that closes the loop leaves it to its parent
            self._async.close()

    def _write_to_self(self) -> None:
        with contextlib.suppress(UVError):  # closed: asyncio too says nothing then
            self._async.send()

    def _on_async(self, handle: Async) -> None:
        self._wake()


def new_event_loop() -> EventLoop:
    """Return a new event loop, which is not the current one of any thread."""
    return EventLoop()
