"""Signal handlers of the loop, beside those that the program sets with signal.signal()."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading

import pytest
from helpers import Handler, Oops, in_child, needs_fork

import uvbind

ONE, OTHER = signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture(autouse=True)
def as_before():
    handlers = {number: signal.getsignal(number) for number in (ONE, OTHER, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture
def loop(new_loop):
    loop = new_loop()
    yield loop
    loop.close()


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_handler_that_the_program_sets_later_is_called_as_well(loop):
    calls, handler = [], Handler()

    async def main():
        loop.add_signal_handler(ONE, calls.append, "loop's")
        signal.signal(ONE, handler)
        signal.raise_signal(ONE)
        await until(lambda: calls and handler.calls)
        loop.add_signal_handler(OTHER, calls.append, "other's")
        signal.raise_signal(OTHER)
        await until(lambda: len(calls) == 2)

    loop.run_until_complete(main())
    assert calls == ["loop's", "other's"] and handler.calls == [ONE]


def test_a_handler_that_the_program_sets_and_takes_back(loop):
    calls, handler = [], Handler()

    async def main():
        loop.add_signal_handler(ONE, calls.append, 1)
        before = signal.signal(ONE, handler)
        signal.signal(ONE, before)
        signal.raise_signal(ONE)
        await until(lambda: calls)

    loop.run_until_complete(main())
    assert calls == [1] and handler.calls == []


def test_the_loops_handler_replaces_one_of_before(loop):
    calls, handler = [], Handler()
    signal.signal(ONE, handler)

    async def main():
        loop.add_signal_handler(ONE, calls.append, 1)
        signal.raise_signal(ONE)
        await until(lambda: calls)

    loop.run_until_complete(main())
    assert handler.calls == []


def test_each_of_several_signals_is_told(loop):
    calls = []

    async def main():
        for number in (ONE, OTHER):
            loop.add_signal_handler(number, calls.append, number)
        for number in (ONE, OTHER, ONE):
            signal.raise_signal(number)
        await until(lambda: len(calls) == 3)
        assert calls == [ONE, OTHER, ONE]
        for _ in range(200):  # more than are taken at a time
            signal.raise_signal(ONE)
        await until(lambda: len(calls) == 203)

    loop.run_until_complete(main())


def test_signals_between_two_runs_are_told_in_the_next(loop):
    calls, handler = [], Handler()
    loop.add_signal_handler(ONE, calls.append, 1)
    signal.raise_signal(ONE)
    loop.run_until_complete(until(lambda: calls))
    signal.signal(ONE, handler)
    signal.raise_signal(ONE)
    loop.run_until_complete(until(lambda: len(calls) == 2))
    assert handler.calls == [ONE]


def test_what_the_programs_handler_raises_does_not_silence_the_loops(loop):
    calls = []

    def handler(number, frame):
        raise Oops

    async def main():
        loop.add_signal_handler(ONE, calls.append, 1)
        signal.signal(ONE, handler)
        loop.call_soon(signal.raise_signal, ONE)
        await until(lambda: calls)

    # It is raised in the callback, and goes to the exception handler.
    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
    loop.run_until_complete(main())
    assert calls == [1] and isinstance(told[0], Oops)


def test_a_signal_wakes_a_loop_that_waits_whoever_has_its_handler(loop):
    calls, handler = [], Handler()
    loop.add_signal_handler(ONE, lambda: (calls.append(1), loop.stop()))
    signal.signal(ONE, handler)
    thread = threading.Thread(target=os.kill, args=(os.getpid(), ONE))
    loop.call_soon(thread.start)
    guard = loop.call_later(30, loop.stop)
    loop.run_forever()
    guard.cancel()
    thread.join()
    assert calls == [1] and handler.calls == [ONE]


def test_a_loop_that_runs_in_another_thread(loop):
    called = threading.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    loop.add_signal_handler(ONE, called.set)
    try:
        signal.signal(ONE, Handler())
        signal.raise_signal(ONE)
        assert called.wait(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.remove_signal_handler(ONE)


def test_a_handler_that_was_set_in_the_main_thread_before_the_loop_ran_in_another(loop):
    called = threading.Event()
    loop.add_signal_handler(ONE, called.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        signal.raise_signal(ONE)
        assert called.wait(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.remove_signal_handler(ONE)


def test_another_thread_sets_no_handler(loop):
    told = []

    def add():
        with pytest.raises(RuntimeError, match="main thread"):
            loop.add_signal_handler(ONE, print)
        told.append(1)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert told


def test_a_refused_signal_leaves_nothing(loop):
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    assert not loop.remove_signal_handler(signal.SIGKILL)
    assert signal.set_wakeup_fd(-1) == -1


@needs_fork
def test_a_signal_of_a_forked_child_is_not_told_to_the_parent():
    """asyncio does so from Python 3.12 on."""
    calls = []
    loop = uvbind.new_event_loop()

    def child():
        signal.raise_signal(ONE)

    async def main():
        loop.add_signal_handler(ONE, calls.append, 1)
        assert in_child(child) == "None"
        loop.add_signal_handler(OTHER, calls.append, 2)
        signal.raise_signal(OTHER)
        await until(lambda: calls)

    try:
        loop.run_until_complete(main())
        assert in_child(child) == "None"
        signal.raise_signal(OTHER)
        loop.run_until_complete(until(lambda: len(calls) == 2))
    finally:
        loop.close()
    assert calls == [2, 2]


@needs_fork
def test_after_fork_the_child_has_the_handlers():
    loop = uvbind.new_event_loop()
    calls = []
    loop.add_signal_handler(ONE, calls.append, 1)

    def child():
        loop.uv.fork()
        signal.raise_signal(ONE)
        loop.run_until_complete(until(lambda: calls))
        return calls

    try:
        assert in_child(child) == "[1]"
        loop.run_until_complete(asyncio.sleep(0))
        assert calls == []
    finally:
        loop.close()


def test_a_wakeup_fd_of_before_is_told_as_well_and_comes_back():
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        reader.settimeout(30)
        signal.set_wakeup_fd(writer.fileno())
        calls = []
        loop = uvbind.new_event_loop()
        try:
            loop.add_signal_handler(ONE, calls.append, 1)
            signal.raise_signal(ONE)
            loop.run_until_complete(until(lambda: calls))
            assert reader.recv(10) == bytes([ONE])
        finally:
            loop.close()
        assert signal.set_wakeup_fd(-1) == writer.fileno()


def test_loops_that_run_one_after_the_other(new_loop):
    for _ in range(2):
        loop, calls = new_loop(), []
        try:
            loop.add_signal_handler(ONE, calls.append, 1)
            signal.raise_signal(ONE)
            loop.run_until_complete(until(lambda: calls))  # noqa: B023
            assert loop.remove_signal_handler(ONE)
        finally:
            loop.close()


# -- Ctrl-C, of which asyncio's Runner has a handler


def test_ctrl_c_cancels_the_main_task_of_a_runner(new_loop):
    cancelled = []

    async def main():
        try:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())
    assert cancelled == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_loops_for_ctrl_c_goes_before_the_runners(new_loop):
    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, done.set)
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        async with asyncio.timeout(30):
            await done.wait()
        assert loop.remove_signal_handler(signal.SIGINT)
        return "not interrupted"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == "not interrupted"


def test_the_second_ctrl_c_ends_a_main_task_that_goes_on(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            signal.raise_signal(signal.SIGINT)
            pytest.fail("not reached")

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())
