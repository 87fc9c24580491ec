"""Who may use a loop: one thread at a time, and of two processes the one that made it."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar

from uvbind._callbacks import running
from uvbind._uvbind import lib

if TYPE_CHECKING:
    from uvbind._loop import Loop

F = TypeVar("F", bound=Callable[..., object])
_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
_claiming = threading.Lock()  # held while a thread makes a loop its own
# PyPy's compiled code does not always survive that another thread looks at its frames.
_FRAMES = sys.implementation.name != "pypy"
_for_any_thread: set[CodeType] = set()
_LONGEST_VERB = 0.02  # seconds: many times what any takes, lookups aside


def for_any_thread(function: F) -> F:
    """Mark a verb that does not use the loop, so that others may run it meanwhile."""
    _for_any_thread.add(function.__code__)
    return function


class Owned:
    """What Loop inherits to know its owner."""

    _c: Any = None  # until it is made, and when it is closed
    _uv: Any = None
    _forked = False

    def _use(self) -> None:
        """Raise unless this thread may use the loop; every verb of every handle asks."""
        c = self._c
        if c is None or c.owner != get_ident():
            with _claiming:
                self._raise_unless_usable()
                c = self._c
                if c.owner != 0:
                    raise RuntimeError(
                        "the loop is in use by another thread; reach it with Async.send from here"
                    )
                c.owner = get_ident()

    def _take_over(self, me: int) -> None:
        """Let this thread run what another has set up, unless that is in the middle of it."""
        with _claiming:
            self._raise_unless_usable()
            before, self._c.owner = self._c.owner, me
            if before in (0, me):
                return
            # From now on a verb in the other thread raises; one that it had begun shows here.
            if self._is_used_by(before):
                self._c.owner = before
                raise RuntimeError("run: another thread is using the loop right now")

    def _is_used_by(self, thread: int) -> bool:
        if not _FRAMES:
            time.sleep(_LONGEST_VERB)
            return bool(self._c.looking_up)
        frame = sys._current_frames().get(thread)
        while frame is not None and frame.f_globals.get("__package__") == "uvbind":
            for name in ("self", "loop"):
                user = frame.f_locals.get(name)
                uses = user is self or getattr(user, "_loop", None) is self
                if uses and frame.f_code not in _for_any_thread:
                    return True
            frame = frame.f_back
        return False

    def _raise_unless_usable(self) -> None:
        if self._c is None or self._c.closed:
            raise RuntimeError("the loop is closed")
        if self._forked:
            raise RuntimeError(
                "the loop is the parent process's; call its fork() first (asyncio: loop.uv.fork())"
            )


def _after_fork_in_child() -> None:
    global _claiming
    _claiming = threading.Lock()
    for loop in list(_loops):
        loop._forked = loop._c is not None
        if loop._c is not None:
            loop._c.owner = 0
            lib.uvb_loop_forked(loop._c)
            loop._wakeup.forked()
            if loop in running():  # forked in a callback: out of here
                lib.uv_stop(loop._uv)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
