"""Random orders of calls on both layers, against models of what has to hold.

Of libuv's handles: a request that was accepted calls back once, a close callback comes once and
after those of the requests, nothing is called after close(), and bytes arrive in order. Of
transports: connection_made, data, eof_received at most once, connection_lost once, in this order.
When all is closed no descriptor is left, and no object waits for the garbage collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import uvbind

PYPY = sys.implementation.name == "pypy"
# Fewer on PyPy, where each collection of the garbage collector takes half a second.
EXAMPLES = int(os.environ.get("UVBIND_MACHINE_EXAMPLES", "10" if PYPY else "40"))
SIZES = st.sampled_from([1, 1000, 70_000, 1_000_000])
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 40,
    suppress_health_check=list(HealthCheck),
)


def run_machine(machine: type[RuleBasedStateMachine], **changes: Any) -> None:
    run_state_machine_as_test(machine, settings=settings(SETTINGS, **changes))


def pattern(start: int, size: int) -> bytes:
    """Bytes of a stream from a position on, each of which tells its own position."""
    whole = bytes(range(251))
    first = start % 251
    return (whole * (size // 251 + 2))[first : first + size]


# -- libuv's handles


class End:
    """One end of a connection, and what its callbacks have told."""

    def __init__(self, handle: uvbind.TCP) -> None:
        self.handle = handle
        self.other: End | None = None
        self.sent = self.received = 0
        self.asked = self.answered = 0  # requests with callbacks
        self.closing = self.ended = self.reading = self.shut = False
        self.closed = 0

    def on_read(self, handle: Any, data: bytes | None, error: Any) -> None:
        assert self.reading and not self.closing
        if data is None:
            assert not self.ended
            self.ended, self.reading = True, False
            return
        assert data == pattern(self.received, len(data))
        self.received += len(data)
        assert self.other is not None and self.received <= self.other.sent

    def on_answer(self, handle: Any, error: Any) -> None:
        self.answered += 1
        assert self.answered <= self.asked and not self.closed

    def on_close(self, handle: Any) -> None:
        self.closed += 1
        assert self.closed == 1 and self.closing and self.answered == self.asked


class Handles(RuleBasedStateMachine):
    """Connections of libuv's TCP handles."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvbind.Loop()
        self.ends: list[End] = []
        self.gone: list[weakref.ref[Any]] = []

    def pick(self, number: int) -> End:
        return self.ends[number % len(self.ends)]

    @rule()
    def connect(self) -> None:
        one, two = (End(handle) for handle in uvbind.TCP.socketpair(self.loop))
        one.other, two.other = two, one
        self.ends += [one, two]
        self.gone += [weakref.ref(one.handle), weakref.ref(two.handle)]

    @precondition(lambda self: self.ends)
    @rule(number=st.integers(0, 99), size=SIZES, way=st.sampled_from(["plain", "answer", "try"]))
    def write(self, number: int, size: int, way: str) -> None:
        end = self.pick(number)
        data = pattern(end.sent, size)
        try:
            if way == "try":
                size = end.handle.try_write(data)
            elif way == "answer":
                end.handle.write(data, end.on_answer)
                end.asked += 1
            else:
                end.handle.write(data)
        except OSError:
            return  # closed, shut down, reset, or full for try_write()
        assert not end.closing and not end.shut
        end.sent += size

    @precondition(lambda self: self.ends)
    @rule(number=st.integers(0, 99), start=st.booleans())
    def read(self, number: int, start: bool) -> None:
        end = self.pick(number)
        try:
            if start:
                end.handle.read_start(end.on_read)
            else:
                end.handle.read_stop()
        except OSError:
            assert end.closing or end.reading or end.ended
        else:
            assert not end.closing
            end.reading = start

    @precondition(lambda self: self.ends)
    @rule(number=st.integers(0, 99))
    def shutdown(self, number: int) -> None:
        end = self.pick(number)
        try:
            end.handle.shutdown(end.on_answer)
        except OSError:
            return
        assert not end.closing and not end.shut
        end.asked += 1
        end.shut = True

    @precondition(lambda self: self.ends)
    @rule(number=st.integers(0, 99), reset=st.booleans())
    def close(self, number: int, reset: bool) -> None:
        end = self.pick(number)
        if end.closing:
            end.handle.close()  # which does nothing
            return
        try:
            (end.handle.close_reset if reset else end.handle.close)(end.on_close)
        except OSError:
            assert reset and end.shut
            return
        end.closing, end.reading = True, False

    @rule(turns=st.integers(1, 3))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            with contextlib.suppress(OSError):  # of a write without a callback
                self.loop.run(uvbind.RunMode.NOWAIT)

    @rule()
    def collect(self) -> None:
        gc.collect()

    def teardown(self) -> None:
        try:
            self.check_the_end()
        finally:
            gc.enable()
            self.loop.__exit__(None, None, None)

    def check_the_end(self) -> None:
        for number in range(len(self.ends)):
            self.close(number, False)
        while self.loop._handles or self.loop._failures:
            self.run(1)
        assert all(end.closed == 1 and end.answered == end.asked for end in self.ends)
        gc.disable()
        while self.ends:
            self.ends.pop().other = None
        assert PYPY or not [handle for handle in self.gone if handle() is not None]


def test_handles_in_any_order_of_calls():
    run_machine(Handles)


# -- transports


class Recording(asyncio.Protocol):
    """A protocol that checks the order in which it is called."""

    def __init__(self) -> None:
        self.state = "new"
        self.sent = self.received = 0
        self.other: Recording | None = None
        self.transport: Any = None
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        assert self.state == "new"
        self.state, self.transport = "made", transport

    def data_received(self, data: bytes) -> None:
        assert self.state == "made" and data
        assert data == pattern(self.received, len(data))
        self.received += len(data)
        assert self.other is not None and self.received <= self.other.sent

    def eof_received(self) -> bool:
        assert self.state == "made"
        self.state = "eof"
        return True

    def pause_writing(self) -> None:
        assert not self.paused and self.state in ("made", "eof")
        self.paused = True

    def resume_writing(self) -> None:
        assert self.paused and self.state in ("made", "eof")
        self.paused = False

    def connection_lost(self, exc: BaseException | None) -> None:
        assert self.state in ("made", "eof")
        assert exc is None or isinstance(exc, OSError)
        self.state = "lost"


class Transports(RuleBasedStateMachine):
    """Connections of the asyncio loop over socket pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvbind.new_event_loop()
        self.told: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.told.append(context))
        self.protocols: list[Recording] = []
        self.gone: list[weakref.ref[Any]] = []

    def pick(self, number: int) -> Recording:
        return self.protocols[number % len(self.protocols)]

    @rule()
    def connect(self) -> None:
        made = [self.loop.run_until_complete(self._connect(s)) for s in socket.socketpair()]
        made[0].other, made[1].other = made[1], made[0]
        self.protocols += made
        self.gone += [weakref.ref(protocol.transport) for protocol in made]

    async def _connect(self, sock: socket.socket) -> Recording:
        _, protocol = await self.loop.create_connection(Recording, sock=sock)
        return protocol

    @precondition(lambda self: self.protocols)
    @rule(number=st.integers(0, 99), size=SIZES, lines=st.booleans())
    def write(self, number: int, size: int, lines: bool) -> None:
        protocol = self.pick(number)
        transport = protocol.transport
        data = pattern(protocol.sent, size)
        try:
            if lines:
                transport.writelines([data[: size // 2], memoryview(data)[size // 2 :]])
            else:
                transport.write(data)
        except RuntimeError:
            return  # after write_eof()
        protocol.sent += size

    @precondition(lambda self: self.protocols)
    @rule(number=st.integers(0, 99), verb=st.sampled_from(["write_eof", "close", "abort"]))
    def end(self, number: int, verb: str) -> None:
        getattr(self.pick(number).transport, verb)()

    @precondition(lambda self: self.protocols)
    @rule(number=st.integers(0, 99), verb=st.sampled_from(["pause_reading", "resume_reading"]))
    def flow(self, number: int, verb: str) -> None:
        protocol = self.pick(number)
        getattr(protocol.transport, verb)()
        if verb == "resume_reading" and protocol.state == "eof":
            protocol.state = "made"  # asyncio tells of the end again

    @rule(turns=st.integers(1, 5))
    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.run_until_complete(asyncio.sleep(0))

    def teardown(self) -> None:
        try:
            self.check_the_end()
        finally:
            gc.enable()
            self.loop.close()

    def check_the_end(self) -> None:
        for number in range(len(self.protocols)):
            self.end(number, "abort")
        self.run(5)
        assert self.told == []
        assert {protocol.state for protocol in self.protocols} <= {"lost"}
        gc.disable()
        while self.protocols:
            self.protocols.pop().other = None
        assert PYPY or not [transport for transport in self.gone if transport() is not None]


def test_transports_in_any_order_of_calls():
    run_machine(Transports)


# -- that these tests can fail


@pytest.mark.parametrize(
    ("machine", "kind", "method"),
    [
        (Handles, End, "on_answer"),
        (Handles, End, "on_close"),
        (Transports, Recording, "connection_lost"),
    ],
)
def test_a_call_that_is_missed_is_found_out(monkeypatch, machine, kind, method):
    monkeypatch.setattr(kind, method, lambda *about: None)
    with pytest.raises(AssertionError):
        run_machine(machine, phases=[Phase.generate])  # no time goes into a shorter example
