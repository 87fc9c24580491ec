"""Names of hosts and services, looked up by libuv."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

from uvbind import Loop, UVError, getaddrinfo, getnameinfo
from uvbind._dns import numeric_addresses

_Base: Any = selector_events.BaseSelectorEventLoop
_NOT_OURS = (TypeError, ValueError, OverflowError)  # the socket module has its own words for it


class Names(_Base):  # type: ignore[misc]
    """What EventLoop inherits to look up names."""

    uv: Loop

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        try:
            results = numeric_addresses(self.uv, host, port, family, type, proto, flags)
        except _NOT_OURS:
            results = None
        if results is not None:
            return results
        hints = {"family": family, "type": type, "proto": proto, "flags": flags}
        try:
            return await self._look_up(getaddrinfo, host, port, **hints)
        except _NOT_OURS:
            return await super().getaddrinfo(host, port, **hints)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        try:
            return await self._look_up(getnameinfo, sockaddr, flags)
        except _NOT_OURS:
            return await super().getnameinfo(sockaddr, flags)

    async def _look_up(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        future = self.create_future()

        def callback(request: Any, result: Any, error: UVError | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        request = function(self.uv, *arguments, callback=callback, **options)
        try:
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(UVError):  # a thread is at it, whose result nobody gets
                request.cancel()
            raise
