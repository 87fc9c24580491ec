"""An event loop policy, imported when it is asked for: later Pythons have none."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from uvbind.aio._eventloop import EventLoop

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.14 is done with policies
    _Default: Any = getattr(asyncio, "DefaultEventLoopPolicy", None)

if _Default is None:
    raise AttributeError(
        "this Python's asyncio has no event loop policies: "
        "use uvbind.run(), or asyncio.run(..., loop_factory=uvbind.new_event_loop)"
    )


class EventLoopPolicy(_Default):  # type: ignore[misc]
    """asyncio's default policy, with uvbind's loops. Not needed with run() or a loop_factory."""

    _loop_factory = EventLoop
