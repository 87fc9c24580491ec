"""Numbers of descriptors come back: nothing that is left of their last owner may meet the next."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from helpers import in_child, needs_fork

import uvbind

# asyncio's own loop waits for ever, or logs errors, or leaves it to the garbage collector.
only_ours = pytest.mark.parametrize("new_loop", [uvbind.new_event_loop], ids=["uvbind"])


def new_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    return pair


def new_pair_at(number: int) -> tuple[socket.socket, socket.socket]:
    """A pair whose first socket has the number that was closed last."""
    one, two = new_pair()
    assert number in (one.fileno(), two.fileno())
    return (one, two) if one.fileno() == number else (two, one)


def test_a_socket_that_is_watched_can_be_closed(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        loop.add_reader(ours, print)
        ours.close()
        with theirs:
            assert await loop.sock_recv(theirs, 10) == b""

    run(main)


@only_ours
@pytest.mark.parametrize("before", ["reader", "writer", "both"])
@pytest.mark.parametrize("removed", [False, True])
def test_the_number_of_a_socket_that_was_watched_comes_back(run, before, removed):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        number = ours.fileno()
        stale = []
        if before != "writer":
            loop.add_reader(ours, stale.append, "reader")
        if before != "reader":
            loop.add_writer(ours, stale.append, "writer")
        ours.close()
        theirs.close()
        if removed:
            loop.remove_reader(number)
        ours, theirs = new_pair_at(number)
        came = asyncio.Event()
        with ours, theirs:
            loop.add_reader(ours, came.set)
            theirs.send(b"x")
            await came.wait()
            came.clear()
            loop.add_reader(ours, came.set)
            await came.wait()
            assert loop.remove_reader(ours)
            assert not loop.remove_writer(ours)
            assert stale == []

    run(main)


@only_ours
@needs_fork
def test_a_forked_child_leaves_what_the_parent_watches(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = new_pair()
        came = asyncio.Event()
        with ours, theirs:
            loop.add_reader(ours, came.set)
            for use in (loop.remove_reader, loop.add_writer):
                arguments = (ours, print) if use == loop.add_writer else (ours,)
                assert "RuntimeError" in in_child(lambda: use(*arguments))  # noqa: B023
            assert "None" in in_child(lambda: os.close(ours.fileno()))
            theirs.send(b"x")
            await came.wait()
            assert loop.remove_reader(ours)

    run(main)
