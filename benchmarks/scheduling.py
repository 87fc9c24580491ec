"""Programs that schedule callbacks, for instructions.py to count what one callback costs a loop.

python benchmarks/scheduling.py CONTENDER WORKLOAD COUNT, with lockstep.c preloaded
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from settling import settle

AT_ONCE = 1000  # callbacks of a turn, where there are many
FIRST = 2 * AT_ONCE  # by then CPython has specialised the code
NEXT_TIMER = 0.001  # seconds
NEVER = 1000.0  # seconds

Loop = Any


def nothing() -> None:
    pass


async def call_soon(loop: Loop, count: int) -> None:
    """Many callbacks a turn."""
    for _ in range(count // AT_ONCE):
        for _ in range(AT_ONCE):
            loop.call_soon(nothing)
        await asyncio.sleep(0)


async def chain(count: int, schedule: Callable[[Callable[[], None]], object]) -> None:
    """One callback after the other, each of which schedules the next."""
    done, left = asyncio.get_running_loop().create_future(), count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            schedule(step)
        else:
            done.set_result(None)

    schedule(step)
    await done


async def call_soon_one(loop: Loop, count: int) -> None:
    """One callback a turn."""
    await chain(count, loop.call_soon)


async def sleep_0(loop: Loop, count: int) -> None:
    """A task that lets the others have a turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def timer_fired(loop: Loop, count: int) -> None:
    """One timer after the other, for which the loop waits."""
    await chain(count, lambda step: loop.call_later(NEXT_TIMER, step))


async def timers_fired(loop: Loop, count: int) -> None:
    """Many timers that are due at about one time."""
    for _ in range(count // AT_ONCE):
        for _ in range(AT_ONCE):
            loop.call_later(NEXT_TIMER, nothing)
        await asyncio.sleep(2 * NEXT_TIMER)


async def timer_cancelled(loop: Loop, count: int) -> None:
    """One timer a turn, cancelled at once, as a timeout of what does not wait."""

    def schedule(step: Callable[[], None]) -> None:
        loop.call_later(60, nothing).cancel()
        loop.call_soon(step)

    await chain(count, schedule)


async def timers_cancelled(loop: Loop, count: int) -> None:
    """Many timers, then all are cancelled."""
    for _ in range(count // AT_ONCE):
        for timer in [loop.call_later(60, nothing) for _ in range(AT_ONCE)]:
            timer.cancel()
        await asyncio.sleep(0)


async def call_soon_threadsafe(loop: Loop, count: int) -> None:
    """Many callbacks from another thread, which then waits for them."""
    sys.setswitchinterval(NEVER)  # or how many the loop finds would depend on time
    done, called = loop.create_future(), threading.Semaphore(0)

    def call() -> None:
        for _ in range(count // AT_ONCE):
            for _ in range(AT_ONCE):
                loop.call_soon_threadsafe(nothing)
            loop.call_soon_threadsafe(called.release)
            called.acquire()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=call)
    thread.start()
    await done
    thread.join()


async def reader_once(loop: Loop, count: int) -> None:
    """A reader that is added for each event, as by libraries that wait once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        fd, done, left = ours.fileno(), loop.create_future(), count

        def step() -> None:
            nonlocal left
            loop.remove_reader(fd)
            left -= 1
            if left:
                loop.add_reader(fd, step)
            else:
                done.set_result(None)

        loop.add_reader(fd, step)
        await done


async def reader_repeated(loop: Loop, count: int) -> None:
    """A reader that is called for one event after the other."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        fd, done, left = ours.fileno(), loop.create_future(), count

        def step() -> None:
            nonlocal left
            left -= 1
            if not left:
                loop.remove_reader(fd)
                done.set_result(None)

        loop.add_reader(fd, step)
        await done


Workload = Callable[[Loop, int], Coroutine[Any, Any, None]]
WORKLOADS: dict[str, Workload] = {
    "call-soon": call_soon,
    "call-soon-one": call_soon_one,
    "sleep-0": sleep_0,
    "timer-fired": timer_fired,
    "timers-fired": timers_fired,
    "timer-cancelled": timer_cancelled,
    "timers-cancelled": timers_cancelled,
    "call-soon-threadsafe": call_soon_threadsafe,
    "reader-once": reader_once,
    "reader-repeated": reader_repeated,
}


def main() -> None:
    """Have the second and the third run counted; the difference leaves out starting a run."""
    contender, workload, count = sys.argv[1:]
    lockstep = ctypes.PyDLL(None)
    loop = importlib.import_module(contender).new_event_loop()
    loop.run_until_complete(WORKLOADS[workload](loop, FIRST))
    settle()
    for callbacks in (AT_ONCE, AT_ONCE + int(count)):
        run = WORKLOADS[workload](loop, callbacks)
        lockstep.uvbind_count()
        loop.run_until_complete(run)
        lockstep.uvbind_counted()
    loop.close()


if __name__ == "__main__":
    main()
