"""asyncio's StreamReader and ours are fed and read alike, by chance, and have to do the same."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import uvbind
from uvbind.aio._streams import _Protocol


class Paper(asyncio.Transport):
    """A transport that only remembers: real ones cannot be made to deliver just these pieces."""

    def __init__(self, pauses):
        super().__init__()
        self.pauses, self.paused, self.calls = pauses, False, []

    def pause_reading(self):
        if not self.pauses:
            raise NotImplementedError
        assert not self.paused
        self.paused = True
        self.calls.append("pause")

    def resume_reading(self):
        assert self.paused
        self.paused = False
        self.calls.append("resume")

    def is_closing(self):
        return False


KINDS = (bytes, bytearray, memoryview)
pieces = st.text("ab\n", max_size=12).map(str.encode)
separators = st.text("ab\n", max_size=3).map(str.encode)
separators |= separators.map(bytearray)
if sys.version_info >= (3, 13):
    separators |= st.lists(separators, max_size=3).map(tuple)
reads = (
    st.tuples(st.just("read"), st.integers(-1, 20))
    | st.tuples(st.just("readexactly"), st.integers(-1, 20))
    | st.tuples(st.just("readuntil"), separators)
    | st.just(("readline",))
    | st.just(("__anext__",))
)
feeds = st.tuples(st.sampled_from(KINDS), pieces)
others = st.sampled_from([("cancel",), ("look",), ("eof",), ("error",)])


def outcome(task):
    """What a read has come to, comparable."""
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        assert type(task.result()) is bytes
        return task.result()
    attributes = {name: getattr(error, name, None) for name in ("partial", "expected", "consumed")}
    return type(error), str(error), attributes


async def settle():
    for _ in range(6):
        await asyncio.sleep(0)


class Played:
    """A reader and what it went through."""

    def __init__(self, reader, protocol, pauses):
        self.reader, self.protocol = reader, protocol
        self.transport = Paper(pauses)
        self.task = None
        self.ended = False
        self.seen = []
        protocol.connection_made(self.transport)

    def step(self, feed, what, *arguments):
        reader = self.reader
        if what in KINDS:
            if not self.ended:
                feed(what(*arguments))
        elif what == "eof":
            self.ended = True
            reader.feed_eof()
        elif what == "error":
            self.ended = True
            reader.set_exception(ConnectionResetError("gone"))
        elif what == "cancel":
            if self.task is not None:
                self.task.cancel()
        elif what == "look":
            self.seen.append(bytes(reader._buffer))
        elif self.task is None:
            self.task = asyncio.ensure_future(getattr(reader, what)(*arguments))

    def look(self, fed=False):
        """Note what can be seen of it when nothing goes on; it may just have been fed."""
        reader, task = self.reader, self.task
        if task is not None and task.done():
            self.seen.append(outcome(task))
            self.task = task = None
        self.seen.append((reader.at_eof(), str(reader.exception())))
        unread = reader._unread() if hasattr(reader, "_unread") else len(reader._buffer)
        if not self.ended and self.transport.pauses:
            paused = self.transport.paused
            assert paused == reader._paused
            assert not paused or (task is None and unread > reader._limit)
            assert paused or not fed or task is not None or unread <= 2 * reader._limit

    async def end(self):
        self.seen.append(bytes(self.reader._buffer))
        if self.task is not None:
            self.task.cancel()
            await settle()
            self.seen.append(outcome(self.task))


def both(limit, pauses):
    loop = asyncio.get_running_loop()
    theirs = asyncio.StreamReader(limit, loop)
    ours = uvbind.StreamReader(limit, loop)
    return [
        Played(theirs, asyncio.StreamReaderProtocol(theirs, loop=loop), pauses),
        Played(ours, _Protocol(ours, loop=loop), pauses),
    ]


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


limits = st.integers(1, 9)


CANCELLED = [[("readline",)], [("cancel",)], [("readuntil", bytearray(b"a"))], [(bytes, b"a")]]


@example(limit=1, pauses=True, script=CANCELLED)
@given(limits, st.booleans(), st.lists(st.lists(reads | feeds | others, max_size=5), max_size=15))
def test_readers_that_are_fed_by_hand(loop, limit, pauses, script):
    """Several steps may come in one turn of the loop; the calls of the transport are the same."""

    async def main():
        played = both(limit, pauses)
        for steps in script:
            for each in played:
                for step in steps:
                    each.step(each.reader.feed_data, *step)
                await settle()
                each.look()
        for each in played:
            await each.end()
        theirs, ours = played
        assert ours.seen == theirs.seen
        assert ours.transport.calls == theirs.transport.calls

    loop.run_until_complete(main())


@given(limits, st.booleans(), st.lists(reads | feeds | others, max_size=40))
def test_readers_that_a_transport_feeds(loop, limit, pauses, script):
    """The task that waits goes on in the transport's call, and may spare it a pause."""

    async def main():
        played = both(limit, pauses)
        for step in script:
            for each in played:
                loop.call_soon(each.step, each.protocol.data_received, *step)
                await settle()
                each.look(fed=bool(step[0] in KINDS and step[1]))
        for each in played:
            await each.end()
        theirs, ours = played
        assert ours.seen == theirs.seen

    loop.run_until_complete(main())
