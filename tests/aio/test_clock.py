"""Timers follow `loop.time()`, also when a test has replaced the clock and lets time jump."""

from __future__ import annotations

import asyncio
import time

import pytest

import uvbind

REAL = time.monotonic


class Clock:
    """A clock that stands still, or goes on with an offset."""

    def __init__(self) -> None:
        self.now = REAL()
        self.offset: float | None = None

    def __call__(self) -> float:
        return self.now if self.offset is None else REAL() + self.offset


def replace_monotonic(patch, loop, clock):
    patch.setattr(time, "monotonic", clock)


def replace_time_of_the_loop(patch, loop, clock):
    patch.setattr(loop, "time", clock)


def replace_time_of_its_class(patch, loop, clock):
    patch.setattr(type(loop), "time", lambda self: clock(), raising=False)


def replace_time_of_asyncio_s_class(patch, loop, clock):
    patch.setattr(asyncio.SelectorEventLoop, "time", lambda self: clock(), raising=False)


WAYS = [
    replace_monotonic,
    replace_time_of_the_loop,
    replace_time_of_its_class,
    replace_time_of_asyncio_s_class,
]


@pytest.fixture(params=WAYS)
def replaced(request):
    """Replace the clock of a loop inside of a `with` block."""

    class Replaced:
        def __init__(self, loop):
            self.loop, self.clock = loop, Clock()

        def __enter__(self):
            self.patch = pytest.MonkeyPatch()
            request.param(self.patch, self.loop, self.clock)
            return self.clock

        def __exit__(self, *about):
            self.patch.undo()

    return Replaced


@pytest.fixture(params=[False, True], ids=["", "debug"])
def run(new_loop, request):
    def run(main):
        loop = new_loop()
        try:
            loop.set_debug(request.param)
            return loop.run_until_complete(main(loop))
        finally:
            loop.close()

    return run


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_time_stands_still(run, replaced):
    async def main(loop):
        with replaced(loop) as clock:
            assert loop.time() == loop.time() == clock.now

    run(main)


@pytest.mark.parametrize("jump", [5, 6, 1e6])
def test_a_jump_makes_timers_due_in_their_order(run, replaced, jump):
    async def main(loop):
        called = []
        with replaced(loop) as clock:
            loop.call_later(5, called.append, 5)
            loop.call_later(3, called.append, 3)
            loop.call_at(loop.time() + 1e9, called.append, "too early").cancel()
            far = loop.call_later(1e8, called.append, "too early")
            await turns()
            assert called == []
            clock.now += 3
            await turns()
            assert called == [3]
            clock.now += jump
            await turns()
            assert called == [3, 5]
            far.cancel()

    run(main)


def test_a_jump_ends_sleeps_and_timeouts(run, replaced):
    async def main(loop):
        with replaced(loop) as clock:
            sleeping = loop.create_task(asyncio.sleep(60))
            waiting = loop.create_task(asyncio.wait_for(loop.create_future(), 60))
            await turns()
            assert not sleeping.done() and not waiting.done()
            clock.now += 61
            await turns(6)
            assert sleeping.done()
            assert isinstance(waiting.exception(), asyncio.TimeoutError)

    run(main)


def test_timers_of_before_are_due_when_the_clock_has_jumped(run, replaced):
    async def main(loop):
        called = []
        loop.call_later(3600, called.append, 1)
        await turns()
        with replaced(loop) as clock:
            clock.now += 3601
            await turns()
            assert called == [1]

    run(main)


def test_with_the_clock_back_a_timer_of_before_comes_in_its_time(run, replaced):
    """libuv may have been told to wait by a clock that has jumped meanwhile."""

    async def main(loop):
        done = loop.create_future()
        loop.call_later(0.02, done.set_result, None)
        with replaced(loop) as clock:
            clock.now -= 1e6
            await turns()
            assert not done.done()
        await asyncio.wait_for(done, 20)

    run(main)


def test_sleeps_end_while_the_clock_is_back_or_ahead(run, replaced):
    """A test's clock that goes on, from another time."""

    async def main(loop):
        guard = loop.call_at(REAL() + 1e9, print)
        for offset in (-1e6, 1e6):
            with replaced(loop) as clock:
                clock.offset = offset
                await asyncio.sleep(0.01)
        guard.cancel()

    run(main)


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_loop_whose_clock_is_back_waits_and_does_not_spin(replaced, jump):
    loop, iterations = uvbind.new_event_loop(), []

    async def main():
        with replaced(loop) as clock:
            clock.now += jump
            loop.call_later(5, print).cancel()
            timer = loop.call_later(5, print)
            await turns()
        # Loop.metrics() counts the iterations from libuv 1.45 on only.
        prepare = uvbind.Prepare(loop.uv)
        prepare.start(iterations.append)
        await asyncio.sleep(0.1)
        prepare.close()
        timer.cancel()

    try:
        loop.run_until_complete(main())
        assert 0 < len(iterations) < 20
    finally:
        loop.close()
