"""Descriptors that a program has the loop watch."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import select
import selectors
import socket
from pathlib import Path

import pytest
from plain_sockets import new_pair
from pure_loop import PureLoop, without_epoll

import uvbind
from uvbind.aio import _scheduler


@pytest.fixture(params=["asyncio", "uvbind", "uvbind in Python", "uvbind without epoll"])
def new_loop(request, monkeypatch):
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    if request.param.endswith("without epoll"):
        without_epoll(monkeypatch)
    return PureLoop if request.param.endswith("in Python") else uvbind.new_event_loop


@pytest.fixture
def pair():
    with new_pair() as both:
        yield both


@pytest.mark.parametrize("by", [lambda sock: sock, socket.socket.fileno], ids=["object", "number"])
def test_readers_and_writers_are_removed_by_object_and_by_number(run, pair, by):
    one, other = pair

    async def main():
        loop, read, written = asyncio.get_running_loop(), [], []
        assert not loop.remove_reader(by(one)) and not loop.remove_writer(by(one))
        loop.add_reader(by(one), lambda: read.append(one.recv(2)))
        loop.add_writer(by(one), written.append, 1)
        other.send(b"data")
        while len(read) < 2 or not written:
            await asyncio.sleep(0)
        assert loop.remove_writer(by(one)) and loop.remove_reader(by(one))
        assert not loop.remove_reader(by(one)) and not loop.remove_writer(by(one))
        del written[:]
        other.send(b"more")
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert (read, written) == ([b"da", b"ta"], [])

    run(main)


def test_a_new_reader_takes_the_place_of_the_old(run, pair):
    one, other = pair

    async def main():
        loop, calls = asyncio.get_running_loop(), []
        loop.add_reader(one, calls.append, "old")
        loop.add_reader(one, lambda: calls.append(one.recv(9)))
        other.send(b"data")
        while not calls:
            await asyncio.sleep(0)
        assert loop.remove_reader(one)
        assert calls == [b"data"]

    run(main)


def test_a_closed_socket_is_removed_by_object_and_by_number(run):
    async def main():
        loop = asyncio.get_running_loop()
        for by_number in (False, True):
            one, other = socket.socketpair()
            number = one.fileno()
            with other:
                loop.add_reader(one, print)
                one.close()
                assert loop.remove_reader(number if by_number else one)

    run(main)


def test_readers_and_writers(run):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            calls: list[str] = []
            done = loop.create_future()

            def read():
                calls.append("read")
                ours.recv(10)
                assert loop.remove_reader(ours)
                done.set_result(None)

            def write():
                calls.append("write")
                assert loop.remove_writer(ours)
                theirs.send(b"x")

            loop.add_reader(ours, pytest.fail, "was replaced")
            loop.add_reader(ours, read)
            loop.add_writer(ours, write)
            await done
            assert calls == ["write", "read"]
            assert not loop.remove_reader(ours) and not loop.remove_writer(ours.fileno())

    run(main)


def test_a_reader_may_stop_the_loop(new_loop):
    loop = new_loop()
    with new_pair() as (ours, theirs):
        loop.add_reader(ours, loop.stop)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours)
    loop.close()


def test_what_a_reader_raises_goes_to_the_exception_handler(new_loop):
    contexts = []
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context["exception"]))

    def fail():
        loop.stop()
        raise ZeroDivisionError

    with new_pair() as (ours, theirs):
        loop.add_reader(ours, fail)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours)
    loop.close()
    assert [type(exception) for exception in contexts] == [ZeroDivisionError]


def test_what_cannot_be_watched(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with Path(tmp_path, "file").open("wb") as file:
            with pytest.raises(PermissionError):
                loop.add_reader(file, print)
            assert not loop.remove_reader(file)
        with pytest.raises(ValueError, match="Invalid file"):
            loop.add_reader(object(), print)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            loop.add_reader(-1, print)

    run(main)


def test_a_reader_is_called_before_the_writer_of_its_descriptor(run, pair):
    one, other = pair

    async def main():
        loop, calls = asyncio.get_running_loop(), []
        other.send(b"data")
        loop.add_writer(one, calls.append, "writer")
        loop.add_reader(one, calls.append, "reader")
        while not calls:
            await asyncio.sleep(0)
        loop.remove_reader(one)
        loop.remove_writer(one)
        assert calls == ["reader", "writer"]

    run(main)


def test_a_reader_is_called_in_each_turn_until_it_has_read(run, pair):
    one, other = pair

    async def main():
        loop, turns, calls = asyncio.get_running_loop(), [], []
        other.send(b"data")

        def read():
            calls.append(len(turns))
            if len(calls) == 5:
                one.recv(9)

        loop.add_reader(one, read)
        while len(turns) < 20:
            turns.append(None)
            await asyncio.sleep(0)
        loop.remove_reader(one)
        assert calls == list(range(calls[0], calls[0] + 5))

    run(main)


def test_a_reader_that_is_removed_in_the_turn_of_its_event_is_not_called(run):
    async def main():
        loop, calls = asyncio.get_running_loop(), []
        with new_pair() as (one, another), new_pair() as (two, other):

            def read(ours, theirs):
                calls.append(ours)
                assert loop.remove_reader(ours) and loop.remove_reader(theirs)

            loop.add_reader(one, read, one, two)
            loop.add_reader(two, read, two, one)
            another.send(b"x")
            other.send(b"x")
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(calls) == 1

    run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_a_reader_runs_in_the_context_that_added_it(new_loop, pair, debug):
    variable, values = contextvars.ContextVar("variable", default=0), []
    one, other = pair
    loop = new_loop()
    loop.set_debug(debug)

    def read(*arguments):
        values.append((variable.get(), arguments))
        loop.remove_reader(one)
        loop.stop()

    def add():
        variable.set(1)
        loop.add_reader(one, read, "some", "arguments", 3)

    contextvars.copy_context().run(add)
    other.send(b"x")
    loop.run_forever()
    loop.close()
    assert values == [(1, ("some", "arguments", 3))]


def test_the_descriptor_of_a_transport_is_refused(run, pair):
    one, _other = pair

    async def main():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
        fd = one.fileno()
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                method(fd, print)
        for method in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                method(fd)
        transport.close()
        await asyncio.sleep(0)

    run(main)


def test_a_closed_loop_watches_nothing(new_loop, pair):
    one, _other = pair
    loop = new_loop()
    loop.add_reader(one, print)
    loop.close()
    for method in (loop.add_reader, loop.add_writer):
        for fd in (one, one.fileno()):
            with pytest.raises(RuntimeError, match="closed"):
                method(fd, print)
    for method in (loop.remove_reader, loop.remove_writer):
        assert not method(one) and not method(one.fileno())


def test_the_selector_tells_what_is_watched(new_loop, pair):
    one, other = pair
    loop = new_loop()
    loop.add_reader(one, print, 1)
    loop.add_writer(one, print, 2)
    loop.add_writer(other.fileno(), print, 3)
    key = loop._selector.get_key(one)
    assert (key.fileobj, key.fd, key.events) == (one, one.fileno(), 3)
    assert [handle._args for handle in key.data] == [(1,), (2,)]
    found = loop._selector.get_map()[other.fileno()]
    assert (found.fileobj, found.events) == (other.fileno(), selectors.EVENT_WRITE)
    assert found.data[0] is None and found.data[1]._args == (3,)
    loop.remove_writer(other)
    with pytest.raises(KeyError):
        loop._selector.get_key(other)
    loop.close()


def test_many_descriptors_are_ready_at_once(run):
    async def main():
        loop, called = asyncio.get_running_loop(), set()
        pipes = [os.pipe() for _ in range(300)]  # the table of descriptors grows meanwhile

        def read(fd):
            called.add(fd)
            loop.remove_reader(fd)

        for ours, theirs in pipes:
            loop.add_reader(ours, read, ours)
            os.write(theirs, b"x")
        while len(called) < len(pipes):
            await asyncio.sleep(0)
        assert called == {ours for ours, _ in pipes}
        for fd in sum(pipes, ()):
            os.close(fd)

    run(main)


@pytest.mark.skipif(_scheduler.PURE, reason="Python's epoll cannot tell one owner from the next")
def test_an_event_of_a_descriptor_that_was_closed_reaches_nobody(pair):
    """A duplicate keeps it in the kernel's set, under a number that has another owner."""
    loop = uvbind.new_event_loop()
    one, other = pair
    calls = []
    loop.add_reader(one, calls.append, "old")
    other.send(b"x")
    with one.dup(), new_pair() as (new, _peer):
        os.dup2(new.fileno(), one.fileno())
        loop.add_reader(one, calls.append, "new")
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0.001))
        assert loop.remove_reader(one)
    loop.close()
    assert calls == []


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="others cannot tell that it was closed")
@pytest.mark.parametrize("kind", [PureLoop, uvbind.new_event_loop])
def test_a_forgotten_callback_may_have_its_number_watched_in_del(kind, pair):
    """The number is another descriptor's: add_writer() forgets the reader; its __del__ adds one."""
    loop = kind()
    one, _other = pair
    calls, added = [], []

    class Again:
        def __call__(self):
            calls.append("the first reader")

        def __del__(self):
            if not added:
                added.append(loop.add_reader(one, calls.append, "reader"))

    loop.add_reader(one, Again())
    with new_pair() as (new, peer):
        os.dup2(new.fileno(), one.fileno())
        loop.add_writer(one, calls.append, "writer")
        gc.collect()
        peer.send(b"x")
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert {"reader", "writer"} == set(calls)
        assert loop.remove_reader(one) and loop.remove_writer(one)
    loop.close()
