"""The scheduler of the asyncio loop on CPython: src/_uvbind/python_scheduler.c, and the rest of it.

C schedules and calls. Python has the debug mode, the checks of a closed loop, and views of the
queues for programs that look at `_ready` and `_scheduled`.
"""

from __future__ import annotations

import asyncio
from asyncio import format_helpers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from uvbind._callbacks import FAST
from uvbind.aio._readiness import ReadinessSet
from uvbind.aio._turns import Turns
from uvbind.aio._waits import Waits

_Fast: Any = FAST["scheduler_type"]()
_Set: Any = FAST["readiness_type"]() if "readiness_type" in FAST else ReadinessSet
_Waits: Any = FAST["waits_type"]() if "waits_type" in FAST else Waits
_format: Callable[..., str] = format_helpers._format_callback_source
_TAKES_DEBUG = "debug" in _format.__code__.co_varnames


class _View(Sequence[Any]):
    """The handles of a queue that C has."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def _list(self) -> list[Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._list())

    def __getitem__(self, index: Any) -> Any:
        return self._list()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iterable) and self._list() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._list()!r})"


class Ready(_View):
    """`loop._ready`, as the deque that it is in asyncio."""

    def _list(self) -> list[Any]:
        return self._loop._list_ready()  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return self._loop._has_ready()  # type: ignore[no-any-return]

    def append(self, handle: Any) -> None:
        """Have the handle called after those that are ready."""
        self._loop._make_ready(handle)

    def extend(self, handles: Iterable[Any]) -> None:
        """Have the handles called after those that are ready."""
        for handle in handles:
            self._loop._make_ready(handle)

    def popleft(self) -> Any:
        """Take the first handle; raises IndexError when there is none."""
        return self._loop._take_ready()

    def clear(self) -> None:
        """Forget the handles."""
        self._loop._clear_ready()


class Scheduled(_View):
    """`loop._scheduled`, as the list that it is in asyncio; the next timer comes first."""

    def _list(self) -> list[Any]:
        return self._loop._list_scheduled()  # type: ignore[no-any-return]

    def append(self, handle: Any) -> None:
        """Have the handle called at its time."""
        self._loop._add_timer(handle)

    def clear(self) -> None:
        """Forget the handles."""
        self._loop._clear_scheduled()


class FastScheduler(_Fast, Turns):  # type: ignore[misc]
    """Calls what is ready, in C."""

    def _attach(self) -> None:
        """Have libuv call the turns."""
        uv = self.uv
        super()._attach(uv._core, self._timer._core, self._async._core, uv._failures, uv._later)

    def _new_readiness_set(self) -> Any:
        return _Set(self)

    def _new_waits(self) -> Any:
        return _Waits(self)

    @property
    def _ready(self) -> Any:
        return Ready(self)

    @_ready.setter
    def _ready(self, handles: Iterable[Any]) -> None:
        handles = list(handles)
        self._clear_ready()
        self._ready.extend(handles)

    @property
    def _scheduled(self) -> Any:
        return Scheduled(self)

    @_scheduled.setter
    def _scheduled(self, handles: Iterable[Any]) -> None:
        handles = list(handles)
        self._clear_scheduled()
        for handle in handles:
            self._add_timer(handle)

    # -- for C

    def _call_soon_checked(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return _without_us(Turns.call_soon(self, callback, *args, context=context))

    def _call_soon_threadsafe_checked(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle: Any = Turns.call_soon_threadsafe(self, callback, *args, context=context)
        return _without_us(handle)

    def _call_at_checked(self, when: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        if when is None:
            raise TypeError("when cannot be None")
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
        handle: Any = asyncio.TimerHandle(when, callback, args, self, context)
        self._add_timer(handle)
        return _without_us(handle)

    def _call_later_checked(
        self, delay: Any, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        if delay is None:
            raise TypeError("delay must not be None")
        when = self.time() + delay
        return _without_us(self.call_at(when, callback, *args, context=context))

    def _callback_failed(self, handle: Any, exception: BaseException) -> None:
        """As asyncio's handles do with what their callback raised."""
        options = {"debug": self._debug} if _TAKES_DEBUG else {}
        text = _format(handle._callback, handle._args, **options)
        message = f"Exception in callback {text}"
        self.call_exception_handler({"message": message, "exception": exception, "handle": handle})


def _without_us(handle: Any) -> Any:
    """Take our frame off the place that a handle was made at, as asyncio does with its own."""
    if handle._source_traceback:
        del handle._source_traceback[-1]
    return handle
