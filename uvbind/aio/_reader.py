"""The reader of the faster streams: asyncio's, which keeps what it is fed instead of copying it."""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError, LimitOverrunError
from typing import Any


class StreamReader(asyncio.StreamReader):
    """asyncio's StreamReader, which hands out what it is fed, or slices of that.

    Unread is one bytes object, and asyncio's bytearray only while more has come than is worth
    joining. Code that uses asyncio's own `_buffer` finds it, and all that comes later in it.
    """

    _limit: int
    _eof: bool
    _paused: bool
    _exception: BaseException | None
    _waiter: asyncio.Future[None] | None
    _transport: Any
    _loop: Any
    _source_traceback: Any

    # Unread is _chunk from _start on, or all of _rest when there is one; then _chunk is empty.
    _chunk = b""
    _start = 0
    _rest: bytearray | None = None
    _shown = False  # somebody may hold _rest

    # -- what is unread

    @property
    def _buffer(self) -> bytearray:
        self._shown = True
        if self._rest is None:
            self._rest = bytearray(self._cut(self._unread()))
        return self._rest

    @_buffer.setter
    def _buffer(self, buffer: bytearray) -> None:
        self._shown = bool(buffer)  # asyncio's constructor sets an empty one
        self._chunk, self._start, self._rest = b"", 0, buffer or None

    def _unread(self) -> int:
        """Return the number of bytes that can be read."""
        return len(self._chunk) - self._start if self._rest is None else len(self._rest)

    def _put(self, data: bytes) -> None:
        """Add to what is unread, so that each byte is copied a bounded number of times."""
        rest, chunk, start = self._rest, self._chunk, self._start
        if rest is not None:
            rest += data
        elif not chunk:
            self._chunk = data
        elif len(chunk) - start <= len(data):
            self._chunk, self._start = chunk[start:] + data, 0
        else:
            self._rest = rest = bytearray(memoryview(chunk)[start:])
            self._chunk, self._start = b"", 0
            rest += data

    def _take(self, size: int) -> bytes:
        """Remove so many bytes, which are there, from the front; the transport may go on then."""
        data = self._cut(size)
        if self._paused:
            self._maybe_resume_transport()
        return data

    def _cut(self, size: int) -> bytes:
        """Remove so many bytes, which are there, from the front."""
        rest = self._rest
        if rest is None:
            chunk, start = self._chunk, self._start
            end = start + size
            if end < len(chunk):
                self._start = end
                return chunk[start:end]
            self._chunk, self._start = b"", 0
            return chunk[start:]  # the object itself when it is all
        with memoryview(rest) as view, view[:size] as part:  # PyPy collects no view at once
            data = bytes(part)
        del rest[:size]
        if len(rest) <= size and not self._shown:
            self._chunk, self._rest = bytes(rest), None
        return data

    # -- fed by the transport

    def feed_data(self, data: Any) -> None:
        """Take data in; what waits for it goes on in the loop's next turn, as in asyncio."""
        assert not self._eof, "feed_data after feed_eof"
        if data:
            self._put(data if data.__class__ is bytes else bytes(memoryview(data)))
            self._wakeup_waiter()  # type: ignore[attr-defined]
            self._maybe_pause_transport()

    def _maybe_pause_transport(self) -> None:
        if self._unread() > 2 * self._limit and not self._paused and self._transport is not None:
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                self._transport = None  # so that it is not tried again
            else:
                self._paused = True

    def _maybe_resume_transport(self) -> None:
        if self._paused and self._unread() <= self._limit:
            self._paused = False
            self._transport.resume_reading()

    def _more(self, name: str) -> asyncio.Future[None]:
        """Return what is done when more has been fed, or the end."""
        waiter = self._waiter
        if waiter is not None and not waiter.cancelled():
            raise RuntimeError(
                f"{name}() called while another coroutine is already waiting for incoming data"
            )
        if self._paused:  # with more to come than the limit, as readexactly() may want
            self._paused = False
            self._transport.resume_reading()
        self._waiter = waiter = asyncio.Future(loop=self._loop)
        return waiter

    async def _wait_for_data(self, func_name: str) -> None:
        """What asyncio's readuntil() waits in, which would take a cancelled read for another."""
        await self._more(func_name)

    # -- read by the program

    def at_eof(self) -> bool:
        """Tell whether the end has come and nothing is left to read."""
        return self._eof and not self._chunk and not self._rest

    async def read(self, n: int = -1) -> bytes:
        """Read what is there, at most `n` bytes; all up to the end for a negative `n`.

        Waits until there is something, and returns b"" at the end. Raises what the connection
        failed with.
        """
        if n < 0:
            return await super().read(n)
        if self._exception is not None:
            raise self._exception
        if n == 0:
            return b""
        if not self._chunk and not self._rest and not self._eof:
            await self._more("read")
        chunk = self._chunk
        if chunk and n >= len(chunk) and not self._start and not self._paused:
            self._chunk = b""
            return chunk
        return self._take(min(n, self._unread()))

    async def readexactly(self, n: int) -> bytes:
        """Read `n` bytes.

        Raises IncompleteReadError when the end comes first, ValueError for a negative `n`, and
        what the connection failed with.
        """
        if n < 0:
            raise ValueError("readexactly size can not be less than zero")
        if self._exception is not None:
            raise self._exception
        if n == 0:
            return b""
        if not self._chunk and not self._rest and not self._eof:
            await self._more("readexactly")
        chunk = self._chunk
        if len(chunk) == n and not self._start and not self._paused:
            self._chunk = b""
            return chunk
        while self._unread() < n:
            if self._eof:
                raise IncompleteReadError(self._cut(self._unread()), n)
            await self._more("readexactly")
        return self._take(n)

    async def readline(self) -> bytes:
        r"""Read up to and with the next b"\n", or to the end when there is none.

        Raises ValueError when the line is longer than the limit, and what the connection failed
        with.
        """
        if self._exception is not None:
            raise self._exception
        if not self._chunk and not self._rest and not self._eof:
            await self._more("readuntil")
        chunk, start = self._chunk, self._start
        size = chunk.find(b"\n", start) + 1 - start
        if 0 < size <= self._limit + 1:
            if size == len(chunk) and not self._paused:
                self._chunk = b""
                return chunk
            return self._take(size)
        try:
            return await self._search(b"\n")
        except IncompleteReadError as error:
            return error.partial
        except LimitOverrunError as error:
            # Drop the line, or so much of it as has come.
            self._take(min(error.consumed + 1, self._unread()))
            raise ValueError(error.args[0])  # noqa: B904

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        r"""Read up to and with a separator; on Python 3.13 it may be a tuple of several.

        Raises IncompleteReadError when the end comes first, LimitOverrunError when what is before
        the separator is longer than the limit (it is left to be read otherwise), ValueError for an
        empty separator, and what the connection failed with.
        """
        if separator.__class__ is not bytes or not separator:
            return await super().readuntil(separator)
        if self._exception is not None:
            raise self._exception
        return await self._search(separator)

    async def _search(self, separator: bytes) -> bytes:
        searched = 0  # so far from the front there is none
        while True:
            rest, start = self._rest, self._start
            found = (self._chunk if rest is None else rest).find(separator, start + searched)
            if found >= 0:
                size = found - start
                if size > self._limit:
                    raise LimitOverrunError(
                        "Separator is found, but chunk is longer than limit", size
                    )
                return self._take(size + len(separator))
            searched = max(searched, self._unread() + 1 - len(separator))
            if searched > self._limit:
                raise LimitOverrunError(
                    "Separator is not found, and chunk exceed the limit", searched
                )
            if self._eof:
                raise IncompleteReadError(self._cut(self._unread()), None)
            await self._more("readuntil")

    def __repr__(self) -> str:
        shown = self._shown
        try:
            return super().__repr__()
        finally:
            self._shown = shown
