"""How a connection ends whose last bytes come with its end, for the tests of that."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from helpers import in_child

SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)  # CPython has the name


def wait_for(sock: socket.socket, event: int) -> None:
    """Wait until poll() tells of this event, whatever else it tells of."""
    poll = select.poll()
    poll.register(sock, event)
    deadline = time.monotonic() + 30
    while not any(found & event for _, found in poll.poll(1000)):
        assert time.monotonic() < deadline, "waited in vain"


def readable(sock: socket.socket) -> None:
    wait_for(sock, select.POLLIN)


def hung_up(sock: socket.socket) -> None:
    """Wait until the system knows that the connection is over in both directions."""
    wait_for(sock, select.POLLHUP)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


def reset(sock: socket.socket) -> None:
    """Close it so that the other side hears of a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def data_and_reset(theirs: socket.socket) -> None:
    theirs.send(b"half of it")
    reset(theirs)


def data_and_close_with_ours_unread(theirs: socket.socket) -> None:
    readable(theirs)
    theirs.send(b"half of it")
    theirs.close()  # which is a reset: there is something that nobody will read


def urgent_byte(theirs: socket.socket) -> None:
    assert theirs.recv(1) == b""
    theirs.send(b"before it,")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.send(b"after it")
    theirs.close()


def descriptor(theirs: socket.socket) -> None:
    with open(os.devnull, "rb") as file:
        passed = array.array("i", [file.fileno()])
        theirs.sendmsg([b"with it,"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    theirs.send(b"after it")
    theirs.close()


def two_senders(theirs: socket.socket) -> None:
    assert in_child(lambda: theirs.send(b"the child's,")) == "12"
    theirs.send(b"the parent's")
    theirs.close()


class Ending(NamedTuple):
    """What the other side does last, and what we are to hear of it."""

    finish: Callable[[socket.socket], None]
    received: bytes
    is_reset: bool = False
    pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair
    asks: bytes = b""  # what we send before
    half_closes: bool = False  # whether we end our direction before
    credentials: bool = False  # whether we want to know who sends


ENDINGS = {
    "data, reset": Ending(data_and_reset, b"half of it", is_reset=True),
    "data, close with ours unread": Ending(
        data_and_close_with_ours_unread, b"half of it", is_reset=True, asks=b"request"
    ),
    "urgent byte": Ending(urgent_byte, b"before it,after it", half_closes=True),
    "descriptor": Ending(descriptor, b"with it,after it", pair=socket.socketpair),
    "two senders": Ending(
        two_senders, b"the child's,the parent's", pair=socket.socketpair, credentials=True
    ),
}

every_ending = pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="tells hangups in Linux's way")


@contextlib.contextmanager
def about_to_end(ending: Ending) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
    """Our socket, and what has the other side finish; all that is there to hear is there then."""
    ours, theirs = ending.pair()
    with ours, theirs:
        if ending.credentials:
            ours.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        watched = ours.dup()  # by then it may be a loop's own

        def finish() -> None:
            ending.finish(theirs)
            hung_up(watched)
            watched.close()

        with watched:
            yield ours, finish
