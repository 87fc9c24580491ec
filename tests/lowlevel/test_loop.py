"""Loops: running, failing, closing; threads and forked children; what they tell of themselves."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import uvbind
from uvbind import (
    TCP,
    Async,
    Check,
    Handle,
    Idle,
    Loop,
    Poll,
    PollEvent,
    Prepare,
    RunMode,
    Signal,
    Timer,
    UVError,
)

HARMLESS = signal.SIGWINCH  # ignored unless somebody watches it


def hung(timer: Timer) -> None:
    timer.loop.stop()
    raise AssertionError("the loop hung")


@pytest.fixture
def bare() -> Iterator[Loop]:
    """A loop without a guard, or any other handle."""
    with Loop() as loop:
        yield loop


@pytest.fixture
def loop(loop: Loop) -> Iterator[Loop]:
    """The loop of conftest.py, which cannot wait for ever."""
    guard = Timer(loop)
    guard.start(hung, 30_000)
    guard.unref()
    yield loop
    guard.close()
    loop.run(RunMode.NOWAIT)


def nothing(*about: object) -> None:
    pass


def soon(loop: Loop, function: Callable[[], object], timeout: int = 0) -> Timer:
    """Call a function in the loop, by a timer that closes itself first."""
    timer = Timer(loop)
    timer.start(lambda timer: (timer.close(), function()), timeout)
    return timer


def run_python(script: str, *options: str) -> str:
    """Run a script in a process of its own and return what it printed, errors included."""
    command = [sys.executable, *options, "-c", script]
    done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


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
    async_ = Async(loop, nothing)
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
    timer.start(nothing, 1000)
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


# -- exceptions in callbacks


class Oops(Exception):
    pass


def fail(*about: object) -> None:
    raise Oops


def watching_poll(loop: Loop, callback: Callable[..., object]) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        Poll(loop, ours).start(PollEvent.READABLE, callback)


def watching_signal(loop: Loop, callback: Callable[..., object]) -> None:
    Signal(loop).start(callback, HARMLESS)
    os.kill(os.getpid(), HARMLESS)


WAYS: dict[str, Callable[[Loop, Callable[..., object]], object]] = {
    "timer": lambda loop, callback: Timer(loop).start(callback, 0),
    "async": lambda loop, callback: Async(loop, callback).send(),
    "prepare": lambda loop, callback: Prepare(loop).start(callback),
    "check": lambda loop, callback: (Check(loop).start(callback), soon(loop, nothing)),
    "idle": lambda loop, callback: Idle(loop).start(callback),
    "close": lambda loop, callback: Timer(loop).close(callback),
    "poll": watching_poll,
    "signal": watching_signal,
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


def close_others(loop: Loop) -> None:
    """Close all but the guard."""
    loop.walk(lambda handle: handle.is_closing() or (handle.has_ref() and handle.close()))
    loop.run()


@each_way
@pytest.mark.parametrize("exception", [Oops, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_in_a_callback_comes_out_of_run(
    loop: Loop,
    way: Callable[[Loop, Callable[..., object]], object],
    exception: type[BaseException],
) -> None:
    raised = exception("from a callback")
    calls = []

    def callback(*about: object) -> None:
        calls.append(about)
        if len(calls) > 1:
            loop.stop()
        raise raised

    way(loop, callback)
    with pytest.raises(exception) as caught:
        loop.run()
    assert caught.value is raised
    assert len(calls) == 1
    close_others(loop)


@each_way
def test_an_exception_before_the_first_line_of_a_callback_counts_too(
    loop: Loop, way: Callable[[Loop, Callable[..., object]], object]
) -> None:
    way(loop, lambda: None)
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        loop.run()
    close_others(loop)


def test_an_exception_stops_the_loop_after_the_turn(loop: Loop) -> None:
    turns = []
    idle, check = Idle(loop), Check(loop)
    idle.start(fail)

    def on_check(check: Check) -> None:
        turns.append(len(turns))
        if len(turns) == 2:
            loop.stop()

    check.start(on_check)
    with pytest.raises(Oops):
        loop.run()
    assert turns == [0]
    idle.close()
    check.close()


def test_several_exceptions_of_a_turn_are_raised_one_per_call_in_their_order(loop: Loop) -> None:
    exceptions = [Oops(1), SystemExit(2), KeyboardInterrupt(3), Oops(4)]

    def callback(raised: BaseException) -> None:
        raise raised

    for exception in exceptions:
        soon(loop, lambda exception=exception: callback(exception))
    for expected in exceptions:
        with pytest.raises(type(expected)) as caught:
            loop.run()
        assert caught.value is expected
    assert not loop.run()


def test_one_close_callback_that_fails_does_not_keep_the_others_from_theirs(loop: Loop) -> None:
    calls: list[Handle] = []
    timer = Timer(loop)
    timer.close(fail)
    timer.close(calls.append)
    with pytest.raises(Oops):
        loop.run()
    assert calls == [timer]


# -- closing


def test_close_names_what_is_left(loop: Loop) -> None:
    handles = [Timer(loop), Signal(loop), Async(loop, nothing)]
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
        handles = [Timer(loop), Signal(loop), Async(loop, nothing), Idle(loop)]
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

VERBS: dict[str, Callable[[Loop], object]] = {
    "run": Loop.run,
    "stop": Loop.stop,
    "alive": Loop.alive,
    "now": Loop.now,
    "update_time": Loop.update_time,
    "walk": lambda loop: loop.walk(nothing),
    "backend_fd": Loop.backend_fd,
    "backend_timeout": Loop.backend_timeout,
    "configure": Loop.configure,
    "metrics_idle_time": Loop.metrics_idle_time,
    "metrics_info": Loop.metrics_info,
    "Timer": Timer,
}
each_verb = pytest.mark.parametrize("name", list(VERBS))


@each_verb
def test_no_verb_is_for_a_closed_loop(name: str) -> None:
    loop = Loop()
    loop.close()
    with pytest.raises(RuntimeError, match="the loop is closed"):
        VERBS[name](loop)


@pytest.mark.parametrize("name", [*(name for name in VERBS if name != "run"), "close"])
def test_no_verb_is_for_another_thread_than_the_first(loop: Loop, name: str) -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(VERBS.get(name, Loop.close), loop).exception(timeout=30)
    assert isinstance(error, RuntimeError)
    assert "the loop is in use by another thread" in str(error)


@pytest.mark.parametrize("name", [*VERBS, "close"])
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
                VERBS.get(name, Loop.close)(loop)
        finally:
            done.set()
        assert run.result(timeout=30) is False


def test_when_run_has_returned_the_next_thread_takes_the_loop_over(loop: Loop) -> None:
    def run() -> bool:
        result = loop.run()
        soon(loop, nothing).close()
        return result or loop.run()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert first.submit(run).result(timeout=30) is False
        assert second.submit(run).result(timeout=30) is False
    soon(loop, nothing)
    assert not loop.run()


# -- forked children

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


def in_child(function: Callable[[], object]) -> str:
    """Call a function in a forked child; return what it returned or raised, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that earlier tests left
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(30)
            try:
                answer = repr(function())
            except BaseException as exception:
                answer = f"{type(exception).__name__}: {exception}"
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, text
    return text


@needs_fork
@pytest.mark.parametrize("name", [*VERBS, "close", "Async.send", "Timer.start", "Timer.close"])
def test_in_a_child_every_verb_but_fork_is_refused(loop: Loop, name: str) -> None:
    async_, timer = Async(loop, nothing), Timer(loop)
    verb = (
        VERBS.get(name)
        or {
            "close": Loop.close,
            "Async.send": lambda loop: async_.send(),
            "Timer.start": lambda loop: timer.start(nothing, 0),
            "Timer.close": lambda loop: timer.close(),
        }[name]
    )
    answer = in_child(lambda: verb(loop))
    assert answer == "RuntimeError: the loop is the parent process's; call its fork() first"
    async_.close()
    timer.close()


@needs_fork
def test_a_child_may_leave_the_with_block_and_drop_the_loop() -> None:
    def leave(loop: Loop) -> str:
        with warnings.catch_warnings(record=True) as warned, loop:
            warnings.simplefilter("always")
        loop.__del__()
        return f"left, {len(warned)} warnings"

    with Loop() as loop:
        timer = Timer(loop)
        assert in_child(lambda: leave(loop)) == "'left, 0 warnings'"
        timer.start(nothing, 0)
        assert not loop.run()


@needs_fork
@pytest.mark.parametrize("way", [way for way in WAYS if way != "poll"])
def test_after_fork_a_child_may_use_every_handle(loop: Loop, way: str) -> None:
    def child() -> list[str]:
        calls: list[str] = []
        loop.fork()
        WAYS[way](loop, lambda handle, *about: (calls.append(way), handle.close()))
        while loop.run():
            pass
        return calls

    loop.run(RunMode.NOWAIT)
    assert in_child(child) == f"['{way}']"


@needs_fork
def test_after_fork_a_child_has_the_handles_of_before(loop: Loop) -> None:
    calls = []
    ours, peer = socket.socketpair()

    def note(handle: Handle, *about: object) -> None:
        calls.append(type(handle).__name__)
        handle.close()

    def child() -> list[str]:
        loop.fork()
        async_.send()
        os.kill(os.getpid(), HARMLESS)
        peer.send(b"x")
        while loop.run():
            pass
        return sorted(calls)

    with ours, peer:
        timer, async_, poll, watcher = (
            Timer(loop),
            Async(loop, note),
            Poll(loop, ours),
            Signal(loop),
        )
        timer.start(note, 10)
        poll.start(PollEvent.READABLE, note)
        watcher.start(note, HARMLESS)
        loop.run(RunMode.NOWAIT)
        assert in_child(child) == "['Async', 'Poll', 'Signal', 'Timer']"
        assert loop.run(RunMode.NOWAIT)
        assert set(calls) <= {"Poll", "Timer"}, "the child's wakeups came to its parent"
        assert "Poll" in calls, "the child took its parent's descriptor out of the poll set"
        close_others(loop)


@needs_fork
def test_after_fork_a_send_of_the_childs_does_not_wake_its_parent(loop: Loop) -> None:
    async_ = Async(loop, nothing)
    loop.run(RunMode.NOWAIT)
    assert in_child(lambda: (loop.fork(), async_.send())) == "(None, None)"
    assert select.select([loop.backend_fd()], [], [], 0)[0] == []
    async_.close()


@needs_fork
def test_after_fork_the_first_run_runs_to_the_end(loop: Loop) -> None:
    def child() -> tuple[list[str], bool]:
        calls: list[str] = []
        loop.fork()
        soon(loop, lambda: calls.append("called"), 1)
        return calls, loop.run()

    assert in_child(child) == "(['called'], False)"


@needs_fork
def test_after_fork_ctrl_c_ends_a_waiting_run(loop: Loop) -> None:
    def child() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.fork()
        Prepare(loop).start(lambda prepare: (prepare.stop(), os.kill(os.getpid(), signal.SIGINT)))
        while True:
            loop.run()

    async_ = Async(loop, nothing)
    loop.run(RunMode.NOWAIT)
    assert in_child(child) == "KeyboardInterrupt: "
    async_.close()


@needs_fork
def test_after_fork_a_signal_of_the_childs_does_not_wake_its_parent(loop: Loop) -> None:
    def child() -> None:
        signal.signal(HARMLESS, nothing)
        loop.fork()
        # After the poll, so that the child does not see it any more.
        Check(loop).start(lambda check: (os.kill(os.getpid(), HARMLESS), os._exit(0)))
        loop.run(RunMode.NOWAIT)

    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            async_ = Async(loop, nothing)
            loop.run(RunMode.NOWAIT)
            assert in_child(child) == ""
            loop.run(RunMode.NOWAIT)
        finally:
            signal.set_wakeup_fd(before)
        with pytest.raises(BlockingIOError):  # where what wakes the loop is forwarded to
            reader.recv(1)
    async_.close()


@needs_fork
def test_after_fork_a_child_may_send_whatever_its_parents_threads_did(loop: Loop) -> None:
    calls: list[Handle] = []
    async_ = Async(loop, calls.append)
    sending, done = threading.Event(), threading.Event()

    def sender() -> None:
        while not done.is_set():
            async_.send()
            sending.set()

    def child() -> str:
        loop.fork()
        async_.send()
        async_.close()
        loop.run()
        return "sent and closed"

    with ThreadPoolExecutor(1) as elsewhere:
        future = elsewhere.submit(sender)
        assert sending.wait(30)
        try:
            for _ in range(20):
                assert in_child(child) == "'sent and closed'"
        finally:
            done.set()
        future.result(timeout=30)
    async_.close()


@needs_fork
def test_fork_while_another_thread_runs_the_loop_does_not_crash_the_child(loop: Loop) -> None:
    """Whether the child may then use the loop or is refused is not promised."""
    inside, done = threading.Event(), threading.Event()
    read: list[bytes] = []

    def on_read(stream: TCP, data: bytes, error: UVError | None) -> None:
        inside.set()
        assert done.wait(30)
        stream.close()

    def child() -> str:
        try:
            loop.fork()
        except RuntimeError:
            return "refused"
        one, other = TCP.socketpair(loop)
        other.read_start(lambda stream, data, error: (read.append(data), loop.stop()))
        one.write(b"x")
        while not read:
            loop.run()
        return "used"

    client, server = TCP.socketpair(loop)
    server.read_start(on_read)
    client.write(b"x")
    with ThreadPoolExecutor(1) as elsewhere:
        run = elsewhere.submit(loop.run)
        try:
            assert inside.wait(30)
            assert in_child(child) in ("'refused'", "'used'")
        finally:
            done.set()
            run.result(timeout=30)
    client.close()


@needs_fork
def test_fork_in_a_callback_ends_the_run_of_the_child() -> None:
    printed = run_python(
        """
import os, signal, sys
from uvbind import Async, Loop, Timer
signal.alarm(30)
def fork(timer):
    timer.close()
    later.start(lambda later: print("later", "child" if pid == 0 else "parent", flush=True), 1)
    global pid
    pid = os.fork()
    if pid == 0:
        try:
            loop.fork()
        except RuntimeError as error:
            print("child:", error, flush=True)
    else:
        assert os.waitpid(pid, 0)[1] == 0
        print("parent goes on", flush=True)
with Loop() as loop:
    Async(loop, print).unref()
    Timer(loop).start(fork, 0)
    later = Timer(loop)
    more = loop.run()
    if pid == 0:
        print("child: run() returned", flush=True)
        loop.fork()
        while more:
            more = loop.run()
        os._exit(0)
"""
    )
    assert printed.splitlines() == [
        "child: fork: return from run() first; this is inside a callback",
        "child: run() returned",
        "later child",
        "parent goes on",
        "later parent",
    ]


def test_fork_is_refused_where_there_was_none(loop: Loop) -> None:
    with pytest.raises(RuntimeError, match=r"fork: there was no os\.fork\(\)"):
        loop.fork()


def test_fork_of_a_closed_loop_is_refused() -> None:
    loop = Loop()
    loop.close()
    with pytest.raises(RuntimeError, match="the loop is closed"):
        loop.fork()


# -- time


def test_now_is_read_once_a_turn_and_by_update_time(loop: Loop) -> None:
    before = loop.now()
    end = Loop.hrtime() + 3_000_000
    while Loop.hrtime() < end:
        pass
    assert loop.now() == before
    loop.update_time()
    assert loop.now() > before


# -- looking inside


def test_walk_calls_back_for_every_handle_closing_ones_included(bare: Loop) -> None:
    found: list[Handle] = []
    handles = {Timer(bare), Signal(bare), Async(bare, nothing), Idle(bare)}
    bare.walk(found.append)
    assert (set(found), len(found)) == (handles, 4)
    found.clear()
    for handle in handles:
        handle.close()
    bare.walk(found.append)
    assert (set(found), len(found)) == (handles, 4)
    found.clear()
    bare.run()
    bare.walk(found.append)
    assert found == []


def test_walk_may_close_and_make_handles(bare: Loop) -> None:
    for _ in range(3):
        Timer(bare)
    bare.walk(lambda handle: (handle.close(), Timer(bare)))
    bare.run()
    assert repr(bare) == "<Loop with handles: Timer, Timer, Timer; pending requests: 0>"
    bare.walk(Handle.close)


def test_walk_ends_with_the_first_exception_and_raises_it(loop: Loop) -> None:
    called = []
    handles = [Timer(loop) for _ in range(3)]
    with pytest.raises(Oops):
        loop.walk(lambda handle: (called.append(handle), fail()))
    assert len(called) == 1
    for handle in handles:
        handle.close()
    assert not loop.run()


def test_walk_refuses_what_cannot_be_called(loop: Loop) -> None:
    with pytest.raises(TypeError, match="callback: expected a function, not NoneType"):
        loop.walk(None)  # type: ignore[arg-type]


def test_backend_fd_embeds_the_loop_in_another(loop: Loop) -> None:
    async_ = Async(loop, Async.close)
    loop.run(RunMode.NOWAIT)
    assert select.select([loop.backend_fd()], [], [], 0)[0] == []
    async_.send()
    assert select.select([loop.backend_fd()], [], [], 30)[0] == [loop.backend_fd()]
    assert loop.run(RunMode.NOWAIT) or async_.is_closing()


def test_backend_timeout_is_what_the_next_poll_would_wait(bare: Loop) -> None:
    assert bare.backend_timeout() == 0
    async_ = Async(bare, nothing)
    bare.run(RunMode.NOWAIT)
    assert bare.backend_timeout() == -1
    timer = Timer(bare)
    timer.start(nothing, 500)
    assert bare.backend_timeout() == 500
    timer.close()
    assert bare.backend_timeout() == 0
    async_.close()


def test_metrics_idle_time_counts_what_the_loop_waited(bare: Loop) -> None:
    bare.configure(metrics_idle_time=True)
    assert bare.metrics_idle_time() == 0
    before = Loop.hrtime()
    for _ in range(100):  # a machine that is busy may let the time pass elsewhere
        if bare.metrics_idle_time() == 0:
            soon(bare, nothing, 20)
            bare.run()
    assert 0 < bare.metrics_idle_time() <= Loop.hrtime() - before


def test_metrics_idle_time_is_0_when_not_configured(bare: Loop) -> None:
    soon(bare, nothing, 2)
    bare.run()
    assert bare.metrics_idle_time() == 0


def needs_libuv(major: int, minor: int) -> pytest.MarkDecorator:
    compiled = str(uvbind.features()["libuv_compiled"]).split(".")
    older = (int(compiled[0]), int(compiled[1])) < (major, minor)
    return pytest.mark.skipif(older, reason=f"needs libuv {major}.{minor}")


@needs_libuv(1, 45)
def test_metrics_info_counts_turns_and_events(loop: Loop) -> None:
    before = loop.metrics_info()
    async_ = Async(loop, nothing)
    for _ in range(3):
        async_.send()
        loop.run(RunMode.NOWAIT)
    after = loop.metrics_info()
    assert after.loop_count - before.loop_count == 3
    assert after.events - before.events == 3
    assert 0 <= after.events_waiting <= 3
    async_.close()


def test_configure_takes_sigprof_to_be_blocked(loop: Loop) -> None:
    loop.configure(block_signal=signal.SIGPROF)


def test_configure_refuses_to_block_other_signals(loop: Loop) -> None:
    with pytest.raises(UVError, match="configure: block_signal") as caught:
        loop.configure(block_signal=signal.SIGINT)
    assert caught.value.name == "EINVAL"


@pytest.mark.parametrize(
    ("signum", "error"), [(0, ValueError), (2**31, ValueError), ("SIGPROF", TypeError)]
)
def test_configure_refuses_what_is_no_signal(
    loop: Loop, signum: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match="block_signal: expected an int"):
        loop.configure(block_signal=signum)


@pytest.mark.skipif(sys.platform != "linux", reason="io_uring is Linux's")
@needs_libuv(1, 49)
def test_configure_takes_io_uring(loop: Loop) -> None:
    loop.configure(use_io_uring_sqpoll=True)
    soon(loop, nothing)
    assert not loop.run()
