"""Names of hosts and services, looked up by libuv.

libuv looks up what it understands as the socket module does: a host that is None or a plain name,
and a port that is None or a number. asyncio's own loop does everything else, in a thread of its
executor, and all of it when the program has replaced the socket module's function.
"""

from __future__ import annotations

import _socket
import contextlib
import socket
import types
from asyncio import selector_events
from collections.abc import Callable, Generator
from typing import Any

from uvbind import Loop, UVError, getaddrinfo, getnameinfo
from uvbind._dns_arguments import AI_FLAGS, NI_FLAGS
from uvbind._dns_requests import by_plain_name, describe, numeric
from uvbind._errors import uv_error
from uvbind.aio._errors import plain_error
from uvbind.aio._waits import Wait

_Base: Any = selector_events.BaseSelectorEventLoop
_OTHERS = (TypeError, ValueError, OverflowError)  # of getnameinfo: the socket module raises its own
_INT_MAX = 2**31 - 1


class Answer(Wait):
    """What a task waits for, called back with what libuv has found."""

    __slots__ = ("error", "found")

    def __call__(self, request: Any, found: Any, error: UVError | None) -> None:
        try:
            self.found, self.error = found, error
            if self._loop._closed:
                return  # and the task with it
            error = None  # its traceback will have this frame
            if self._loop._has_ready():  # which goes first
                self.ready_later()
            else:
                self.ready()
        except BaseException:
            if error is not None or not hasattr(self, "found"):  # a signal handler has cut it off
                self.found, self.error = found, error
            if not self._loop._closed:
                self.ready_later()
            raise


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
        hints = {"family": family, "type": type, "proto": proto, "flags": flags}
        if self._debug or getattr(socket.getaddrinfo, "__globals__", None) is not vars(socket):
            return await super().getaddrinfo(host, port, **hints)
        arguments = (host, port, family, type, proto, flags)
        results = numeric(uv._core, *arguments)
        if results.__class__ is list:
            return results
        if results == 1:  # a name, in arguments of the commonest types
            return await self._look_up(by_plain_name, *arguments)
        if results is not None:
            raise plain_error(uv_error(results, describe(host)))
        if _is_plain(*arguments):
            return await self._look_up(getaddrinfo, host, port, **hints)
        return await super().getaddrinfo(host, port, **hints)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        self.uv._use()
        if socket.getnameinfo is _socket.getnameinfo and _is_address(sockaddr, flags):
            with contextlib.suppress(*_OTHERS):
                return await self._look_up(getnameinfo, sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)

    @types.coroutine
    def _look_up(
        self, function: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Generator[Wait, None, Any]:
        """Call one of libuv's lookups, and wait for what it calls back with."""
        answer = Answer(self)
        request = failure = None
        try:
            request = function(self.uv, *arguments, callback=answer, **options)
        except UVError as error:
            failure = plain_error(error)
        if request is not None:
            try:
                yield answer
            except BaseException:
                # Refused: a thread is at it, or the loop is closed or another process's.
                with contextlib.suppress(UVError, RuntimeError):
                    request.cancel()
                raise
            if answer.error is not None:
                failure = plain_error(answer.error)
                answer.error = None
        try:
            if failure is not None:
                raise failure
            return answer.found
        finally:
            del failure  # its traceback has this frame, and the frame has it


def _is_plain(host: Any, port: Any, *hints: Any) -> bool:
    """Tell whether libuv makes the same of the arguments of a lookup as the socket module."""
    if port is not None and not (port.__class__ is int and 0 <= port <= 0xFFFF):
        return False
    if not all(isinstance(hint, int) and 0 <= hint <= _INT_MAX for hint in hints):
        return False
    return not hints[-1] & ~AI_FLAGS and (port is not None if host is None else _is_name(host))


def _is_name(host: Any) -> bool:
    """Tell whether it is a str that Python's idna codec leaves as it is."""
    if host.__class__ is not str or not host.isascii() or "\0" in host or len(host) > 255:
        return False
    *labels, last = host.split(".")
    return host != "" and len(last) < 64 and all(0 < len(label) < 64 for label in labels)


def _is_address(address: Any, flags: Any) -> bool:
    """Tell whether libuv makes the same of these as the socket module."""
    if address.__class__ is not tuple or not isinstance(flags, int) or flags & ~NI_FLAGS:
        return False
    host, *numbers = address or (None,)
    if host.__class__ is not str or not all(number.__class__ is int for number in numbers):
        return False
    return "%" not in host and len(numbers) == (3 if ":" in host else 1)
