"""How streams end: all that came before is read, and then what it was that ended them."""

from __future__ import annotations

import socket

import pytest
from endings import about_to_end, every_ending, on_linux

import uvbind

pytestmark = on_linux


def read_start(stream, heard):
    def on_read(stream, data, error):
        heard.append(data if error is None else error.name)
        if error is not None:
            stream.close()

    stream.read_start(on_read)


def read_start_into(stream, heard):
    buffer = bytearray(1000)

    def on_read(stream, nbytes, error):
        heard.append(bytes(buffer[:nbytes]) if error is None else error.name)
        if error is not None:
            stream.close()

    stream.read_start_into(buffer, on_read)


@every_ending
@pytest.mark.parametrize("start", [read_start, read_start_into])
def test_all_that_came_and_then_what_ended_it(loop, start, ending):
    heard: list = []
    with about_to_end(ending) as (ours, finish):
        kind = uvbind.Pipe if ours.family == socket.AF_UNIX else uvbind.TCP
        stream = kind(loop)
        stream.open(ours)
        start(stream, heard)
        if ending.asks:
            stream.write(ending.asks)
        if ending.half_closes:
            stream.shutdown()
        loop.run(uvbind.RunMode.NOWAIT)
        finish()
        loop.run()
    assert heard.pop() == ("ECONNRESET" if ending.is_reset else "EOF")
    assert b"".join(heard) == ending.received
