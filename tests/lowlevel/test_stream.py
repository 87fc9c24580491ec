"""Streams: reading, writing, ending, listening, and what they do with bad input."""

from __future__ import annotations

import array
import hashlib
import socket
import sys

import pytest

import uvbind

LOCALHOST = ("127.0.0.1", 0)
MEGABYTES = bytes(range(256)) * 4096 * 8  # more than the kernel's buffers take at once


def ignore(*arguments: object) -> None:
    pass


def read_all(stream, into: list, then=None):
    """Collect what arrives until the end of the stream, then close it."""

    def on_read(stream, data, error):
        if data is None:
            assert error.name == "EOF"
            stream.close()
        else:
            into.append(data)

    stream.read_start(on_read)


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


# -- writing


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(b"sliced memoryview")[7:],
        array.array("I", [1, 2, 3]),
        b"",
        MEGABYTES,
        bytearray(MEGABYTES),
        array.array("Q", MEGABYTES),
    ],
    ids=lambda data: f"{type(data).__name__}-{len(data)}",
)
@pytest.mark.parametrize("with_callback", [False, True])
def test_all_of_any_bytes_like_object_arrives(loop, peers, data, with_callback):
    received, done = [], []
    read_all(peers.server, received)
    if with_callback:
        peers.client.write(data, lambda stream, error: done.append((stream, error)))
        assert done == [], "never called back from inside write"
    else:
        peers.client.write(data)
    expected = bytes(data)
    if isinstance(data, (bytearray, array.array)) and len(data):
        data[0] = 0  # what was handed over is not touched by this
    peers.client.shutdown()
    loop.run()
    assert b"".join(received) == expected
    assert done == ([(peers.client, None)] if with_callback else [])


def test_order_is_kept_over_all_ways_of_writing(loop, peers):
    received = []
    read_all(peers.server, received)
    pieces = [bytes([number]) * 300_000 for number in range(24)]
    for number, piece in enumerate(pieces):
        (
            lambda piece: peers.client.write(piece),
            lambda piece: peers.client.write(piece, ignore),
            lambda piece: peers.client.write(bytearray(piece)),
            lambda piece: peers.client.writelines([piece[:1000], bytearray(piece[1000:])]),
        )[number % 4](piece)
    assert peers.client.write_queue_size > 0
    assert peers.client.try_write(b"not past the queue") == 0
    peers.client.shutdown()
    loop.run()
    assert b"".join(received) == b"".join(pieces)


def test_writelines_with_a_callback_and_with_nothing(loop, peers):
    received, done = [], []
    read_all(peers.server, received)
    peers.client.writelines([])
    peers.client.writelines([], lambda stream, error: done.append(error))
    peers.client.writelines((b"a", b"", b"b"), lambda stream, error: done.append(error))
    peers.client.writelines([b"c"] * 5000)  # more than one writev takes
    peers.client.shutdown()
    loop.run()
    assert b"".join(received) == b"ab" + b"c" * 5000 and done == [None, None]


def test_try_write_sends_what_fits_and_queues_nothing(loop, peers):
    received = []
    sent = 0
    while True:
        count = peers.client.try_write(MEGABYTES)
        sent += count
        if count < len(MEGABYTES):
            break
    assert peers.client.write_queue_size == 0
    read_all(peers.server, received)
    peers.client.shutdown()
    loop.run()
    assert sum(map(len, received)) == sent > 0


def test_shutdown_calls_back_after_the_data_and_reading_goes_on(loop, peers):
    order, replies = [], []

    def on_read(stream, data, error):
        if data is None:
            stream.write(b"reply after your end")
            stream.shutdown()

    peers.server.read_start(on_read)
    peers.client.read_start(
        lambda stream, data, error: replies.append(data) if data else stream.close()
    )
    peers.client.write(MEGABYTES, lambda stream, error: order.append("written"))
    peers.client.shutdown(lambda stream, error: order.append(("shut", stream, error)))
    loop.run()
    assert order == ["written", ("shut", peers.client, None)]
    assert b"".join(replies) == b"reply after your end"


def test_write_after_shutdown_is_refused(peers):
    peers.client.shutdown()
    for verb in (
        lambda: peers.client.write(b"x"),
        lambda: peers.client.write(b"x", ignore),
        lambda: peers.client.writelines([b"x"]),
        lambda: peers.client.try_write(b"x"),
    ):
        with pytest.raises(BrokenPipeError, match=r"write: not after shutdown\(\)"):
            verb()
    with pytest.raises(uvbind.UVError, match="not connected"):
        peers.client.shutdown()


def test_closing_with_writes_pending_cancels_them(loop, peers):
    calls = []
    peers.client.write(MEGABYTES, lambda stream, error: calls.append(error.name))
    peers.client.write(MEGABYTES)  # nobody to call back, nothing to raise
    peers.client.close(lambda stream: calls.append("closed"))
    loop.run()
    assert calls == ["ECANCELED", "closed"]


def reset_under(peers):
    """Let the client's next write find the connection reset."""
    peers.server.close_reset()
    peers.server.loop.run()


def test_a_late_failure_goes_to_the_write_callback(loop, peers):
    errors = []
    reset_under(peers)
    peers.client.write(b"x", lambda stream, error: errors.append(error))
    loop.run()
    assert isinstance(errors[0], (BrokenPipeError, ConnectionResetError))


@pytest.mark.parametrize("data", [b"x", bytearray(b"x")])
def test_a_late_failure_without_callback_goes_to_the_reader(loop, peers, data):
    calls = []

    def on_read(stream, data, error):
        calls.append((data, error))
        stream.close()

    reset_under(peers)
    peers.client.read_start(on_read)
    peers.client.write(data)
    loop.run()
    ((nothing, error),) = calls
    assert nothing is None and isinstance(error, ConnectionError)


@pytest.mark.parametrize("data", [b"x", bytearray(b"x")])
def test_a_late_failure_with_nobody_to_tell_comes_out_of_run(loop, peers, data):
    reset_under(peers)
    peers.client.write(data)
    with pytest.raises(ConnectionError, match="write: "):
        loop.run()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("text", TypeError, "data: expected a bytes-like object, not str; encode it first"),
        (17, TypeError, "data: expected a bytes-like object, not int"),
        (None, TypeError, "data: expected a bytes-like object, not NoneType"),
        ([b"x"], TypeError, "data: expected a bytes-like object, not list"),
        (memoryview(b"abcdef")[::2], ValueError, "data: expected a buffer in one piece"),
    ],
)
def test_bad_data_is_named(peers, data, error, message):
    for verb in (
        lambda: peers.client.write(data),
        lambda: peers.client.write(data, ignore),
        lambda: peers.client.writelines([b"x", data]),
        lambda: peers.client.try_write(data),
    ):
        with pytest.raises(error, match=message):
            verb()


def test_writelines_wants_several(peers):
    with pytest.raises(TypeError, match=r"use write\(\) for one"):
        peers.client.writelines(b"one")


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


# -- listening


def listening(loop, callback):
    server = uvbind.TCP(loop)
    server.bind(LOCALHOST)
    server.listen(callback)
    return server


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
        client.read_start(at("read", ignore))
        client.write(b"x", at("write", ignore))
        client.shutdown(at("shutdown", ignore))

    accepted = []
    server = listening(loop, at("listen", on_connection))
    client = uvbind.TCP(loop)
    client.connect(server.getsockname(), at("connect", on_connect))
    timer = uvbind.Timer(loop)
    timer.start(lambda timer: client.close(at("close", ignore)), 20)
    with pytest.raises(LookupError, match=place):
        loop.run()
    for handle in (server, client, timer, *accepted):
        handle.close()
    loop.run()
