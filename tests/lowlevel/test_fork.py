"""Forked children: what they may do with their parent's loop, before and after its fork()."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import (
    HARMLESS,
    LOOP_VERBS,
    WAYS,
    close_others,
    ignore,
    in_child,
    kill,
    needs_fork,
    run_python,
    soon,
)

from uvbind import (
    TCP,
    Async,
    Check,
    Handle,
    Loop,
    Poll,
    PollEvent,
    Prepare,
    RunMode,
    Signal,
    Timer,
    UVError,
)


@needs_fork
@pytest.mark.parametrize("name", [*LOOP_VERBS, "close", "Async.send", "Timer.start", "Timer.close"])
def test_in_a_child_every_verb_but_fork_is_refused(loop: Loop, name: str) -> None:
    async_, timer = Async(loop, ignore), Timer(loop)
    verb = (
        LOOP_VERBS.get(name)
        or {
            "close": Loop.close,
            "Async.send": lambda loop: async_.send(),
            "Timer.start": lambda loop: timer.start(ignore, 0),
            "Timer.close": lambda loop: timer.close(),
        }[name]
    )
    answer = in_child(lambda: verb(loop))
    assert answer.startswith("RuntimeError: the loop is the parent process's; call its fork()")
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
        timer.start(ignore, 0)
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
        kill(HARMLESS)
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
        poll.start(PollEvent.READABLE, note)
        watcher.start(note, HARMLESS)
        loop.run(RunMode.NOWAIT)
        timer.start(note, 10)  # the parent does not run before the child has ended
        assert in_child(child) == "['Async', 'Poll', 'Signal', 'Timer']"
        assert loop.run(RunMode.NOWAIT)
        assert set(calls) <= {"Poll", "Timer"}, "the child's wakeups came to its parent"
        assert "Poll" in calls, "the child took its parent's descriptor out of the poll set"
        close_others(loop)


@needs_fork
def test_after_fork_a_send_of_the_childs_does_not_wake_its_parent(loop: Loop) -> None:
    async_ = Async(loop, ignore)
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

    async_ = Async(loop, ignore)
    loop.run(RunMode.NOWAIT)
    assert in_child(child) == "KeyboardInterrupt: "
    async_.close()


@needs_fork
def test_after_fork_a_signal_of_the_childs_does_not_wake_its_parent(loop: Loop) -> None:
    def child() -> None:
        signal.signal(HARMLESS, ignore)
        loop.fork()
        # After the poll, so that the child does not see it any more.
        Check(loop).start(lambda check: (kill(HARMLESS), os._exit(0)))
        loop.run(RunMode.NOWAIT)

    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        try:
            async_ = Async(loop, ignore)
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
