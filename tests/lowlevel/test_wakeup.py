"""Signals that stay Python's: they wake a loop that waits, and whoever else is to be woken."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import HARMLESS, Handler, kill, run_python

from uvbind import Async, Loop, Prepare, RunMode, Timer


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a fresh Python, whoever started this one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


SENDERS: dict[str, Callable[[int], object]] = {
    "kill": kill,
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
    assert run_python(script, "-W", "error").split() == ["inner", "outer", "-1"]
