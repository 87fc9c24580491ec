"""The asyncio loop: asyncio's own, with libuv where a selector would wait.

asyncio runs a loop turn by turn: wait in the selector, then call what is ready. Here libuv runs
undivided, and calls a turn of the scheduler right after a poll when one was asked for (`_wake`).
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

from uvbind import Loop, Timer
from uvbind.aio._connections import Connections
from uvbind.aio._metrics import Measured
from uvbind.aio._names import Names
from uvbind.aio._numbers import Numbers
from uvbind.aio._processes import Processes
from uvbind.aio._readiness import Readiness, Selector
from uvbind.aio._scheduler import PURE, PureScheduler
from uvbind.aio._signals import Signals
from uvbind.aio._sockets import Sockets

_Scheduler: Any = PureScheduler
if not PURE:
    from uvbind.aio._scheduler_fast import FastScheduler as _Scheduler


class LoopParts(Measured, Connections, Readiness, Sockets, Names, Numbers, Processes, Signals):
    """The asyncio loop without its scheduler, which comes before it among the bases."""

    _clock_resolution: float  # asyncio's
    _selector: Any

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
        self.uv._failed = self._raised  # type: ignore[method-assign]
        self.uv._signalled = self._signalled  # type: ignore[method-assign]
        self.uv._wakeup.make()
        self._timer = Timer(self.uv)
        self._readiness = self._new_readiness_set()
        selector = Selector(self.uv, self._readiness)
        try:
            super().__init__(selector)
            self._attach()
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
        self._detach()
        for name in ("_failed", "_signalled"):  # methods of ours, which have this loop
            vars(self.uv).pop(name, None)

    @property
    def _nest_patched(self) -> bool:
        """nest_asyncio asks for this before it replaces the loop's methods, and tells why not."""
        raise ValueError(
            "a uvbind loop does not run inside itself, as libuv's does not; "
            "run programs that need nest_asyncio on asyncio's own loop"
        )

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


class EventLoop(_Scheduler, LoopParts):  # type: ignore[misc]
    """An asyncio event loop on libuv. `uv` is the uvbind.Loop below, for its own handles."""


def new_event_loop() -> EventLoop:
    """Return a new event loop, which is not the current one of any thread."""
    return EventLoop()
