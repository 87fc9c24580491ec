"""Turns of the asyncio loop: the Python that both schedulers share.

asyncio repeats `_run_once` until the loop is stopped. Here libuv repeats its iterations, and calls
a turn of the scheduler right after it has polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.log import logger
from threading import get_ident
from typing import Any

from uvbind import Async, Loop, Timer, UVError

_Base: Any = asyncio.unix_events._UnixSelectorEventLoop
_format_handle: Any = asyncio.base_events._format_handle  # type: ignore[attr-defined]


class Turns(_Base):  # type: ignore[misc]
    """What the loop inherits to run turn by turn, beside a scheduler."""

    uv: Loop
    _closed: bool
    _timer: Timer
    _async: Async

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
        self._forget_turn()
        self._waits.rearm()

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

    def stop(self) -> None:
        """Have run_forever() return; what is ready by now is still called."""
        super().stop()
        if self._thread_id == get_ident():  # maybe in a protocol's data_received, between turns
            self._wake()

    # -- other threads

    def _make_self_pipe(self) -> None:
        self._async = Async(self.uv, self._on_async)

    def _close_self_pipe(self) -> None:
        if not self.uv._forked:  # a child that closes the loop leaves it to its parent
            self._detach_wakeup()
            self._async.close()

    def _write_to_self(self) -> None:
        with contextlib.suppress(UVError):  # closed: asyncio too says nothing then
            self._async.send()

    def _on_async(self, handle: Async) -> None:
        self._wake()
