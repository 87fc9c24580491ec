"""Signals: those that a Signal watches, and those that stay Python's while a loop waits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from uvbind import Async, Loop, Prepare, RunMode, Signal, Timer, UVError

HARMLESS = signal.SIGWINCH  # ignored unless somebody watches it
HARMLESS_TOO = signal.SIGURG


def hung(timer: Timer) -> None:
    timer.loop.stop()
    raise AssertionError("the loop hung")


@pytest.fixture
def loop(loop: Loop) -> Iterator[Loop]:
    """The loop of conftest.py, which cannot wait for ever."""
    guard = Timer(loop)
    guard.start(hung, 30_000)
    guard.unref()
    yield loop
    guard.close()
    loop.run(RunMode.NOWAIT)


class Handler:
    """Python's own handler for a signal."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, signum: int, frame: object) -> None:
        self.calls.append(signum)


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    before = {signum: signal.signal(signum, handler) for signum in (HARMLESS, HARMLESS_TOO)}
    yield handler
    for signum, disposition in before.items():
        signal.signal(signum, disposition)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a fresh Python, whoever started this one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def kill(signum: int) -> None:
    os.kill(os.getpid(), signum)


def run_python(script: str) -> str:
    """Run a script in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


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
            guard = Timer(loop)
            guard.start(hung, 30_000)
            guard.unref()
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
    assert run_python(script).split() == ["watched", "KeyboardInterrupt"]


# -- signals of Python's while the loop waits


SENDERS: dict[str, Callable[[int], object]] = {
    "kill": lambda signum: os.kill(os.getpid(), signum),
    "pthread_kill": lambda signum: signal.pthread_kill(threading.main_thread().ident, signum),
}


class Waiting:
    """A loop with nothing to come but a signal, which a thread sends when the loop waits."""

    def __init__(self, loop: Loop, send: Callable[[], object]) -> None:
        self._waits = threading.Event()
        self._async = Async(loop, lambda async_: None)
        self._prepare = Prepare(loop)
        self._prepare.start(lambda prepare: self._waits.set())
        # Whatever wakes the loop lets Python see the signal: the guard must not be it.
        self._guard = Timer(loop)
        self._guard.start(lambda guard: loop.stop(), 20_000)
        self._send = send

    def _thread(self) -> None:
        assert self._waits.wait(30)
        self._send()

    def __enter__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._sent = self._pool.submit(self._thread)

    def __exit__(self, *about: object) -> None:
        self._waits.set()
        self._sent.result(timeout=30)
        self._pool.shutdown()
        in_time = self._guard.is_active()
        for handle in (self._async, self._prepare, self._guard):
            handle.close()
        assert in_time, "the signal did not wake the loop"


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("send", SENDERS.values(), ids=list(SENDERS))
@pytest.mark.parametrize("mode", [RunMode.DEFAULT, RunMode.ONCE])
def test_ctrl_c_ends_a_waiting_run(
    loop: Loop, send: Callable[[int], object], mode: RunMode
) -> None:
    with Waiting(loop, lambda: send(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        while True:
            loop.run(mode)
    assert not loop.run()


def test_a_handler_runs_while_the_loop_waits_which_goes_on(loop: Loop, handler: Handler) -> None:
    timer = Timer(loop)

    def on_signal(signum: int, frame: object) -> None:
        handler(signum, frame)
        timer.start(lambda timer: loop.stop(), 0)

    signal.signal(HARMLESS, on_signal)
    with Waiting(loop, lambda: kill(HARMLESS)):
        assert loop.run()
    assert handler.calls == [HARMLESS]
    timer.close()


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_callback_ends_the_run(loop: Loop) -> None:
    timer = Timer(loop)

    def on_timer(timer: Timer) -> None:
        kill(signal.SIGINT)
        for _ in range(10_000):
            pass
        raise AssertionError("no KeyboardInterrupt")

    timer.start(on_timer, 0)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    timer.close()


@pytest.fixture
def wakeup() -> Iterator[socket.socket]:
    """Somebody else's wakeup fd: the end to read from."""
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        yield reader
        assert signal.set_wakeup_fd(before) == writer.fileno(), "it was not put back"


def test_a_wakeup_fd_of_before_is_told_as_well(
    loop: Loop, handler: Handler, wakeup: socket.socket
) -> None:
    signal.signal(HARMLESS, lambda signum, frame: loop.stop())
    with Waiting(loop, lambda: kill(HARMLESS)):
        loop.run()
    assert wakeup.recv(100) == bytes([HARMLESS])


@pytest.mark.usefixtures("ctrl_c")
def test_a_wakeup_fd_of_before_is_told_of_ctrl_c_too(loop: Loop, wakeup: socket.socket) -> None:
    with Waiting(loop, lambda: kill(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        loop.run()
    assert wakeup.recv(100) == bytes([signal.SIGINT])


@pytest.mark.usefixtures("wakeup", "handler")
def test_a_wakeup_fd_of_before_is_put_back_after_an_exception(loop: Loop) -> None:
    timer = Timer(loop)
    timer.start(lambda timer: 1 // 0, 0)  # type: ignore[func-returns-value]
    with pytest.raises(ZeroDivisionError):
        loop.run()
    timer.close()


def test_a_wakeup_fd_of_before_that_is_full_does_no_harm(
    loop: Loop, handler: Handler, wakeup: socket.socket
) -> None:
    ours = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(ours, bytes(65536))
    signal.signal(HARMLESS, lambda signum, frame: loop.stop())
    with Waiting(loop, lambda: kill(HARMLESS)):
        assert loop.run()


def test_a_loop_inside_a_callback_of_another_takes_ctrl_c_and_gives_it_back(loop: Loop) -> None:
    script = """
import os, signal
from uvbind import Async, Loop, Prepare, Timer
signal.signal(signal.SIGINT, signal.default_int_handler)
def kill(prepare):
    prepare.stop()
    os.kill(os.getpid(), signal.SIGINT)
def inner(timer):
    with Loop() as loop:
        Async(loop, print)
        Prepare(loop).start(kill)
        try:
            loop.run()
        except KeyboardInterrupt:
            print("inner")
    Prepare(timer.loop).start(kill)
signal.alarm(30)
with Loop() as loop:
    Async(loop, print)
    Timer(loop).start(inner, 0)
    try:
        loop.run()
    except KeyboardInterrupt:
        print("outer")
print(signal.set_wakeup_fd(-1))
"""
    assert run_python(script).split() == ["inner", "outer", "-1"]
