"""What a loop measures of itself: how long it waits, what it does, what it holds."""

from __future__ import annotations

import copy
import signal
import socket
import time
from typing import Any

import pytest
from helpers import LOCALHOST, MEGABYTES, has_libuv, ignore, needs_libuv, soon

from uvbind import UDP, Async, Loop, Metrics, Pipe, RunMode, Signal, Timer, UVError

# -- libuv's own


def test_metrics_idle_time_counts_what_the_loop_waited(bare: Loop) -> None:
    bare.configure(metrics_idle_time=True)
    assert bare.metrics_idle_time() == 0
    before = Loop.hrtime()
    for _ in range(100):  # a machine that is busy may let the time pass elsewhere
        if bare.metrics_idle_time() == 0:
            soon(bare, ignore, 20)
            bare.run()
    assert 0 < bare.metrics_idle_time() <= Loop.hrtime() - before


def test_metrics_idle_time_is_0_when_not_configured(bare: Loop) -> None:
    soon(bare, ignore, 2)
    bare.run()
    assert bare.metrics_idle_time() == 0


@needs_libuv(1, 45)
def test_metrics_info_counts_turns_and_events(loop: Loop) -> None:
    before = loop.metrics_info()
    async_ = Async(loop, ignore)
    for _ in range(3):
        async_.send()
        loop.run(RunMode.NOWAIT)
    after = loop.metrics_info()
    assert after.loop_count - before.loop_count == 3
    assert after.events - before.events == 3
    assert 0 <= after.events_waiting <= 3
    async_.close()


# -- metrics()


def be_busy() -> None:
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass


def test_a_loop_that_waits_is_idle(bare: Loop) -> None:
    before = bare.metrics()
    soon(bare, ignore, 200)
    bare.run()
    waited = bare.metrics() - before
    assert 0 < waited.idle_time < waited.duration
    assert waited.utilisation < 0.5
    assert waited.active_time == waited.duration - waited.idle_time


def test_a_loop_that_is_busy_in_a_callback_is_not_idle(bare: Loop) -> None:
    windows = []

    def callback() -> None:
        before = bare.metrics()
        be_busy()
        windows.append(bare.metrics() - before)

    soon(bare, callback, 1)
    before = bare.metrics()
    bare.run()
    (inside,) = windows
    assert (inside.idle_time, inside.utilisation) == (0.0, 1.0)
    assert inside.duration >= 0.05
    assert (bare.metrics() - before).active_time >= inside.duration


def test_what_is_begun_in_a_callback_is_measured_from_there(bare: Loop) -> None:
    first: list[Metrics] = []
    soon(bare, lambda: first.append(bare.metrics()), 5)
    soon(bare, ignore, 150)
    bare.run()
    assert first[0].idle_time == first[0].duration == first[0].utilisation == 0.0
    assert first[0].iterations in (0, None)
    assert 0 < (bare.metrics() - first[0]).idle_time == bare.metrics().idle_time


def test_time_outside_of_run_is_active(bare: Loop) -> None:
    before = bare.metrics()
    be_busy()
    assert (bare.metrics() - before).utilisation == 1.0


def test_configure_begins_measuring_once(bare: Loop) -> None:
    bare.configure(metrics_idle_time=True)
    first = bare.metrics()
    assert 0.0 < first.duration == first.active_time
    bare.configure(metrics_idle_time=True)
    assert bare.metrics().start == first.start
    before, end, after = Loop.hrtime(), bare.metrics().end, Loop.hrtime()
    assert before - 1000 <= end * 1e9 <= after + 1000  # nanoseconds; a float has no more digits


@pytest.mark.parametrize("watcher", [False, True], ids=["python", "uvbind"])
def test_a_wait_that_signals_interrupt_is_idle(bare: Loop, watcher: bool) -> None:
    signals = []

    def count(*about: object) -> None:
        signals.append(about)
        if len(signals) == 5:
            signal.setitimer(signal.ITIMER_REAL, 0)  # or a sixth may come after run()
            bare.stop()

    timer = Timer(bare)
    timer.start(ignore, 60_000)
    before = bare.metrics()
    if watcher:
        Signal(bare).start(count, signal.SIGALRM)
    else:
        python_had = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        bare.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not watcher:
            signal.signal(signal.SIGALRM, python_had)
    waited = bare.metrics() - before
    assert len(signals) == 5
    assert waited.utilisation < 0.5 and waited.idle_time < waited.duration


@needs_libuv(1, 45)
def test_turns_and_events_of_a_window(loop: Loop) -> None:
    async_ = Async(loop, ignore)
    before = loop.metrics()
    for _ in range(3):
        async_.send()
        loop.run(RunMode.NOWAIT)
    window = loop.metrics() - before
    assert (window.iterations, window.events) == (3, 3)
    assert window.events_waiting == 3, "they were there when the loop looked"
    async_.close()


@pytest.mark.skipif(has_libuv(1, 45), reason="libuv 1.45 counts")
def test_there_are_no_counts_with_a_libuv_that_does_not_count(bare: Loop) -> None:
    before = bare.metrics()
    window = bare.metrics() - before
    assert window.iterations is window.events is window.events_waiting is None


def test_what_a_stream_has_queued(loop: Loop, peers: Any) -> None:
    assert (loop.metrics().queued_bytes, loop.metrics().requests) == (0, 0)
    peers.client.write(MEGABYTES)
    queued = loop.metrics().queued_bytes
    assert queued == peers.client.write_queue_size > 0
    peers.server.write(MEGABYTES, ignore)
    assert loop.metrics().queued_bytes == queued + peers.server.write_queue_size > queued
    assert loop.metrics().requests == 2
    peers.server.close()
    assert loop.metrics().queued_bytes == queued, "what closes is not sent any more"


def test_what_a_pipe_has_queued(bare: Loop) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        pipe = Pipe(bare)
        pipe.open(ours.detach())
        pipe.write(MEGABYTES)
        assert bare.metrics().queued_bytes == pipe.write_queue_size > 0


def test_what_a_udp_handle_has_queued(bare: Loop) -> None:
    receiver, sender = UDP(bare), UDP(bare)
    receiver.bind(LOCALHOST)
    sent: list[UVError | None] = []
    sender.send(b"12345", receiver.getsockname(), lambda udp, error: sent.append(error))
    assert bare.metrics().queued_bytes == sender.send_queue_size == 5
    bare.run()
    assert sent == [None] and bare.metrics().queued_bytes == 0


def test_handles_are_those_that_are_open(bare: Loop) -> None:
    timer, async_ = Timer(bare), Async(bare, ignore)
    before = bare.metrics()
    assert before.handles == (bare.metrics() - before).handles == 2
    timer.close()
    assert bare.metrics().handles == 1
    async_.close()
    bare.run()
    assert bare.metrics().handles == 0


def test_a_window_is_of_two_moments_of_one_loop(bare: Loop) -> None:
    first, second, third = bare.metrics(), bare.metrics(), bare.metrics()
    assert (third - first).duration > (third - second).duration
    with Loop() as other, pytest.raises(ValueError, match="earlier for the same loop"):
        second - other.metrics()
    with pytest.raises(ValueError, match="earlier for the same loop"):
        first - second
    with pytest.raises(ValueError, match="earlier for the same loop"):
        bare.metrics() - (third - second)
    with pytest.raises(TypeError, match="unsupported operand"):
        second - 1  # type: ignore[operator]


def test_metrics_show_what_they_are_and_can_be_kept(bare: Loop) -> None:
    metrics = bare.metrics()
    assert repr(metrics).startswith(f"Metrics(start={metrics.start!r}, end=")
    assert "handles=0" in repr(metrics) and "utilisation=0.0" in repr(metrics)
    assert vars(copy.copy(metrics)) == vars(metrics)
