"""The loop itself: calls, timers, threads, signals, names, and the low-level loop below."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest

import uvbind

PYPY = sys.implementation.name == "pypy"


def test_calls_come_in_their_order(run):
    async def main():
        calls = []
        loop = asyncio.get_running_loop()
        for number in range(5):
            loop.call_soon(calls.append, number)
        loop.call_soon(loop.call_soon, calls.append, 5)
        while len(calls) < 6:
            await asyncio.sleep(0)
        return calls

    assert run(main) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("delay", [0, 0.0001, 0.001, 0.0015, 0.01, 0.0333])
def test_timers_are_never_early(run, delay):
    async def main():
        loop = asyncio.get_running_loop()
        due = []
        for _ in range(5):
            when = loop.time() + delay
            called = loop.create_future()
            loop.call_at(when, lambda: called.set_result(loop.time()))  # noqa: B023
            due.append(await called - when)
        return due

    assert min(run(main)) >= -1e-6  # the resolution of the clock


def test_timers_come_in_their_order_and_can_be_cancelled(run):
    async def main():
        loop, calls = asyncio.get_running_loop(), []
        now = loop.time()
        for delay in (0.02, 0.01, 0.005, 0.015):
            loop.call_at(now + delay, calls.append, delay)
        loop.call_at(now + 0.001, calls.append, "cancelled").cancel()
        while len(calls) < 4:
            await asyncio.sleep(0.001)
        return calls

    assert run(main) == [0.005, 0.01, 0.015, 0.02]


def test_a_timer_far_away_is_no_trouble(run):
    async def main():
        asyncio.get_running_loop().call_later(1e9, print).cancel()
        handle = asyncio.get_running_loop().call_later(1e8, print)
        await asyncio.sleep(0.002)
        handle.cancel()

    run(main)


def test_an_idle_loop_makes_no_wakeups():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.01)
        before = loop.uv.metrics_info().loop_count
        await asyncio.sleep(0.3)
        return loop.uv.metrics_info().loop_count - before

    if uvbind.version() < 0x012D00:
        pytest.skip("metrics_info needs libuv 1.45")
    assert uvbind.run(main()) <= 6


def test_another_thread_wakes_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set,))
        thread.start()
        await woken.wait()
        thread.join()
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()

    run(main)


def test_a_foreign_thread_is_refused_in_debug_mode(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await loop.run_in_executor(None, loop.call_soon, print)

    run(main)


def test_signals(run):
    async def main():
        loop = asyncio.get_running_loop()
        got = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, got.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await got.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, got.set)
        with pytest.raises(ValueError, match="invalid signal"):
            loop.add_signal_handler(0, got.set)
        with pytest.raises(TypeError, match="coroutines"):
            loop.add_signal_handler(signal.SIGUSR1, main)

    run(main)


@pytest.mark.parametrize("asleep", [True, False])
def test_ctrl_c_ends_run(asleep):
    async def main():
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGINT)
        while True:
            await asyncio.sleep(3600 if asleep else 0)

    with pytest.raises(KeyboardInterrupt):
        uvbind.run(main())


def test_what_a_call_raises_goes_to_the_exception_handler(new_loop):
    contexts = []
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context["exception"]))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert [type(exception) for exception in contexts] == [ZeroDivisionError]


def test_system_exit_leaves_the_loop_and_it_goes_on_later(new_loop):
    loop = new_loop()
    calls = []
    loop.call_soon(sys.exit, 3)
    loop.call_soon(calls.append, "after")
    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert calls == ["after"]


def test_stop_before_run_makes_one_turn(new_loop):
    loop, calls = new_loop(), []
    loop.call_soon(calls.append, 1)
    loop.stop()
    loop.run_forever()
    assert calls == [1]
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_contexts_are_kept(run):
    variable = contextvars.ContextVar("variable", default=0)

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        variable.set(1)
        loop.call_soon(lambda: seen.append(variable.get()))
        variable.set(2)
        await asyncio.sleep(0.001)
        return seen

    assert run(main) == [1]


# -- processes


def test_subprocesses(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate(b"hello")
        return out, process.returncode

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert run(main) == (b"HELLO", 3)


# -- ways to get it


def test_install_and_policy():
    before = asyncio.get_event_loop_policy() if sys.version_info < (3, 14) else None

    async def main():
        return type(asyncio.get_running_loop())

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            uvbind.install()
            assert uvbind.run(main()) is uvbind.EventLoop
        assert asyncio.run(main()) is uvbind.EventLoop
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(before)


def test_run_refuses_what_asyncio_run_refuses(run):
    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="running"):
            uvbind.run(coroutine)
        coroutine.close()

    run(main)
    with pytest.raises((ValueError, TypeError), match="coroutine"):
        uvbind.run(7)


def test_run_cancels_what_is_left():
    ended = []

    async def forever():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def main():
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        return task

    assert uvbind.run(main()).cancelled() and ended == [True]


@pytest.mark.skipif(PYPY, reason="PyPy collects when it likes")
def test_an_unclosed_loop_warns():
    loop = uvbind.new_event_loop()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        type(loop).__del__(loop)
    assert loop.is_closed()
    del loop
    gc.collect()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors there")
def test_a_loop_that_cannot_be_made_leaves_nothing():
    resource = pytest.importorskip("resource")
    uvbind.new_event_loop().close()
    gc.collect()
    before, limits = len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)
    made = failed = 0
    for room in range(25):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + room, limits[1]))
        try:
            uvbind.new_event_loop().close()
            made += 1
        except OSError:
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before, room
    assert made and failed > 5
