"""How connections end: all that came before is received, and then what it was that ended them."""

from __future__ import annotations

import asyncio

import pytest
from endings import about_to_end, every_ending, hung_up, on_linux, reset, tcp_pair
from helpers import Filling

pytestmark = on_linux


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.calls: list[str] = []
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.received += data

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Filler(Recorder, Filling):
    """Has buffers of its own filled."""


@every_ending
@pytest.mark.parametrize("factory", [Recorder, Filler])
def test_all_that_came_and_then_what_ended_it(run, factory, ending):
    async def main():
        with about_to_end(ending) as (ours, finish):
            transport, protocol = await asyncio.get_running_loop().create_connection(
                factory, sock=ours
            )
            transport.write(ending.asks)
            if ending.half_closes:
                transport.write_eof()
            await asyncio.sleep(0)  # the write leaves at the end of the turn
            finish()
            error = await protocol.lost
        assert protocol.received == ending.received
        if ending.is_reset:
            assert isinstance(error, ConnectionResetError) and protocol.calls == []
        else:
            assert error is None and protocol.calls == ["eof"]

    run(main)


@pytest.mark.parametrize(
    "write",
    [
        lambda transport: transport.write(b"one piece"),
        lambda transport: transport.writelines([b"two", b"pieces"]),
    ],
    ids=["write", "writelines"],
)
def test_the_first_error_of_a_write_is_the_one_that_is_told(run, write):
    """The system says once that the connection was reset, from then on that it is broken."""

    async def main():
        ours, theirs = tcp_pair()
        with ours, theirs:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            transport.pause_reading()
            reset(theirs)
            hung_up(transport.get_extra_info("socket"))
            write(transport)
            assert isinstance(await protocol.lost, ConnectionResetError)

    run(main)
