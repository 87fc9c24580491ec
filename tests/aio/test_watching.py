"""Descriptors that a program has the loop watch."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from plain_sockets import new_pair


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
