"""Streams: reading, listening, ending, and what they do with bad input."""

from __future__ import annotations

import hashlib
import socket
import sys

import pytest
from helpers import LOCALHOST, MEGABYTES, ignore, listening, read_all

import uvbind

# -- reading


def test_read_hands_over_bytes_and_then_the_end(loop, peers):
    calls = []

    def on_read(stream, data, error):
        calls.append((stream, data, error and error.name))

    peers.server.read_start(on_read)
    peers.client.write(b"some bytes")
    peers.client.shutdown()
    loop.run()
    assert calls == [(peers.server, b"some bytes", None), (peers.server, None, "EOF")]


def test_end_of_stream_is_an_eoferror(loop, peers):
    errors = []
    peers.server.read_start(lambda stream, data, error: errors.append(error))
    peers.client.close()
    loop.run()
    assert isinstance(errors[0], EOFError) and isinstance(errors[0], uvbind.UVError)


def test_read_stop_in_the_callback_means_no_more_data(loop, peers):
    reads = []

    def on_read(stream, data, error):
        reads.append(len(data))
        stream.read_stop()

    peers.server.read_start(on_read)
    peers.client.write(MEGABYTES)
    while not reads:
        loop.run(uvbind.RunMode.ONCE)
    for _ in range(5):
        loop.run(uvbind.RunMode.NOWAIT)
    assert len(reads) == 1 and reads[0] <= 256 * 1024
    peers.server.read_stop()


def test_reading_goes_on_after_read_stop_with_another_callback(loop, peers):
    first, rest = [], []

    def on_first(stream, data, error):
        first.append(data)
        stream.read_stop()
        read_all(stream, rest)

    peers.server.read_start(on_first)
    peers.client.write(MEGABYTES)
    peers.client.shutdown()
    loop.run()
    assert len(first) == 1 and b"".join(first + rest) == MEGABYTES


def test_closing_in_the_read_callback_is_legal(loop, peers):
    closed = []
    peers.server.read_start(lambda stream, data, error: stream.close(closed.append))
    peers.client.write(b"x")
    loop.run()
    assert closed == [peers.server]


def test_read_start_twice_is_refused(peers):
    peers.server.read_start(ignore)
    with pytest.raises(uvbind.UVError, match="connection already in progress"):
        peers.server.read_start(ignore)


@pytest.mark.parametrize("make", [bytearray, lambda size: memoryview(bytearray(size))])
def test_read_start_into_fills_the_callers_buffer(loop, peers, make):
    buffer = make(1000)
    digest, sizes = hashlib.sha256(), []

    def on_read(stream, nbytes, error):
        digest.update(buffer[:nbytes])
        sizes.append(nbytes)
        if error is not None:
            assert error.name == "EOF" and nbytes == 0
            stream.close()

    peers.server.read_start_into(buffer, on_read)
    peers.client.write(MEGABYTES[:123_456])
    peers.client.shutdown()
    loop.run()
    assert digest.digest() == hashlib.sha256(MEGABYTES[:123_456]).digest()
    assert sum(sizes) == 123_456 and max(sizes) == 1000


def test_the_buffer_of_read_start_into_can_be_changed_between_reads(loop, peers):
    buffers = [bytearray(4), bytearray(8)]
    seen = []

    def on_read(stream, nbytes, error):
        seen.append(bytes(buffers[0][:nbytes]))
        stream.read_stop()
        stream.read_start_into(buffers[1], on_second)

    def on_second(stream, nbytes, error):
        seen.append(bytes(buffers[1][:nbytes]))
        stream.close()

    peers.server.read_start_into(buffers[0], on_read)
    peers.client.write(b"abcdefgh")
    loop.run()
    assert seen == [b"abcd", b"efgh"]


def test_the_buffer_of_read_start_into_is_free_after_read_stop(loop, peers):
    buffer = bytearray(10)
    peers.server.read_start_into(buffer, ignore)
    if sys.implementation.name == "cpython":  # PyPy lets it grow, and moves nothing we hold
        with pytest.raises(BufferError):
            buffer.append(1)
    peers.server.read_stop()
    buffer.append(1)


@pytest.mark.parametrize(
    ("buffer", "error", "message"),
    [
        (b"read-only", TypeError, "buffer: expected a writable buffer"),
        ("text", TypeError, "buffer: expected a bytes-like object, not str"),
        (17, TypeError, "buffer: expected a bytes-like object, not int"),
        (bytearray(), ValueError, "buffer: expected room for at least one byte"),
        (memoryview(bytearray(8))[::2], ValueError, "buffer: expected a buffer in one piece"),
    ],
)
def test_bad_buffers_are_named(peers, buffer, error, message):
    with pytest.raises(error, match=message):
        peers.server.read_start_into(buffer, ignore)


# -- listening


def test_a_connection_waits_until_it_is_accepted(loop):
    server = listening(loop, ignore)
    with socket.create_connection(server.getsockname()) as client:
        loop.run(uvbind.RunMode.ONCE)
        accepted = server.accept()
        assert accepted.getpeername() == client.getsockname()
    with pytest.raises(BlockingIOError, match="accept: no connection is waiting"):
        server.accept()
    accepted.close()
    server.close()
    loop.run()


def test_accept_into_a_handle_of_ones_own(loop):
    class Session(uvbind.TCP):
        pass

    accepted = []

    def on_connection(server, error):
        session = Session(loop)
        assert server.accept(session) is session
        accepted.append(session)
        session.close()
        server.close()

    server = listening(loop, on_connection)
    with socket.create_connection(server.getsockname()):
        loop.run()
    assert len(accepted) == 1


def test_accept_refuses_handles_that_will_not_do(loop, peers):
    other = uvbind.Loop()
    elsewhere = uvbind.TCP(other)
    server = listening(loop, ignore)
    for client, error, message in (
        (peers.client, ValueError, "client: the handle is in use"),
        (elsewhere, ValueError, "client: the handle is of another loop"),
        (uvbind.Timer, TypeError, r"client: expected a uvbind\.Stream"),
    ):
        with pytest.raises(error, match=message):
            server.accept(client)
    server.close()
    elsewhere.close()
    other.run()
    other.close()


def test_listening_twice_is_refused(loop):
    server = listening(loop, ignore)
    with pytest.raises(uvbind.UVError, match="listening already"):
        server.listen(ignore)
    server.close()
    loop.run()


def test_a_listening_handle_neither_reads_nor_writes(loop):
    server = listening(loop, ignore)
    assert repr(server) == "<TCP listening>"
    with pytest.raises(uvbind.UVError, match=r"read from what accept\(\) returns"):
        server.read_start(ignore)
    with pytest.raises(uvbind.UVError, match="write: this handle is not connected"):
        server.write(b"x")
    server.close()
    loop.run()


@pytest.mark.parametrize("backlog", [-1, 2**31, "many", 1.5])
def test_a_bad_backlog_is_named(loop, backlog):
    server = uvbind.TCP(loop)
    server.bind(LOCALHOST)
    with pytest.raises((TypeError, ValueError), match="backlog: expected an int"):
        server.listen(ignore, backlog)
    server.close()
    loop.run()


# -- the whole of a stream


@pytest.mark.parametrize("verb", ["read_start", "close", "shutdown", "listen", "write"])
def test_bad_callbacks_are_named(peers, verb):
    arguments = (b"x", 17) if verb == "write" else (17,)
    with pytest.raises(TypeError, match="callback: expected a function"):
        getattr(peers.client, verb)(*arguments)


def test_a_closed_stream_says_so(loop, peers):
    peers.client.close()
    for moment in ("closing", "closed"):
        assert peers.client.is_closing(), moment
        assert not (peers.client.is_readable() or peers.client.is_writable())
        assert not peers.client.is_active()
        for verb in (
            lambda: peers.client.write(b"x"),
            lambda: peers.client.write("bad data too"),
            lambda: peers.client.try_write(b"x"),
            lambda: peers.client.read_start(ignore),
            lambda: peers.client.read_stop(),
            lambda: peers.client.shutdown(),
            lambda: peers.client.listen(ignore),
            lambda: peers.client.accept(),
            lambda: peers.client.getpeername(),
            lambda: peers.client.fileno(),
            lambda: peers.client.nodelay(True),
            lambda: peers.client.ref(),
            lambda: peers.client.write_queue_size,
        ):
            with pytest.raises((uvbind.UVError, TypeError)) as caught:
                verb()
            if caught.type is not TypeError:
                assert "this TCP is closed" in str(caught.value)
        loop.run()


def test_state_is_told(loop, peers):
    assert peers.client.is_readable() and peers.client.is_writable()
    assert repr(peers.client) == "<TCP connected>"
    assert peers.client.write_queue_size == 0
    peers.client.set_blocking(True)
    peers.client.write(b"x")
    peers.client.set_blocking(False)
    peers.client.shutdown()
    assert not peers.client.is_writable()


@pytest.mark.parametrize("place", ["listen", "connect", "read", "write", "shutdown", "close"])
def test_an_exception_in_any_callback_comes_out_of_run(loop, place):
    def fail(*arguments):
        raise LookupError(place)

    def at(here, callback):
        return fail if here == place else callback

    def on_connection(server, error):
        accepted.append(server.accept())
        accepted[0].write(b"welcome")

    def on_connect(client, error):
        client.read_start(at("read", on_read))
        client.write(b"x", at("write", ignore))
        client.shutdown(at("shutdown", ignore))

    def on_read(client, data, error):
        client.close(at("close", ignore))

    accepted = []
    server = listening(loop, at("listen", on_connection))
    client = uvbind.TCP(loop)
    client.connect(server.getsockname(), at("connect", on_connect))
    with pytest.raises(LookupError, match=place):
        loop.run()
    for handle in (server, client, *accepted):
        handle.close()
    loop.run()
