"""Async: the one handle that other threads may use."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from uvbind import Async, Loop, RunMode, Timer, UVError

# Where three of PyPy's threads are busy, a fourth waits 10 ms for its turn, and longer under load.
ROUNDS = 3000 if sys.implementation.name == "cpython" else 200


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_send_calls_back_with_the_handle(loop: Loop) -> None:
    got: list[Async] = []

    def on_async(async_: Async) -> None:
        got.append(async_)
        async_.close()

    async_ = Async(loop, on_async)
    async_.send()
    loop.run()
    assert got == [async_]


def test_send_calls_back_in_the_thread_of_the_loop(loop: Loop) -> None:
    threads = []

    def on_async(async_: Async) -> None:
        threads.append(threading.current_thread())
        async_.close()

    async_ = Async(loop, on_async)
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(async_.send).result(timeout=30)
        loop.run()
    assert threads == [threading.current_thread()]


def test_send_from_another_thread_wakes_a_loop_that_waits(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    waiting = threading.Event()
    # Only the last timer of the turn before the wait could tell it better.
    timer = Timer(loop)
    timer.start(lambda timer: (timer.close(), waiting.set()), 0)

    def send_when_it_waits() -> None:
        assert waiting.wait(30)
        async_.send()

    with ThreadPoolExecutor(1) as elsewhere:
        sent = elsewhere.submit(send_when_it_waits)
        assert not loop.run()
        sent.result(timeout=30)


def test_sends_before_the_loop_has_looked_are_one(loop: Loop) -> None:
    calls: list[Async] = []
    async_ = Async(loop, calls.append)
    for _ in range(100):
        async_.send()
    loop.run(RunMode.NOWAIT)
    loop.run(RunMode.NOWAIT)
    assert len(calls) == 1
    async_.close()


def test_a_send_after_the_loop_has_looked_is_another(loop: Loop) -> None:
    calls: list[Async] = []
    async_ = Async(loop, calls.append)
    for sends in range(1, 4):
        async_.send()
        loop.run(RunMode.NOWAIT)
        assert len(calls) == sends
    async_.close()


def test_a_send_in_the_callback_is_another(loop: Loop) -> None:
    calls: list[Async] = []

    def on_async(async_: Async) -> None:
        calls.append(async_)
        if len(calls) < 3:
            async_.send()
        else:
            async_.close()

    Async(loop, on_async).send()
    loop.run()
    assert len(calls) == 3


def test_a_send_from_a_signal_handler_wakes_the_loop(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    timer = Timer(loop)
    timer.start(lambda timer: (timer.close(), os.kill(os.getpid(), signal.SIGWINCH)), 0)
    before = signal.signal(signal.SIGWINCH, lambda signum, frame: async_.send())
    try:
        assert not loop.run()
    finally:
        signal.signal(signal.SIGWINCH, before)


def test_only_the_handle_that_was_sent_to_calls_back(loop: Loop) -> None:
    calls: list[Async] = []
    handles = [Async(loop, calls.append) for _ in range(3)]
    handles[1].send()
    loop.run(RunMode.NOWAIT)
    assert calls == [handles[1]]
    for async_ in handles:
        async_.close()


def test_it_is_active_and_keeps_its_loop_until_it_is_closed(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    assert async_.is_active()
    assert async_.has_ref()
    assert loop.run(RunMode.NOWAIT)
    async_.close()
    assert not async_.is_active()
    assert not loop.run()


def test_unrefd_it_does_not_keep_its_loop(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    async_.unref()
    assert async_.is_active()
    assert not loop.run()
    async_.close()


def test_a_send_before_close_does_not_call_back_any_more(loop: Loop) -> None:
    calls: list[Async] = []
    async_ = Async(loop, calls.append)
    async_.send()
    async_.close()
    loop.run()
    assert calls == []


def test_send_when_closing_or_closed_is_ebadf(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    async_.close()
    for _ in ("closing", "closed"):
        with pytest.raises(UVError, match="this Async is closed") as caught:
            async_.send()
        assert caught.value.name == "EBADF"
        loop.run()


def test_send_when_the_loop_is_gone_too_is_ebadf() -> None:
    with Loop() as loop:
        async_ = Async(loop, Async.close)
    with pytest.raises(UVError) as caught:
        async_.send()
    assert caught.value.name == "EBADF"


@pytest.mark.parametrize("callback", [None, 1, "callback"])
def test_refuses_what_cannot_be_called(loop: Loop, callback: object) -> None:
    with pytest.raises(TypeError, match="callback: expected a function, not"):
        Async(loop, callback)  # type: ignore[arg-type]


def test_close_is_not_for_another_thread(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(async_.close).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "reach it with Async.send" in str(error)
    assert not async_.is_closing()
    async_.close()


@pytest.mark.usefixtures("eager_threads")
def test_no_send_of_many_threads_is_lost(loop: Loop) -> None:
    threads, sends = 8, 500
    done = [0] * threads
    seen = [0] * threads

    def sender(number: int) -> None:
        for _ in range(sends):
            done[number] += 1
            async_.send()

    def on_async(async_: Async) -> None:
        seen[:] = done
        if sum(seen) == threads * sends:
            loop.stop()

    async_ = Async(loop, on_async)
    with ThreadPoolExecutor(threads) as elsewhere:
        futures = [elsewhere.submit(sender, number) for number in range(threads)]
        loop.run()  # ends only when the last send has been seen
        for future in futures:
            future.result(timeout=30)
    assert seen == [sends] * threads
    async_.close()


@pytest.mark.usefixtures("eager_threads")
def test_send_may_race_close(loop: Loop) -> None:
    current = [Async(loop, lambda async_: None)]
    all_send = threading.Barrier(4, timeout=30)
    done = threading.Event()
    errors: set[str] = set()

    def sender() -> None:
        all_send.wait()
        while not done.is_set():
            try:
                current[0].send()
            except UVError as error:
                errors.add(error.name)

    with ThreadPoolExecutor(3) as elsewhere:
        futures = [elsewhere.submit(sender) for _ in range(3)]
        all_send.wait()
        try:
            for _ in range(ROUNDS):
                old, current[0] = current[0], Async(loop, lambda async_: None)
                old.close()
                loop.run(RunMode.NOWAIT)
                current[0].close()  # the one that they send to right now
                loop.run(RunMode.NOWAIT)
        finally:
            done.set()
        for future in futures:
            future.result(timeout=30)
    assert errors <= {"EBADF"}
    assert not loop.run()


@pytest.mark.usefixtures("eager_threads")
def test_send_may_race_the_end_of_the_loop() -> None:
    current: list[Async] = []
    done = threading.Event()

    def sender() -> None:
        while not done.is_set():
            for async_ in current:
                try:
                    async_.send()
                except UVError as error:
                    assert error.name == "EBADF"

    with ThreadPoolExecutor(2) as elsewhere:
        futures = [elsewhere.submit(sender) for _ in range(2)]
        try:
            for _ in range(ROUNDS // 10):
                with Loop() as loop:
                    current[:] = [Async(loop, lambda async_: None)]
                    loop.run(RunMode.NOWAIT)
        finally:
            done.set()
        for future in futures:
            future.result(timeout=30)
