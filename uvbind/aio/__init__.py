"""asyncio on libuv: an event loop that existing programs run on unchanged."""

from uvbind.aio._eventloop import EventLoop, new_event_loop
from uvbind.aio._run import EventLoopPolicy, install, run

__all__ = ["EventLoop", "EventLoopPolicy", "install", "new_event_loop", "run"]
