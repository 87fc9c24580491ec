"""Loops: running them, and the handles and requests that they have.

Facts from libuv's manual, page "uv_loop_t".
"""

from __future__ import annotations

import contextlib
import enum
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from uvbind import _check
from uvbind._callbacks import call, crossing, repeat, running
from uvbind._core import half, loop_core
from uvbind._errors import check, uv_error
from uvbind._loop_inside import LoopInside
from uvbind._ownership import _loops
from uvbind._uvbind import ffi, lib
from uvbind._wakeup import Wakeup

if TYPE_CHECKING:
    from types import TracebackType

    from uvbind._handle import Handle
    from uvbind._request import Request


class RunMode(enum.IntEnum):
    """How long Loop.run runs. Wraps uv_run_mode."""

    DEFAULT = lib.UV_RUN_DEFAULT
    """Until nothing is left to wait for, or stop() is called."""
    ONCE = lib.UV_RUN_ONCE
    """One turn, which waits for an event."""
    NOWAIT = lib.UV_RUN_NOWAIT
    """One turn, without waiting."""


class Loop(LoopInside):
    """An event loop. Wraps uv_loop_t and uv_loop_init.

    A loop is used by one thread at a time: the one that first used it, or the one that runs
    it. When run() has returned, the next thread to use the loop takes it over. Only
    Async.send may come from elsewhere at any time.

    `with Loop() as loop:` closes the handles that are left, cancels the lookups that have not
    begun, waits for those that have, then closes the loop.

    Raises UVError (EMFILE, ENOMEM) when the system has no room for another.
    """

    _core: Any = None  # which keeps all that C needs, and the memory behind the views

    def __init__(self) -> None:
        if self._core is not None:
            raise RuntimeError(f"this {type(self).__name__} has been made already")
        self._failures: deque[BaseException] = deque()
        self._handles: dict[int, Handle] = {}  # by id: subclasses may define == as they like
        self._closing: dict[int, Handle] = {}  # those of them whose close() is not through
        self._requests: set[Request] = set()
        self._later: deque[Callable[[], object]] = deque()  # to be called in the next turn
        self._wakeup = Wakeup()

        core = loop_core(self)
        if core.__class__ is int:
            raise uv_error(core, "uv_loop_init")
        self._core = core
        self._c = c = half(core, "uvb_loop *")
        self._uv = lib.uvb_loop_uv(c)
        _loops.add(self)

    # -- running

    def run(self, mode: RunMode = RunMode.DEFAULT) -> bool:
        """Run the loop and tell whether there is more to do.

        `mode` is a RunMode. An exception that a callback raised stops the loop and is raised
        here; several of one turn are raised one per call, in their order. Ctrl-C ends a
        waiting loop at once. Raises RuntimeError when the loop runs already. Wraps uv_run.
        """
        mode = RunMode(mode)
        self._raise_unless_usable()
        self._raise_failure()
        more = self._run(mode)
        self._raise_failure()
        return more

    def _run(self, mode: RunMode) -> bool:
        c, core = self._c, self._core
        self._raise_unless_usable()
        if c.running:
            raise RuntimeError("run: the loop is running already")
        me = get_ident()
        self._take_over(me)
        try:
            self._wakeup.start(c)
            with self._entered():
                for handle in list(self._closing.values()):  # an exception may have cut it off
                    handle._go_on_closing()
                more = core.run(mode, me)
        finally:
            self._wakeup.stop()
        if more < 0:
            raise RuntimeError("run: the loop is running already")
        return bool(more)

    def stop(self) -> None:
        """Make run() return after the current turn. Wraps uv_stop."""
        self._use()
        lib.uv_stop(self._uv)

    def alive(self) -> bool:
        """Tell whether there are active handles, requests or closing handles.

        Wraps uv_loop_alive.
        """
        self._use()
        return bool(lib.uv_loop_alive(self._uv)) or bool(self._closing)

    def close(self) -> None:
        """Close the loop; a second call does nothing.

        Raises UVError (EBUSY) while handles are open or requests pending, RuntimeError while
        it runs, and what run() has left to raise. Wraps uv_loop_close.
        """
        if self._c is None:
            return
        if self._c.closed:  # an exception came after that
            self._end()
            return
        if self._c.running:
            raise RuntimeError("close: the loop is running; call stop() and return from run()")
        self._use()
        self._raise_failure()
        if self._handles or self._closing or self._pending():
            raise uv_error(lib.UV_EBUSY, f"close: {self._left()} left")
        self._end()
        self._raise_failure()

    def __enter__(self) -> Loop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._forked:
            return  # a child that leaves the block: the loop is its parent's
        if self._c is None:
            return
        try:
            self._close_all()
        except BaseException:  # a signal handler's, or else it is raised again
            self._close_all()
            raise
        failures, self._failures = self._failures, deque()
        _raise_all(failures)

    def _close_all(self) -> None:
        """Close the handles that are left, then the loop; callable again after an exception."""
        if self._c is None:
            return
        while not self._c.closed and (self._handles or self._closing or self._pending()):
            for handle in list(self._handles.values()):
                handle.close()
            for request in list(self._requests):
                request._give_up()
            self._run(RunMode.ONCE)
        self._end()

    def _end(self) -> None:
        """Have libuv forget the loop, and forget libuv; callable again after an exception."""
        check(self._core.close(), "uv_loop_close")
        with self._entered():
            self._core.release()
        self._requests.clear()  # an exception may have kept some from libuv
        self._wakeup.close()
        _loops.discard(self)
        self._c = self._uv = None  # last: until then close() goes on

    def __del__(self) -> None:
        # Only a warning: closing needs the loop to run. The C memory stays, for libuv's
        # threads and signal handlers may still look at it.
        if self._c is not None and not self._forked:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __repr__(self) -> str:
        state = "closed" if self._c is None else f"with {self._left()}"
        return f"<{type(self).__name__} {state}>"

    # -- looking inside

    def walk(self, callback: Callable[[Handle], object]) -> None:
        """Call `callback(handle)` for every handle, closing ones included. Wraps uv_walk.

        The first exception that the callback raises ends the walk and is raised here.
        """
        _check.function("callback", callback)
        self._use()
        with self._entered():
            found = self._core.handles()
        self._raise_failure()
        for handle in found:
            callback(handle)

    # -- fork

    def fork(self) -> None:
        """Make the loop usable in a child process made with os.fork(). Wraps uv_loop_fork.

        Until then everything but this raises RuntimeError in the child. Raises RuntimeError
        when there was no fork, inside a callback, or when another thread was running the loop
        at the time of the fork: half a turn of it is nothing to go on with.
        """
        if self._c is None:
            raise RuntimeError("the loop is closed")
        if not self._forked:
            raise RuntimeError("fork: there was no os.fork() since the loop was made")
        if self in running():
            raise RuntimeError("fork: return from run() first; this is inside a callback")
        if self._c.running:
            raise RuntimeError("fork: another thread was running the loop; make a new one")
        # Parent and child share our own pipes: the child puts new ones in their places.
        self._wakeup.fork()
        check(lib.uvb_loop_fork(self._c), "uv_loop_fork")
        for handle in self._handles.values():
            handle._after_fork()
        for request in list(self._requests):
            request._after_fork()
        self._forked = False

    # -- for the other modules

    def _is_running(self) -> bool:
        return self._c is not None and bool(self._c.running)

    def _pending(self) -> int:
        return int(lib.uvb_loop_active_requests(self._c)) + len(self._later)

    def _left(self) -> str:
        kinds = (
            ", ".join(sorted(type(handle).__name__ for handle in self._handles.values())) or "none"
        )
        return f"handles: {kinds:.200}; pending requests: {self._pending()}"

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """What C calls back in the meantime reports its exceptions to this loop."""
        stack = running()
        # An exception may have kept some from being taken off.
        stack[:] = [loop for loop in stack if loop._is_running()]
        depth = len(stack)
        stack.append(self)
        try:
            yield
        finally:
            del stack[depth:]

    def _call_later(self, function: Callable[[], object]) -> None:
        """Call a function from the loop, when the verb that is under way has returned.

        It is called again when an exception has cut it off, and goes on then.
        """
        lib.uvb_loop_later(self._c)  # first: what waits here alone would wait for ever
        self._later.append(function)

    def _run_later(self, early: bool) -> bool:
        """Call what is there by now, and tell whether there is more, for another turn.

        `early`: this is in the middle of a poll, before what the poll has found.
        """
        for _ in range(len(self._later)):
            repeat(self._later[0])
            self._later.popleft()
        return bool(self._later)

    def _signalled(self) -> None:
        """Signals came, and Python's handlers were called: an asyncio loop has its own as well."""
        self._wakeup.take(self._c)

    def _failed(self, exception: BaseException) -> None:
        """A callback has raised: an asyncio loop does otherwise."""
        self._stop_with(exception)

    def _stop_with(self, exception: BaseException) -> None:
        """Have run() return, and raise that."""
        self._failures.append(exception)
        lib.uv_stop(self._uv)

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures.popleft()


def _raise_all(failures: deque[BaseException]) -> None:
    """Raise the failures, if any: the last, with the others as its context."""
    if failures:
        try:
            raise failures.popleft()
        finally:
            _raise_all(failures)


@crossing
def uvb_on_exhausted(pointer: Any) -> None:
    for handle in list(ffi.from_handle(pointer)._handles.values()):
        call(handle._exhausted)


@crossing
def uvb_on_later(pointer: Any, early: int) -> None:
    loop = ffi.from_handle(pointer)
    if not loop._run_later(bool(early)):
        lib.uvb_loop_not_later(loop._c)


@crossing
def uvb_on_walk(pointer: Any, found: Any) -> None:
    ffi.from_handle(found).append(ffi.from_handle(pointer))
