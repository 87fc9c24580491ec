"""Streams: writing, its order and its failures."""

from __future__ import annotations

import array

import pytest
from helpers import MEGABYTES, ignore, read_all

import uvbind


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
