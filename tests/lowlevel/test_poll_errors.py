"""Poll: a descriptor with an error counts as ready, and the error stays for its owner."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from uvbind import Loop, Poll, PollEvent, RunMode, UVError

READABLE, WRITABLE = PollEvent.READABLE, PollEvent.WRITABLE


def turns(loop: Loop) -> None:
    for _ in range(3):
        loop.run(RunMode.NOWAIT)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (READABLE, READABLE),
        (WRITABLE, WRITABLE),
        (READABLE | WRITABLE, READABLE | WRITABLE),
        (WRITABLE | PollEvent.DISCONNECT, WRITABLE),
        (PollEvent.DISCONNECT, PollEvent.DISCONNECT),
    ],
)
def test_an_error_of_the_descriptor_counts_as_readiness(loop: Loop, events: int, told: int) -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        while True:  # until it is not writable any more
            os.write(writer, bytes(65536))
    except BlockingIOError:
        pass
    try:
        calls: list[tuple[object, ...]] = []
        poll = Poll(loop, writer)
        poll.start(events, lambda *about: calls.append(about))
        turns(loop)
        assert calls == []
        os.close(reader)
        turns(loop)
        assert poll.is_active()
        assert calls == [(poll, told, None)] * 3
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"x")
        poll.close()
    finally:
        os.close(writer)


def test_whoever_reads_gets_the_error_and_the_watch_goes_on(loop: Loop) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        peer.bind(("127.0.0.1", 0))
        address = peer.getsockname()
        sock.connect(address)
        peer.close()
        got: list[object] = []

        def on_poll(poll: Poll, events: int, error: UVError | None) -> None:
            assert (events, error) == (READABLE, None)
            try:
                got.append(sock.recv(100))
            except OSError as raised:
                got.append(type(raised))

        poll = Poll(loop, sock)
        poll.start(READABLE, on_poll)
        sock.send(b"x")
        turns(loop)
        assert got == [ConnectionRefusedError]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.bind(address)
            back.sendto(b"data", sock.getsockname())
            turns(loop)
        assert got == [ConnectionRefusedError, b"data"]
        poll.close()


def test_a_refused_connection_is_left_to_its_owner(loop: Loop) -> None:
    with socket.socket() as listener, socket.socket() as sock:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        listener.close()
        sock.setblocking(False)
        sock.connect_ex(address)
        calls: list[tuple[object, ...]] = []
        poll = Poll(loop, sock)
        poll.start(WRITABLE, lambda poll, *about: (calls.append(about), poll.close()))
        loop.run()
        assert calls == [(WRITABLE, None)]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_stopped_in_the_callback_of_an_error(loop: Loop) -> None:
    reader, writer = os.pipe()
    try:
        os.close(reader)
        poll, calls = Poll(loop, writer), []
        poll.start(READABLE, lambda poll, *about: (calls.append(about), poll.stop()))
        assert not loop.run()
        assert calls == [(READABLE, None)]
        assert not poll.is_active()
        poll.close()
    finally:
        os.close(writer)
