"""asyncio on libuv: an event loop that existing programs run on unchanged."""

from uvbind.aio._eventloop import EventLoop, new_event_loop
from uvbind.aio._metrics import EventLoopMetrics
from uvbind.aio._reader import StreamReader
from uvbind.aio._run import EventLoopPolicy, install, run
from uvbind.aio._streams import (
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

__all__ = [
    "EventLoop",
    "EventLoopMetrics",
    "EventLoopPolicy",
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
