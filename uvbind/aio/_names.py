"""Names of hosts and services, looked up by libuv."""

from __future__ import annotations

import contextlib
import types
from asyncio import selector_events
from collections.abc import Callable, Generator
from typing import Any

from uvbind import Loop, UVError, getaddrinfo, getnameinfo
from uvbind._dns_requests import by_plain_name, numeric
from uvbind.aio._waits import Wait

_Base: Any = selector_events.BaseSelectorEventLoop
_NOT_OURS = (TypeError, ValueError, OverflowError)  # the socket module has its own words for it


class Answer(Wait):
    """What a task waits for, called back with what libuv has found."""

    __slots__ = ("error", "found")

    def __call__(self, request: Any, found: Any, error: UVError | None) -> None:
        self.found, self.error = found, error
        del error  # its traceback will have this frame
        if self._loop._closed:
            return  # and the task with it
        if self._loop._ready:  # which goes first
            self._loop.call_soon(self.ready)
        else:
            self.ready()


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
        uv = self.uv
        uv._use()
        arguments = (host, port, family, type, proto, flags)
        results = numeric(uv._address, *arguments)
        if results.__class__ is list:
            return results
        if results == 1:  # a name, in arguments of the commonest types
            return await self._look_up(by_plain_name, *arguments)
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

    @types.coroutine
    def _look_up(
        self, function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Generator[Wait, None, Any]:
        """Call one of libuv's lookups, and wait for what it calls back with."""
        answer = Answer(self)
        request = function(self.uv, *arguments, callback=answer, **options)
        try:
            yield answer
        except BaseException:
            # Refused: a thread is at it, or the loop is closed or another process's.
            with contextlib.suppress(UVError, RuntimeError):
                request.cancel()
            raise
        error, answer.error = answer.error, None
        try:
            if error is not None:
                raise error
            return answer.found
        finally:
            del error  # it keeps this frame, and the frame it
