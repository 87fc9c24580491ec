"""The asyncio loop in Python, as PyPy has it, on any Python; and as it is without epoll."""

from __future__ import annotations

import pytest

from uvbind.aio import _readiness, _scheduler, _waits
from uvbind.aio._eventloop import LoopParts
from uvbind.aio._scheduler import PureScheduler


class PureLoop(PureScheduler, LoopParts):
    pass


def without_epoll(patch: pytest.MonkeyPatch) -> None:
    """Have the loops that are made from now on do without epoll."""
    patch.setattr(_waits, "_EpollSet", _waits._SelectorSet)
    patch.setattr(_readiness, "_Epoll", _readiness._Plain)
    if not _scheduler.PURE:
        from uvbind.aio import _scheduler_fast

        patch.setattr(_scheduler_fast, "_Waits", _waits.Waits)
        patch.setattr(_scheduler_fast, "_Set", _readiness.ReadinessSet)
