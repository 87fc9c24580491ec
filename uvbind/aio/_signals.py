"""Signal handlers of the loop, which learns of signals from Python's wakeup fd, as asyncio does it.

So a handler of the loop's and one that the program sets with signal.signal() are both called.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import signal
from asyncio import unix_events
from threading import get_ident
from typing import Any

from uvbind import Loop

_Base: Any = unix_events._UnixSelectorEventLoop


class Signals(_Base):  # type: ignore[misc]
    """What EventLoop inherits to call back for signals."""

    uv: Loop

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Have `callback(*args)` called in the loop when the process gets a signal.

        From the main thread only, which is Python's for setting signal handlers.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        wakeup, before = self.uv._wakeup, self._signal_handlers.get(sig)
        try:
            wakeup.keep()
            self._signal_handlers[sig] = asyncio.Handle(callback, args, self, None)
            # A handler in Python is needed for Python to write to the wakeup fd.
            signal.signal(sig, _do_nothing)
            signal.siginterrupt(sig, False)
        except BaseException as error:
            if before is None:
                self._signal_handlers.pop(sig, None)
            else:
                self._signal_handlers[sig] = before
            if not self._signal_handlers:
                wakeup.release()
            if not isinstance(error, (OSError, ValueError)):
                raise
            text = str(error)
            if isinstance(error, OSError) and error.errno == errno.EINVAL:
                text = f"sig {sig} cannot be caught"
            raise RuntimeError(text) from None
        if self.is_running() and self._thread_id != get_ident():
            self.call_soon_threadsafe(wakeup.watch, self.uv._c)

    def remove_signal_handler(self, sig: int) -> bool:
        """Give a signal back to Python's default; tell whether there was a handler."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        signal.signal(sig, default)
        if not self._signal_handlers:
            self.uv._wakeup.release()
        return True

    def _signalled(self) -> None:
        """Make ready the handlers of the signals that came; called by the loop's thread."""
        for sig in self.uv._wakeup.take(self.uv._c):
            handle = self._signal_handlers.get(sig)
            if handle is None:
                continue
            if handle._cancelled:
                self.remove_signal_handler(sig)
            else:
                self._ready.append(handle)
        if self._has_ready():
            self._wake()


def _do_nothing(sig: int, frame: Any) -> None:
    """Python's handler of a signal that the loop has a handler for."""
