"""What asyncio's own loop asks of a selector: Python's, which libuv watches.

The system's selector has a descriptor itself, readable when one of those that it watches is ready.
libuv waits for that one descriptor: so all that a program may do to those it has had watched,
closing them first of all, is between it and the kernel, as in asyncio, and none is ever libuv's.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Any

from uvbind import Loop, Poll, PollEvent, UVError

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Selector(selectors.DefaultSelector):
    """Watches descriptors in a libuv loop; `ready(events)` is called with those that are ready."""

    _selector: Any  # the system's
    _fd_to_key: dict[int, selectors.SelectorKey]

    def __init__(self, uv: Loop, ready: Callable[[list[Any]], object]) -> None:
        super().__init__()
        self._uv = uv
        self._ready = ready
        try:
            self._poll = Poll(uv, self.fileno())
            self._poll._retry()
            self._poll.start(PollEvent.READABLE, self._on_ready)
        except BaseException:
            super().close()
            raise

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._uv._raise_unless_usable()  # a forked child shares the system's selector
        return super().register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        self._uv._raise_unless_usable()
        return super().unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._uv._raise_unless_usable()
        before = self.get_key(fileobj)
        new = sum(
            event
            for event, handle, old in zip((READ, WRITE), data, before.data)
            if handle is not None and handle is not old
        )
        if (events == before.events and not new) or self._watches(before):
            return super().modify(fileobj, events, data)
        # The descriptor was closed, and its number may be another's by now, who is to wait for his
        # own events only: those whose reader or writer is new.
        self.unregister(fileobj)
        return self.register(fileobj, new, data) if new else before

    def has(self, fd: int) -> bool:
        """Tell whether a descriptor is registered, without the exceptions of the others."""
        return fd in self._fd_to_key

    def _watches(self, key: selectors.SelectorKey) -> bool:
        """Ask the system whether it still watches the descriptor that was registered."""
        if not hasattr(self._selector, "modify"):
            return True  # not epoll, and modify() begins anew there
        try:
            self._selector.modify(
                key.fd,
                (key.events & READ and select.EPOLLIN) | (key.events & WRITE and select.EPOLLOUT),
            )
        except OSError:
            return False
        return True

    def select(self, timeout: float | None = None) -> list[Any]:
        """Refuse to wait: a program that runs asyncio's turns of its own would never wait here."""
        raise RuntimeError(
            "the loop waits in libuv, not in its selector, and runs by its own methods only"
        )

    def close(self) -> None:
        if not self._uv._forked:
            self._poll.close()
        super().close()

    def _on_ready(self, poll: Poll, events: int, error: UVError | None) -> None:
        self._ready(super().select(0))
