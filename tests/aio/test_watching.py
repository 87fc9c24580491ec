"""Descriptors that a program has the loop watch."""

from __future__ import annotations

import asyncio
import socket

import pytest


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


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
