"""asyncio on libuv: an event loop that existing programs run on unchanged."""

from uvbind.aio._eventloop import EventLoop, new_event_loop
from uvbind.aio._metrics import EventLoopMetrics
from uvbind.aio._run import EventLoopPolicy, install, run

__all__ = ["EventLoop", "EventLoopMetrics", "EventLoopPolicy", "install", "new_event_loop", "run"]
