"""asyncio on libuv: an event loop that existing programs run on unchanged."""

import sys
from typing import TYPE_CHECKING, Any

from uvbind.aio._eventloop import EventLoop, new_event_loop
from uvbind.aio._metrics import EventLoopMetrics
from uvbind.aio._reader import StreamReader
from uvbind.aio._run import install, run
from uvbind.aio._streams import (
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

if TYPE_CHECKING:
    from uvbind.aio._policy import EventLoopPolicy as EventLoopPolicy

__all__ = [
    "EventLoop",
    "EventLoopMetrics",
    "StreamReader",
    "StreamWriter",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "start_server",
    "start_unix_server",
]
if sys.version_info < (3, 16):  # where asyncio has policies
    __all__ += ["EventLoopPolicy"]


def __getattr__(name: str) -> Any:
    """The policy is made when it is first asked for."""
    if name == "EventLoopPolicy":
        from uvbind.aio._policy import EventLoopPolicy

        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
