"""Readers and writers: the descriptors that a program has the loop watch.

They are in a set of the kernel, whose descriptor libuv polls. A program may close a descriptor at
any time, which the kernel forgives and libuv does not. CPython has the set in C on Linux, see
src/_uvbind/python_readiness.c.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
from asyncio import selector_events
from typing import Any

from uvbind import Loop, Poll, PollEvent

_Base: Any = selector_events.BaseSelectorEventLoop
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_SIDES = {READ: 0, WRITE: 1}  # where an entry has the handle of each
_AT_ONCE = 512  # events; the others come in the next turn


def polled(uv: Loop, kernel_set: Any) -> Poll:
    """Have libuv call `on_ready` of a set when one of its descriptors is ready."""
    try:
        poll = Poll(uv, kernel_set.fileno())
        poll._retry()
        poll.start(PollEvent.READABLE, kernel_set.on_ready)
    except BaseException:
        kernel_set.close()
        raise
    return poll


class _Epoll:
    """The kernel's set on Linux."""

    def __init__(self) -> None:
        self._epoll = epoll = select.epoll()
        self.fileno, self.close = epoll.fileno, epoll.close

    def add(self, fd: int, events: int) -> None:
        mask = _mask(events)
        try:
            self._epoll.register(fd, mask)
        except FileExistsError:  # a signal handler has raised before the entry was made
            self._epoll.modify(fd, mask)

    def change(self, fd: int, events: int) -> bool:
        """Watch for other events; False: the descriptor was closed, and another has its number."""
        try:
            self._epoll.modify(fd, _mask(events))
        except FileNotFoundError:
            return False
        return True

    def remove(self, fd: int) -> None:
        with contextlib.suppress(OSError):  # closed, and perhaps its number used again
            self._epoll.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        found = self._epoll.poll(0, _AT_ONCE)
        return [  # errors and the peer's end are for both
            (fd, (mask & ~select.EPOLLOUT and READ) | (mask & ~select.EPOLLIN and WRITE))
            for fd, mask in found
        ]


def _mask(events: int) -> int:
    return (events & READ and select.EPOLLIN) | (events & WRITE and select.EPOLLOUT)


class _Plain:
    """The kernel's set where there is no epoll."""

    def __init__(self) -> None:
        self._selector: Any = selectors.DefaultSelector()
        self.fileno, self.close = self._selector.fileno, self._selector.close

    def add(self, fd: int, events: int) -> None:
        self.remove(fd)
        self._selector.register(fd, events)

    def change(self, fd: int, events: int) -> bool:
        self.add(fd, events)
        return True

    def remove(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def ready(self) -> list[tuple[int, int]]:
        return [(key.fd, events) for key, events in self._selector.select(0)]


class _Entry:
    """The handles of a descriptor, and the object that the program gave for it."""

    __slots__ = ("handles", "object")

    def __init__(self, fileobj: Any) -> None:
        self.object = fileobj
        self.handles: list[Any] = [None, None]

    def events(self) -> int:
        reader, writer = self.handles
        return (READ if reader is not None else 0) | (WRITE if writer is not None else 0)


class ReadinessSet:
    """The readers and writers of one loop, by descriptor.

    A signal handler may raise between any two lines. The kernel's set changes first: an event of a
    descriptor that has no entry yet takes it out of that set again.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._kernel: Any = _Epoll() if hasattr(select, "epoll") else _Plain()
        self.fileno = self._kernel.fileno
        self._entries: dict[int, _Entry] = {}

    def add_reader(self, fd: int, fileobj: Any, callback: Any, *args: Any, **options: Any) -> Any:
        return self._add(READ, fd, fileobj, callback, args, options)

    def add_writer(self, fd: int, fileobj: Any, callback: Any, *args: Any, **options: Any) -> Any:
        return self._add(WRITE, fd, fileobj, callback, args, options)

    def remove_reader(self, fd: int) -> bool:
        return self._remove(READ, fd)

    def remove_writer(self, fd: int) -> bool:
        return self._remove(WRITE, fd)

    def forget(self, fd: int) -> tuple[Any, Any] | None:
        """Watch a descriptor no more, and return its handles, which are not cancelled."""
        entry = self._entries.get(fd)
        if entry is None:
            return None
        self._loop._check_watching()
        self._kernel.remove(fd)
        self._entries.pop(fd, None)
        reader, writer = entry.handles
        return reader, writer

    def list(self) -> list[tuple[int, Any, tuple[Any, Any]]]:
        """Return each descriptor with the program's object for it, and its handles."""
        return [
            (fd, None if entry.object == fd else entry.object, (*entry.handles,))
            for fd, entry in self._entries.items()
        ]

    def close(self) -> None:
        self._kernel.close()
        self._entries.clear()
        self._loop = None  # which has this

    def on_ready(self, *event: Any) -> None:
        """libuv has found the set readable: make ready what waits for that."""
        loop = self._loop
        for fd, events in self._kernel.ready():
            entry = self._entries.get(fd)
            if entry is None:
                self._kernel.remove(fd)
                continue
            for side, place in _SIDES.items():
                handle = entry.handles[place]
                if events & side and handle is not None:
                    loop._add_callback(handle)
        loop._wake()

    def _add(self, side: int, fd: int, fileobj: Any, callback: Any, args: Any, options: Any) -> Any:
        if self._loop is None:
            raise RuntimeError("Event loop is closed")
        self._loop._check_watching()
        handle = self._loop._new_handle(callback, *args, **options)
        if fd < 0:
            raise ValueError(f"Invalid file descriptor: {fd}")
        while (entry := self._entries.get(fd)) is not None:
            try:
                same = self._kernel.change(fd, entry.events() | side)
            except OSError:  # it is closed
                self._drop(fd)
                raise
            if same:
                break
            self._drop(fd)  # a callback that goes may have the number watched in its __del__
        else:
            self._kernel.add(fd, side)
            entry = self._entries[fd] = _Entry(fileobj)
        before, entry.handles[_SIDES[side]] = entry.handles[_SIDES[side]], handle
        if before is not None:
            before.cancel()
        return handle

    def _remove(self, side: int, fd: int) -> bool:
        entry = self._entries.get(fd)
        if entry is None:
            return False
        handle = entry.handles[_SIDES[side]]
        if handle is None or self._loop._closed:
            return False
        self._loop._check_watching()
        left = entry.events() & ~side
        same = False
        if left:
            with contextlib.suppress(OSError):
                same = self._kernel.change(fd, left)
        if same:
            entry.handles[_SIDES[side]] = None
            handle.cancel()
        else:
            self._kernel.remove(fd)
            self._drop(fd)
        return True

    def _drop(self, fd: int) -> None:
        """Forget a descriptor, and cancel what waits for it."""
        entry = self._entries.pop(fd, None)
        for handle in filter(None, entry.handles if entry else ()):
            handle.cancel()


class Selector:
    """What asyncio and programs ask of `loop._selector`; it does not wait, and changes nothing."""

    def __init__(self, uv: Loop, watched: Any) -> None:
        self._uv = uv
        self._set = watched
        self._poll = polled(uv, watched)

    def get_map(self) -> dict[int, selectors.SelectorKey]:
        """Return the descriptors that are watched, with what `selectors` tells of each."""
        found = {}
        for fd, fileobj, (reader, writer) in self._set.list():
            events = (READ if reader is not None else 0) | (WRITE if writer is not None else 0)
            fileobj = fd if fileobj is None else fileobj
            found[fd] = selectors.SelectorKey(fileobj, fd, events, (reader, writer))
        return found

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return what `selectors` tells of a descriptor; raises KeyError when it is not watched."""
        try:
            return self.get_map()[self.number_of(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def number_of(self, fileobj: Any) -> int:
        """Return the descriptor of an object with fileno(), or that of it before it was closed."""
        try:
            fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            fd, message = -1, f"Invalid file object: {fileobj!r}"
        else:
            message = f"Invalid file descriptor: {fd}"
        if fd < 0:
            for fd, known, _ in self._set.list():
                if known is fileobj:
                    return int(fd)
            raise ValueError(message)
        return fd

    def select(self, timeout: float | None = None) -> list[Any]:
        """Refuse to wait: a program that runs asyncio's turns of its own would never wait here."""
        raise RuntimeError(
            "the loop waits in libuv, not in its selector, and runs by its own methods only"
        )

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Refuse: the loop has the readers and writers."""
        raise RuntimeError("add_reader() and add_writer() of the loop watch a descriptor")

    modify = register

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Refuse: the loop has the readers and writers."""
        raise RuntimeError("remove_reader() and remove_writer() of the loop end the watch")

    def close(self) -> None:
        if not self._uv._forked:
            self._poll.close()
        self._set.close()


class Readiness(_Base):  # type: ignore[misc]
    """What the loop inherits for readers and writers."""

    _readiness: Any  # a ReadinessSet

    # A number that no transport has goes to the set at once; asyncio's way there has more frames.

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        if fd.__class__ is int and fd not in self._transports.data:
            self._readiness.add_reader(fd, fd, callback, *args)
        else:
            super().add_reader(fd, callback, *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        if fd.__class__ is int and fd not in self._transports.data:
            self._readiness.add_writer(fd, fd, callback, *args)
        else:
            super().add_writer(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        if fd.__class__ is int and fd not in self._transports.data:
            return self._readiness.remove_reader(fd)  # type: ignore[no-any-return]
        return super().remove_reader(fd)  # type: ignore[no-any-return]

    def remove_writer(self, fd: Any) -> bool:
        if fd.__class__ is int and fd not in self._transports.data:
            return self._readiness.remove_writer(fd)  # type: ignore[no-any-return]
        return super().remove_writer(fd)  # type: ignore[no-any-return]

    def _add_reader(self, fd: Any, callback: Any, *args: Any, **options: Any) -> Any:
        self._check_closed()
        number = fd if fd.__class__ is int else self._selector.number_of(fd)
        return self._readiness.add_reader(number, fd, callback, *args, **options)

    def _add_writer(self, fd: Any, callback: Any, *args: Any, **options: Any) -> Any:
        self._check_closed()
        number = fd if fd.__class__ is int else self._selector.number_of(fd)
        return self._readiness.add_writer(number, fd, callback, *args, **options)

    def _remove_reader(self, fd: Any) -> bool:
        if fd.__class__ is not int:
            if self._closed:
                return False
            fd = self._selector.number_of(fd)
        return self._readiness.remove_reader(fd)  # type: ignore[no-any-return]

    def _remove_writer(self, fd: Any) -> bool:
        if fd.__class__ is not int:
            if self._closed:
                return False
            fd = self._selector.number_of(fd)
        return self._readiness.remove_writer(fd)  # type: ignore[no-any-return]

    def _check_watching(self) -> None:
        """Raise where the loop cannot watch: it is closed, or another process's."""
        self._check_closed()
        self.uv._raise_unless_usable()

    def _new_handle(self, callback: Any, *args: Any, context: Any = None, **options: Any) -> Any:
        """Make the handle of a reader or writer, as asyncio does."""
        handle = asyncio.Handle(callback, args, self, context)
        if handle._source_traceback:  # type: ignore[attr-defined]
            del handle._source_traceback[-1]  # type: ignore[attr-defined]
        return handle
