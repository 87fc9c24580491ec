"""The asyncio loop with the scheduler in Python, as PyPy has it, on any Python."""

from __future__ import annotations

from uvbind.aio._eventloop import LoopParts
from uvbind.aio._scheduler import PureScheduler


class PureLoop(PureScheduler, LoopParts):
    pass
