"""Loops: running, closing, their verbs and the threads that may use them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import LOOP_VERBS, Oops, fail, ignore, run_python, soon

from uvbind import Async, Check, Handle, Idle, Loop, RunMode, Signal, Timer, UVError

# -- running


def test_run_without_anything_to_do_returns_false_at_once(bare: Loop) -> None:
    for mode in RunMode:
        assert bare.run(mode) is False


def test_run_runs_until_nothing_is_left(loop: Loop) -> None:
    calls = []
    soon(loop, lambda: soon(loop, lambda: calls.append("second")))
    assert loop.run() is False
    assert calls == ["second"]


def test_run_once_is_one_turn_which_waits(loop: Loop) -> None:
    calls = []
    soon(loop, lambda: calls.append("first"), 5)
    second = soon(loop, lambda: calls.append("second"), 20_000)
    while not calls:  # libuv's clock may be a tick behind what it waited
        assert loop.run(RunMode.ONCE)
    assert calls == ["first"]
    second.close()


def test_run_nowait_is_one_turn_which_does_not(loop: Loop) -> None:
    async_ = Async(loop, ignore)
    assert loop.run(RunMode.NOWAIT) is True
    async_.close()
    assert loop.run(RunMode.NOWAIT) is False


@pytest.mark.parametrize("mode", [3, -1, "DEFAULT", None])
def test_run_refuses_what_is_no_mode(loop: Loop, mode: RunMode) -> None:
    with pytest.raises(ValueError, match="is not a valid RunMode"):
        loop.run(mode)


def test_stop_ends_the_run_after_the_turn(loop: Loop) -> None:
    calls = []
    idle, check = Idle(loop), Check(loop)
    idle.start(lambda idle: (calls.append("idle"), loop.stop()))
    check.start(lambda check: calls.append("check"))
    assert loop.run() is True
    assert calls == ["idle", "check"]
    assert loop.run() is True, "stop() is for one run"
    assert calls == ["idle", "check"] * 2
    idle.close()
    check.close()


def test_alive_with_active_and_with_closing_handles(bare: Loop) -> None:
    assert not bare.alive()
    timer = Timer(bare)
    assert not bare.alive()
    timer.start(ignore, 1000)
    assert bare.alive()
    timer.close()
    assert bare.alive()
    bare.run()
    assert not bare.alive()


def test_run_in_a_callback_is_refused(loop: Loop) -> None:
    def again() -> None:
        with pytest.raises(RuntimeError, match="run: the loop is running already"):
            loop.run()

    soon(loop, again)
    assert not loop.run()


def test_another_loop_may_run_in_a_callback(loop: Loop) -> None:
    calls = []

    def inner() -> None:
        with Loop() as other:
            soon(other, lambda: calls.append("inner"))
            soon(other, lambda: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                other.run()
        calls.append("outer")

    soon(loop, inner)
    loop.run()
    assert calls == ["inner", "outer"]


# -- closing


def test_close_names_what_is_left(loop: Loop) -> None:
    handles = [Timer(loop), Signal(loop), Async(loop, ignore)]
    for _ in ("open", "closing"):
        with pytest.raises(UVError, match="handles: Async, Signal, Timer, Timer;") as caught:
            loop.close()
        assert caught.value.name == "EBUSY"
        for handle in handles:
            handle.close()


def test_a_second_close_does_nothing() -> None:
    loop = Loop()
    loop.close()
    loop.close()


def test_close_in_a_callback_is_refused(loop: Loop) -> None:
    def close() -> None:
        with pytest.raises(RuntimeError, match="close: the loop is running"):
            loop.close()

    soon(loop, close)
    assert not loop.run()


def test_close_raises_what_run_has_left_to_raise(bare: Loop) -> None:
    for number in (1, 2):
        Timer(bare).close(lambda timer, number=number: fail(number))
    with pytest.raises(Oops):
        bare.run()
    with pytest.raises(Oops):
        bare.close()
    bare.close()
    assert repr(bare) == "<Loop closed>"


def test_leaving_a_with_block_closes_handles_and_loop() -> None:
    closed: list[Handle] = []
    with Loop() as loop:
        handles = [Timer(loop), Signal(loop), Async(loop, ignore), Idle(loop)]
        handles[0].close(closed.append)
        handles[3].start(lambda idle: Timer(loop))  # ever more of them
        loop.run(RunMode.NOWAIT)
    assert closed == [handles[0]]
    assert all(handle.is_closing() for handle in handles)
    assert repr(loop) == "<Loop closed>"


def test_leaving_a_with_block_by_an_exception_closes_as_well() -> None:
    with pytest.raises(Oops), Loop() as loop:
        Timer(loop).start(fail, 0)
        loop.run()
    assert repr(loop) == "<Loop closed>"


def test_leaving_a_with_block_closes_whatever_is_left_to_raise() -> None:
    with pytest.raises(Oops), Loop() as loop:
        for _ in range(3):
            Timer(loop).start(fail, 0)
        loop.run()
    assert repr(loop) == "<Loop closed>"


def test_leaving_a_with_block_closes_when_a_close_callback_fails() -> None:
    with pytest.raises(Oops), Loop() as loop:
        Timer(loop).close(fail)
    assert repr(loop) == "<Loop closed>"


def test_a_with_block_may_close_the_loop_itself() -> None:
    with Loop() as loop:
        loop.close()


@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])
def test_a_dropped_loop_is_a_resource_warning_and_no_crash(options: tuple[str, ...]) -> None:
    printed = run_python(
        """
import gc, os, signal
from uvbind import Async, Loop, Poll, Signal, Timer
def make():
    loop = Loop()
    Timer(loop).start(print, 0)
    Signal(loop).start(print, signal.SIGWINCH)
    Async(loop, print).send()
    loop.run(1)
    Async(loop, print).send()
    Timer(loop).close(print)
make()
gc.collect(); gc.collect(); gc.collect()
os.kill(os.getpid(), signal.SIGWINCH)
with Loop() as loop:
    Timer(loop).start(Timer.close, 1)
    loop.run()
print("still here")
left = Loop()
Timer(left).start(print, 0)
""",
        "-W",
        "always::ResourceWarning",
        *options,
    )
    warning, _ = printed.split("still here")
    assert "ResourceWarning: unclosed <Loop with handles: Async, Async, Signal" in warning
    assert "Error" not in printed


def test_repr_tells_what_is_left(bare: Loop) -> None:
    assert repr(bare) == "<Loop with handles: none; pending requests: 0>"
    timer = Timer(bare)
    assert repr(bare) == "<Loop with handles: Timer; pending requests: 0>"
    timer.close()


# -- verbs that every loop has, and who may not use them

each_verb = pytest.mark.parametrize("name", list(LOOP_VERBS))


@each_verb
def test_no_verb_is_for_a_closed_loop(name: str) -> None:
    loop = Loop()
    loop.close()
    with pytest.raises(RuntimeError, match="the loop is closed"):
        LOOP_VERBS[name](loop)


@pytest.mark.parametrize("name", [*(name for name in LOOP_VERBS if name != "run"), "close"])
def test_no_verb_is_for_another_thread_than_the_first(loop: Loop, name: str) -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(LOOP_VERBS.get(name, Loop.close), loop).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "the loop is in use by another thread" in str(error)


@pytest.mark.parametrize("name", [*LOOP_VERBS, "close"])
def test_no_verb_is_for_another_thread_than_the_one_that_runs_it(loop: Loop, name: str) -> None:
    running, done = threading.Event(), threading.Event()

    def keep_running() -> None:
        running.set()
        assert done.wait(30)

    soon(loop, keep_running)
    with ThreadPoolExecutor(1) as elsewhere:
        run = elsewhere.submit(loop.run)
        assert running.wait(30)
        try:
            with pytest.raises(RuntimeError, match=r"the loop is (in use by another|running)"):
                LOOP_VERBS.get(name, Loop.close)(loop)
        finally:
            done.set()
        assert run.result(timeout=30) is False


def test_when_run_has_returned_the_next_thread_takes_the_loop_over(loop: Loop) -> None:
    def run() -> bool:
        result = loop.run()
        soon(loop, ignore).close()
        return result or loop.run()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert first.submit(run).result(timeout=30) is False
        assert second.submit(run).result(timeout=30) is False
    soon(loop, ignore)
    assert not loop.run()
