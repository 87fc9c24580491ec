"""Ways to have asyncio use the loop."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

from uvbind.aio._eventloop import new_event_loop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine as asyncio.run() does, on a uvbind loop, and return its result.

    `debug`: asyncio's debug mode; None leaves it to PYTHONASYNCIODEBUG. Raises RuntimeError
    inside a running loop, ValueError for what is no coroutine, and what `main` raises.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("run() cannot be called from a running event loop")
    if not asyncio.iscoroutine(main):
        raise ValueError(f"main: expected a coroutine, not {main!r:.100}")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def install() -> None:
    """Make uvbind's loop what asyncio.run() and asyncio.new_event_loop() use from now on.

    Raises RuntimeError on a Python whose asyncio has no event loop policies.
    """
    try:
        from uvbind.aio._policy import EventLoopPolicy
    except AttributeError as error:
        raise RuntimeError(str(error)) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy())
