"""What asyncio's own loop asks of a selector, by watchers of libuv's.

Where a selector is asked for events, libuv calls back: the loop hears of a ready descriptor when
libuv does, and decides in its own time what to call.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any

from uvbind import Loop, Poll, PollEvent, UVError

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_BOTH = READ | WRITE
# libuv's flags have the numbers of selectors', which saves every event a translation.
assert (int(PollEvent.READABLE), int(PollEvent.WRITABLE)) == (READ, WRITE)


class Selector(selectors.BaseSelector):
    """Watches descriptors in a libuv loop; `ready(key, events)` is called for those that are."""

    def __init__(self, uv: Loop, ready: Callable[[selectors.SelectorKey, int], object]) -> None:
        self._uv = uv
        self._ready = ready
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._polls: dict[int, Poll] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = _descriptor(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        poll = Poll(self._uv, fd)
        try:
            poll.start(events, self._on_events)
        except BaseException:
            poll.close()
            raise
        self._polls[fd] = poll
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        if events != key.events:
            self._polls[key.fd].start(events, self._on_events)
        key = self._keys[key.fd] = selectors.SelectorKey(fileobj, key.fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        self._polls.pop(key.fd).close()
        return key

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        try:
            return self._keys[_descriptor(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get_map(self) -> dict[int, selectors.SelectorKey]:  # type: ignore[override]
        return self._keys

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return nothing: libuv has called back for what was ready."""
        return []

    def close(self) -> None:
        for poll in self._polls.values():
            poll.close()
        self._polls.clear()
        self._keys.clear()

    def _on_events(self, poll: Poll, events: int, error: UVError | None) -> None:
        fd = poll.fileno()
        key = self._keys[fd]
        if error is not None:
            # A socket with an error to tell, of which libuv only tells that it has stopped: both
            # sides are ready, and the next call of the system finds out what it is.
            events = _BOTH
            poll.start(key.events, self._on_events)
        self._ready(key, events & key.events)


def _descriptor(fileobj: Any) -> int:
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
