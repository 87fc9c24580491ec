"""Tasks that wait once for descriptors of the program's, which may close them at any time.

They are in a set of the kernel's own, as those of `_readiness` are, and libuv polls the set. A
descriptor stays there after its event, disarmed by EPOLLONESHOT: the next wait is one system call,
and an entry of a descriptor that was closed stays silent, even when its number is used again.
CPython has the set and the waits in C on Linux, see src/_uvbind/python_waits.c.
"""

from __future__ import annotations

import contextlib
import contextvars
import select
import selectors
import types
from collections import deque
from collections.abc import Generator
from itertools import starmap
from typing import Any

from uvbind import Loop

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_AT_ONCE = 256  # what more is ready comes in the next turn
if hasattr(select, "epoll"):
    _IN, _OUT, _ONESHOT = select.EPOLLIN, select.EPOLLOUT, select.EPOLLONESHOT
    _ONCE = (0, _IN | _ONESHOT, _OUT | _ONESHOT, _IN | _OUT | _ONESHOT)  # by READ | WRITE


_NONE = [].clear  # a function of C's that returns None


class Wait:
    """What a task waits for in the place of a future: it goes on at once, not a turn later."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_go_on",
        "_loop",
        "_waiting",
        "get_loop",
        "result",
    )

    def __init__(self, loop: Any) -> None:
        self._asyncio_future_blocking = True  # asyncio's sign for: somebody awaits it
        self._waiting: list[Any] = []  # the task's callback, until it is called
        self._go_on: Any = None
        self._loop = loop
        self.get_loop = loop._itself  # a function of C's: no signal handler runs in it
        self.result: Any = _NONE

    def ready(self) -> None:
        """Have the task go on, unless it does already.

        A signal handler may cut this off at any line; called again, it goes on.
        """
        if self._loop._debug:  # which measures what it calls itself
            self.ready_later()
        elif self._waiting:
            next(self._go_on, None)

    def ready_later(self) -> None:
        """As ready(), in the loop's next turn."""
        if not self._waiting:
            return
        if self._loop._debug:
            callback, _ = self._waiting.pop()
            self._loop.call_soon(callback, self, context=self._context)
        else:
            self._loop.call_soon(next, self._go_on, None)

    # What a task asks of a future, and who looks at what tasks wait for.

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        waiting = [(callback, self)]
        self._context = context = context or contextvars.copy_context()
        # The first next() of it takes the callback and calls it, in one step of C's.
        self._go_on = starmap(context.run, map(list.pop, (waiting,)))
        self._waiting = waiting

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        # A future's: a frame of ours in the traceback would keep the task, and that the traceback.
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        self.ready_later()
        self.result = cancelled.result
        return True

    def remove_done_callback(self, callback: Any) -> int:
        if not self._waiting or self._waiting[0][0] != callback:
            return 0
        self._waiting.clear()
        return 1

    def done(self) -> bool:
        return not self._waiting or self.cancelled()

    def cancelled(self) -> bool:
        return self.result is not _NONE

    def exception(self) -> None:
        self.result()


Waiting = dict[int, list[Wait]]  # by descriptor


class Waits:
    """Those of one loop: `readers` and `writers`, each by descriptor."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._uv: Loop = loop.uv
        self.readers: Waiting = {}
        self.writers: Waiting = {}
        self._told: deque[Wait] = deque()  # to go on now
        self._set: Any = _EpollSet() if hasattr(select, "epoll") else _SelectorSet()
        self.fileno = self._set.fileno

    def reading(self, fd: int) -> Any:
        """Return what a coroutine awaits until reading is worth another try."""
        return self._until(self.readers, fd)

    def writing(self, fd: int) -> Any:
        """Return what a coroutine awaits until writing is worth another try."""
        return self._until(self.writers, fd)

    @types.coroutine
    def _until(self, waiting: Waiting, fd: int) -> Generator[Wait, None, None]:
        if self._uv._forked or self._uv._c is None:  # the kernel's set is the parent's, or closed
            self._uv._raise_unless_usable()
        wait = Wait(self._loop)
        if fd in waiting:
            waiting[fd].append(wait)
        else:
            waiting[fd] = [wait]
        try:
            self._arm(fd)
            yield wait  # which is what awaiting a future comes to
        except BaseException:
            self._give_up(waiting, fd, wait)
            raise

    def release(self, fd: int) -> None:
        """Take a descriptor out of the set, if nobody waits for it."""
        if fd not in self.readers and fd not in self.writers and not self._uv._forked:
            self._set.disarm(fd)

    def rearm(self) -> None:
        """Have the set tell once more what is ready: somebody may not have been told."""
        self._tell_later()
        for fd in {*self.readers, *self.writers}:
            for wait in self._arm_again(fd):
                wait.ready_later()

    def close(self) -> None:
        """Have nobody wait any more."""
        self.readers.clear()
        self.writers.clear()
        self._told.clear()
        self._set.close()
        self._loop = None  # which has this

    def _arm(self, fd: int) -> None:
        self._set.arm(
            fd, (READ if fd in self.readers else 0) | (WRITE if fd in self.writers else 0)
        )

    def _arm_again(self, fd: int) -> list[Wait]:
        """As _arm(); returns whom nothing will be told."""
        try:
            self._arm(fd)
        except OSError:  # closed in the meantime, as their next call says
            return [*self.readers.pop(fd, ()), *self.writers.pop(fd, ())]
        return []

    def _give_up(self, waiting: Waiting, fd: int, wait: Wait) -> None:
        waits = waiting.get(fd, [])
        if wait in waits:
            waits.remove(wait)
            if not waits:
                del waiting[fd]
                self.release(fd)

    def on_ready(self, *event: Any) -> None:
        """libuv has found the set readable: have the tasks go on that wait for that."""
        readers, writers = self.readers, self.writers
        readable, writable = self._set.readable, self._set.writable
        told = self._told
        for fd, events in self._set.ready():
            if events & readable and fd in readers:
                told += readers[fd]
                del readers[fd]  # after that: a signal handler may come between any two steps
            if events & writable and fd in writers:
                told += writers[fd]
                del writers[fd]
            if fd in readers or fd in writers:
                told += self._arm_again(fd)
        while told and not self._loop._has_ready():  # what was ready before goes first
            told[0].ready()
            told.popleft()
        if told:
            self._tell_later()

    def _tell_later(self) -> None:
        """Have those go on that have been told, or that an exception has cut off before."""
        while self._told:
            self._told[0].ready_later()
            self._told.popleft()


class _EpollSet:
    """What epoll watches, each descriptor until its next event."""

    def __init__(self) -> None:
        self.readable, self.writable = ~_OUT, ~_IN  # errors and the peer's end are for both
        self._epoll = epoll = select.epoll()
        self.fileno, self.close, self._modify = epoll.fileno, epoll.close, epoll.modify
        self._known: set[int] = set()  # what is in the set, unless it has been closed since

    def arm(self, fd: int, events: int) -> None:
        mask = _ONCE[events]
        if fd in self._known:
            try:
                self._modify(fd, mask)
                return
            except FileNotFoundError:  # that was another file of this number
                self._known.discard(fd)
        try:
            self._epoll.register(fd, mask)
        except FileExistsError:  # Ctrl-C came before the next line
            self._modify(fd, mask)
        self._known.add(fd)

    def disarm(self, fd: int) -> None:
        if fd in self._known:
            self._known.discard(fd)
            if self._epoll.closed:  # a coroutine has outlived its loop
                return
            with contextlib.suppress(OSError):  # closed, and perhaps its number used again
                self._epoll.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        return self._epoll.poll(0, _AT_ONCE)


class _SelectorSet:
    """The same where there is no epoll."""

    readable, writable = READ, WRITE

    def __init__(self) -> None:
        self._selector: Any = selectors.DefaultSelector()
        self.fileno, self.close = self._selector.fileno, self._selector.close

    def arm(self, fd: int, events: int) -> None:
        self.disarm(fd)
        self._selector.register(fd, events)

    def disarm(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        found = [(key.fd, events) for key, events in self._selector.select(0)]
        for fd, _ in found:
            self.disarm(fd)
        return found
