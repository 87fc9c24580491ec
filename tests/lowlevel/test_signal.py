"""Signals: those that a Signal watches, and how they become Python's again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import HARMLESS, HARMLESS_TOO, Handler, hung, kill, run_python, start_guard

from uvbind import Loop, RunMode, Signal, Timer, UVError

# -- Signal


def test_calls_back_with_the_handle_and_the_signal(loop: Loop) -> None:
    calls = []
    watcher = Signal(loop)
    watcher.start(lambda *about: (calls.append(about), watcher.close()), HARMLESS)
    kill(HARMLESS)
    loop.run()
    assert calls == [(watcher, HARMLESS)]


def test_start_calls_back_each_time(loop: Loop) -> None:
    calls = []

    def on_signal(watcher: Signal, signum: int) -> None:
        calls.append(signum)
        if len(calls) == 3:
            watcher.close()
        else:
            kill(signum)

    Signal(loop).start(on_signal, HARMLESS)
    kill(HARMLESS)
    loop.run()
    assert calls == [HARMLESS] * 3


def test_start_oneshot_calls_back_once_and_is_stopped_by_then(loop: Loop) -> None:
    states = []

    def on_signal(watcher: Signal, signum: int) -> None:
        states.append(watcher.is_active())
        kill(signum)

    watcher = Signal(loop)
    watcher.start_oneshot(on_signal, HARMLESS)
    kill(HARMLESS)
    assert not loop.run()
    assert states == [False]
    watcher.close()


def test_start_after_start_oneshot_calls_back_each_time(loop: Loop) -> None:
    calls = []

    def on_signal(watcher: Signal, signum: int) -> None:
        calls.append(signum)
        if len(calls) == 2:
            watcher.close()
        else:
            kill(signum)

    watcher = Signal(loop)
    watcher.start_oneshot(lambda *about: watcher.start(on_signal, HARMLESS), HARMLESS)
    kill(HARMLESS)
    loop.run(RunMode.ONCE)
    kill(HARMLESS)
    loop.run()
    assert calls == [HARMLESS] * 2


def test_start_on_one_that_watches_replaces_signal_and_callback(loop: Loop) -> None:
    calls = []
    watcher = Signal(loop)
    watcher.start(lambda *about: calls.append("old"), HARMLESS)
    watcher.start(lambda *about: (calls.append("new"), watcher.close()), HARMLESS_TOO)
    kill(HARMLESS)
    loop.run(RunMode.NOWAIT)
    assert calls == []
    kill(HARMLESS_TOO)
    loop.run()
    assert calls == ["new"]


def test_stop_ends_the_watching(loop: Loop) -> None:
    watcher = Signal(loop)
    watcher.start(lambda *about: hung(Timer(loop)), HARMLESS)
    watcher.stop()
    kill(HARMLESS)
    assert not watcher.is_active()
    assert not loop.run()
    watcher.stop()
    watcher.close()


def test_every_watcher_of_a_signal_is_called_back(loop: Loop) -> None:
    calls = []
    watchers = [Signal(loop) for _ in range(3)]
    for watcher in watchers:
        watcher.start(lambda watcher, signum: (calls.append(watcher), watcher.close()), HARMLESS)
    kill(HARMLESS)
    loop.run()
    assert set(calls) == set(watchers)
    assert len(calls) == 3


def test_loops_of_two_threads_both_see_a_signal() -> None:
    both_watch = threading.Barrier(3, timeout=30)

    def watch() -> list[tuple[int, int]]:
        calls = []

        def on_signal(watcher: Signal, signum: int) -> None:
            calls.append((threading.get_ident(), signum))
            watcher.close()

        with Loop() as loop:
            start_guard(loop)
            Signal(loop).start(on_signal, HARMLESS)
            both_watch.wait()
            loop.run()
        assert calls == [(threading.get_ident(), HARMLESS)]
        return calls

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(watch) for _ in range(2)]
        both_watch.wait()
        kill(HARMLESS)
        [(one, _)], [(other, _)] = (future.result(timeout=60) for future in futures)
    assert one != other


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP, 1000])
def test_what_cannot_be_caught_is_einval(loop: Loop, signum: int) -> None:
    watcher = Signal(loop)
    with pytest.raises(UVError, match="cannot be caught") as caught:
        watcher.start(lambda *about: None, signum)
    assert caught.value.name == "EINVAL"
    assert not watcher.is_active()
    watcher.close()


@pytest.mark.parametrize(
    ("signum", "error"), [(0, ValueError), (-1, ValueError), (2**31, ValueError), ("2", TypeError)]
)
@pytest.mark.parametrize("start", [Signal.start, Signal.start_oneshot])
def test_start_refuses_what_is_no_signal(
    loop: Loop, start: Callable[..., None], signum: int, error: type[Exception]
) -> None:
    watcher = Signal(loop)
    with pytest.raises(error, match="signum: expected an int"):
        start(watcher, lambda *about: None, signum)
    watcher.close()


@pytest.mark.parametrize("start", [Signal.start, Signal.start_oneshot])
def test_start_refuses_what_cannot_be_called(loop: Loop, start: Callable[..., None]) -> None:
    watcher = Signal(loop)
    with pytest.raises(TypeError, match="callback: expected a function, not NoneType"):
        start(watcher, None, HARMLESS)
    assert not watcher.is_active()
    watcher.close()


VERBS: dict[str, Callable[[Signal], object]] = {
    "start": lambda watcher: watcher.start(print, HARMLESS),
    "start_oneshot": lambda watcher: watcher.start_oneshot(print, HARMLESS),
    "stop": Signal.stop,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_no_verb_is_for_a_closed_signal_or_another_thread(
    loop: Loop, verb: Callable[[Signal], object]
) -> None:
    watcher = Signal(loop)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(verb, watcher).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "in use by another thread" in str(error)
    watcher.close()
    with pytest.raises(UVError, match="this Signal is closed") as caught:
        verb(watcher)
    assert caught.value.name == "EBADF"


# -- giving a signal back

ENDS: dict[str, Callable[[Signal], object]] = {
    "stop": Signal.stop,
    "close": Signal.close,
    "another signal": lambda watcher: watcher.start(lambda *about: None, signal.SIGCHLD),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_pythons_handler_is_called_again_when_the_last_watcher_ends(
    loop: Loop, handler: Handler, end: Callable[[Signal], object]
) -> None:
    calls = []
    watchers = [Signal(loop) for _ in range(2)]
    for watcher in watchers:
        watcher.start(lambda watcher, signum: calls.append(watcher), HARMLESS)
    for remaining in (2, 1, 0):
        kill(HARMLESS)
        loop.run(RunMode.NOWAIT)
        assert len(calls) == remaining
        assert len(handler.calls) == (0 if remaining else 1)
        if remaining:
            end(watchers[remaining - 1])
        calls.clear()
    for watcher in watchers:
        watcher.close()


def test_pythons_handler_is_called_again_after_a_oneshot(loop: Loop, handler: Handler) -> None:
    calls = []
    watcher = Signal(loop)
    watcher.start_oneshot(lambda watcher, signum: calls.append(signum), HARMLESS)
    kill(HARMLESS)
    loop.run()
    assert (calls, handler.calls) == ([HARMLESS], [])
    kill(HARMLESS)
    loop.run(RunMode.NOWAIT)
    assert (calls, handler.calls) == ([HARMLESS], [HARMLESS])
    watcher.close()


def test_a_start_that_fails_takes_nothing_from_python(loop: Loop, handler: Handler) -> None:
    watcher = Signal(loop)
    watcher.start(lambda *about: None, HARMLESS)
    with pytest.raises(UVError):
        watcher.start(lambda *about: None, signal.SIGKILL)
    watcher.close()
    loop.run()
    kill(HARMLESS)
    loop.run(RunMode.NOWAIT)
    assert handler.calls == [HARMLESS]


@pytest.mark.parametrize("end", ["watcher.stop()", "watcher.close()", "pass  # one-shot"])
def test_ctrl_c_is_pythons_again(end: str) -> None:
    """In a process of its own: where it is not, SIGINT kills."""
    script = f"""
import os, signal
from uvbind import Loop, Signal
signal.signal(signal.SIGINT, signal.default_int_handler)
with Loop() as loop:
    watcher = Signal(loop)
    def on_signal(watcher, signum):
        print("watched")
        {end}
    watcher.start{"_oneshot" if "one-shot" in end else ""}(on_signal, signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    loop.run()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        loop.run()
        print("nothing")
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
"""
    assert run_python(script, "-W", "error").split() == ["watched", "KeyboardInterrupt"]
