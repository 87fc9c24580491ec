"""The scenarios of the low-level verbs, each interrupted after its `yield`.

To add a verb: name it above the scenario that calls it, or add a scenario.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from helpers import HARMLESS, ignore, kill
from interrupted_world import World
from interrupting import Scenario, Steps

import uvbind
from uvbind import (
    TCP,
    UDP,
    Async,
    Check,
    Handle,
    Idle,
    Loop,
    Pipe,
    Poll,
    PollEvent,
    Prepare,
    Signal,
    Timer,
)

SCENARIOS: list[Scenario] = []
MUCH = bytes(4 << 20)  # more than the kernel takes at once


def about(*verbs: Any) -> Callable[[Callable[[World], Steps]], Callable[[World], Steps]]:
    def add(function: Callable[[World], Steps]) -> Callable[[World], Steps]:
        SCENARIOS.append(Scenario(function, verbs))
        return function

    return add


# -- loops


@about(Loop, Loop.close)
def loop_made_and_closed(world: World) -> Steps:
    made: list[Loop] = []
    world.later.append(lambda: [loop.close() for loop in made])
    yield
    loop = Loop()
    made.append(loop)
    loop.close()


@about(Loop.__enter__, Loop.__exit__)
def loop_in_a_with_block(world: World) -> Steps:
    closed = world.callback()
    made: list[Loop] = []
    world.later.append(lambda: [loop.__exit__(None, None, None) for loop in made])
    loop = Loop()
    made.append(loop)
    for _ in range(2):
        Timer(loop).start(ignore, 10_000)
    Idle(loop).start(ignore)
    Timer(loop).close(closed)
    uvbind.getaddrinfo(loop, "127.0.0.1", callback=world.callback())
    world.expect(closed)
    yield
    with loop:
        pass


@about(Loop.run, Loop.stop, Loop.alive, Loop.now, Loop.update_time)
def loop_run_and_stopped(world: World) -> Steps:
    loop = world.loop
    handle = Idle(loop)
    handle.start(lambda handle: (loop.stop(), handle.stop()))
    yield
    loop.run()
    loop.update_time()
    assert loop.now() and not loop.alive()


@about(Loop.walk)
def loop_walked(world: World) -> Steps:
    handles = [Timer(world.loop), Check(world.loop)]
    yield
    world.loop.walk(lambda handle: handle.close())
    assert handles


@about(
    Loop.configure,
    Loop.metrics,
    Loop.metrics_idle_time,
    Loop.metrics_info,
    Loop.backend_fd,
    Loop.backend_timeout,
    Loop.print_all_handles,
    Loop.print_active_handles,
    Loop.hrtime,
)
def loop_configured_and_measured(world: World) -> Steps:
    loop = world.loop
    null = os.open(os.devnull, os.O_WRONLY)
    world.stack.callback(os.close, null)
    yield
    loop.configure(metrics_idle_time=True)
    loop.metrics()
    assert loop.metrics_idle_time() >= 0
    with world.needs(1, 45):
        loop.metrics_info()
    loop.backend_fd()
    loop.backend_timeout()
    loop.print_all_handles(null)
    loop.print_active_handles(null)
    loop.hrtime()


# -- what all handles have


MAKERS: dict[str, Callable[[World], Handle]] = {
    "timer": lambda world: Timer(world.loop),
    "async": lambda world: Async(world.loop, ignore),
    "idle": lambda world: Idle(world.loop),
    "signal": lambda world: Signal(world.loop),
    "poll": lambda world: Poll(world.loop, world.readable()),
    "tcp": lambda world: TCP(world.loop, socket.AF_INET),
    "pipe": lambda world: Pipe(world.loop),
    "udp": lambda world: UDP(world.loop, socket.AF_INET),
}
CLASSES = (Timer, Async, Prepare, Check, Idle, Signal, Poll, TCP, Pipe, UDP)


@about(*CLASSES)
def handles_made(world: World) -> Steps:
    fd = world.readable()
    yield
    Timer(world.loop)
    Async(world.loop, ignore)
    Prepare(world.loop)
    Check(world.loop)
    Idle(world.loop)
    Signal(world.loop)
    Poll(world.loop, fd)
    TCP(world.loop)
    TCP(world.loop, socket.AF_INET)
    Pipe(world.loop)
    UDP(world.loop)
    UDP(world.loop, socket.AF_INET)


def closing(name: str, with_callback: bool) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        handle = MAKERS[name](world)
        if with_callback:
            closed = world.callback(handle=handle, closing=True)
        yield
        if with_callback:
            handle.close(closed)
            world.expect(closed)
        else:
            handle.close()
        world.loop.run()

    scenario.__name__ = f"closed_{name}" + ("_with_callback" if with_callback else "")
    return scenario


for _name in MAKERS:
    about(Handle.close, *([Poll.close] if _name == "poll" else []))(closing(_name, True))
    about(Handle.close)(closing(_name, False))


@about(Handle.close)
def closed_in_numbers(world: World) -> Steps:
    closed = [world.callback() for _ in range(3)]
    for callback in closed:
        callback.handle, callback.closing = Timer(world.loop), True
    yield
    for callback in closed:
        callback.handle.close(callback)
        world.expect(callback)
    world.loop.run()


@about(
    Handle.ref,
    Handle.unref,
    Handle.has_ref,
    Handle.is_active,
    UDP.is_active,
    Handle.is_closing,
    Handle.fileno,
    Handle.loop,
    UDP.send_buffer_size,
    UDP.recv_buffer_size,
)
def asked_and_set(world: World) -> Steps:
    handle = UDP(world.loop, socket.AF_INET)
    yield
    handle.unref()
    handle.ref()
    assert handle.has_ref() and not handle.is_active() and not handle.is_closing()
    assert handle.fileno() and handle.loop
    handle.send_buffer_size = handle.send_buffer_size
    handle.recv_buffer_size = handle.recv_buffer_size


# -- timers and watchers


@about(Timer.start)
def timer_started(world: World) -> Steps:
    timer = Timer(world.loop)
    done = world.callback(handle=timer)
    yield
    timer.start(done, 0)
    world.expect(done)
    world.until(done)


@about(Timer.start)
def timer_started_again(world: World) -> Steps:
    timer = Timer(world.loop)
    timer.start(lambda timer: timer.is_active(), 0)
    yield
    timer.start(lambda timer: timer.is_active(), 0)
    world.loop.run()


@about(Timer.again, Timer.stop, Timer.repeat, Timer.due_in)
def timer_repeated(world: World) -> Steps:
    timer = Timer(world.loop)
    done = world.callback(at_most=100)
    timer.start(done, 1, 1)
    yield
    assert timer.due_in < 2
    timer.repeat = timer.repeat
    timer.again()
    world.until(done)
    timer.stop()


def watching(kind: Any, again: bool) -> Callable[[World], Steps]:
    def scenario(world: World) -> Steps:
        handle = kind(world.loop)
        done = world.callback(handle=None if again else handle, at_most=10_000)
        if again:
            handle.start(lambda handle: handle.is_active())
        world.later.append(lambda: Idle(world.loop).start(ignore))
        idle = Idle(world.loop)
        idle.start(ignore)
        yield
        handle.start(done)
        world.expect(done)
        world.until(done)
        handle.stop()

    scenario.__name__ = f"{kind._name}_started" + ("_again" if again else "")
    return scenario


for _kind in (Prepare, Check, Idle):
    about(_kind.start, _kind.stop)(watching(_kind, False))
    about(_kind.start)(watching(_kind, True))


@about(Signal.start, Signal.stop)
def signal_started(world: World) -> Steps:
    handle = Signal(world.loop)
    done = world.callback(handle=handle, at_most=2)
    world.later.append(lambda: kill(HARMLESS))
    yield
    handle.start(done, HARMLESS)
    kill(HARMLESS)
    world.expect(done)
    world.until(done)
    handle.stop()


@about(Signal.start_oneshot)
def signal_started_oneshot(world: World) -> Steps:
    handle = Signal(world.loop)
    done = world.callback(handle=handle)
    world.later.append(lambda: kill(HARMLESS))
    yield
    handle.start_oneshot(done, HARMLESS)
    kill(HARMLESS)
    world.expect(done)
    world.until(done)


@about(Async.send)
def async_sent(world: World) -> Steps:
    done = world.callback(at_most=2)
    handle = Async(world.loop, done)
    world.later.append(lambda: handle.is_closing() or handle.send())
    yield
    handle.send()
    world.expect(done)
    world.until(done)


@about(Poll.start, Poll.stop, Poll.fileno)
def poll_started(world: World) -> Steps:
    handle = Poll(world.loop, world.readable())
    done = world.callback(handle=handle, at_most=10_000)
    yield
    handle.start(PollEvent.READABLE, done)
    world.expect(done)
    world.until(done)
    handle.stop()
    handle.fileno()


@about(Poll.start)
def poll_started_again(world: World) -> Steps:
    handle = Poll(world.loop, world.readable())
    handle.start(PollEvent.READABLE, lambda poll, events, error: poll.is_active())
    yield
    handle.start(PollEvent.READABLE, lambda poll, events, error: poll.is_active())
    world.loop.run(uvbind.RunMode.NOWAIT)
    handle.close()
