"""What an asyncio loop measures of itself: what libuv does, and what asyncio holds beside it."""

from __future__ import annotations

import weakref
from asyncio import sslproto
from typing import Any

from uvbind import Loop, Metrics


class EventLoopMetrics(Metrics):
    """What an asyncio loop did in a time, and what it had at the end of it.

    `iterations` and `events` are libuv's, `handles` are those of `uv`, the loop's own among
    them. `queued_bytes` are those in the buffers of transports, pipes and TLS too.
    """

    ready: int
    """Callbacks at the end that asyncio was about to call."""
    scheduled: int
    """Calls at the end that waited for their time: call_later, sleep, timeouts."""


class Measured:
    """What EventLoop inherits to measure itself."""

    uv: Loop
    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int
    _transports: Any  # of sockets

    def __init__(self, *arguments: Any) -> None:
        self._write_pipes: weakref.WeakSet[Any] = weakref.WeakSet()
        super().__init__(*arguments)

    def metrics(self) -> EventLoopMetrics:
        """Return what the loop did since measuring began, and what it has now.

        The first call begins it, see uvbind.Loop.metrics(). `later - earlier` is what the loop
        did in between. Raises RuntimeError in another thread than the loop's.
        """
        values = vars(self.uv.metrics())
        for transport in [*self._transports.values(), *self._write_pipes]:
            values["queued_bytes"] += _held(transport)
        values["ready"] = len(self._ready)
        values["scheduled"] = len(self._scheduled) - self._timer_cancelled_count
        return EventLoopMetrics(**values)

    def _make_write_pipe_transport(self, *arguments: Any, **options: Any) -> Any:
        transport = super()._make_write_pipe_transport(*arguments, **options)  # type: ignore[misc]
        self._write_pipes.add(transport)
        return transport


def _held(transport: Any) -> int:
    """How many bytes a transport keeps that the system has not taken yet."""
    protocol = transport.get_protocol()
    if protocol is None:  # the connection has ended
        return 0
    size: int = transport.get_write_buffer_size()
    while isinstance(protocol, sslproto.SSLProtocol):
        size += protocol._write_buffer_size  # not encrypted yet
        size += protocol._outgoing.pending  # type: ignore[attr-defined]  # encrypted
        protocol = protocol._app_protocol  # TLS in TLS
    return size
