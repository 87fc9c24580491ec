"""Ways to have asyncio use the loop."""

from __future__ import annotations

import asyncio
import asyncio.runners
import sys
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

from uvbind.aio._eventloop import EventLoop, new_event_loop

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
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
            return runner.run(main)
    loop = new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        result: T = loop.run_until_complete(main)
        return result
    finally:
        try:
            asyncio.runners._cancel_all_tasks(loop)  # type: ignore[attr-defined]
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.14 is done with policies
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy


class EventLoopPolicy(_DefaultPolicy):
    """asyncio's default policy, with uvbind's loops. Not needed with run() or a loop_factory."""

    _loop_factory = EventLoop


def install() -> None:
    """Make uvbind's loop what asyncio.run() and asyncio.new_event_loop() use from now on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy())
