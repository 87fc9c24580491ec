"""Loops: their time, and what they show of their inside: handles, descriptor."""

from __future__ import annotations

import select
import signal
import sys
from pathlib import Path

import pytest
from helpers import Oops, fail, ignore, needs_libuv, soon

from uvbind import Async, Handle, Idle, Loop, RunMode, Signal, Timer, UVError

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
    handles = {Timer(bare), Signal(bare), Async(bare, ignore), Idle(bare)}
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
    async_ = Async(bare, ignore)
    bare.run(RunMode.NOWAIT)
    assert bare.backend_timeout() == -1
    timer = Timer(bare)
    timer.start(ignore, 500)
    assert bare.backend_timeout() == 500
    timer.close()
    assert bare.backend_timeout() == 0
    async_.close()


def test_handles_are_printed_after_what_was_written_before(loop: Loop, tmp_path: Path) -> None:
    timer, idle = Timer(loop), Idle(loop)
    idle.start(ignore)
    timer.unref()
    with open(tmp_path / "handles", "w+") as file:
        file.write("all:\n")
        loop.print_all_handles(file)
        loop.print_active_handles(file.fileno())
        file.seek(0)
        heading, *lines = file.read().splitlines()
    assert heading == "all:"
    about_timer, about_idle = ("[---] timer ", "[RA-] idle ")
    assert sum(line.startswith(about_timer) for line in lines) == 1, "not active"
    assert sum(line.startswith(about_idle) for line in lines) == 2
    timer.close()
    idle.close()


def test_handles_are_printed_to_stderr_by_default(
    loop: Loop, capfd: pytest.CaptureFixture[str]
) -> None:
    loop.print_all_handles()
    out, err = capfd.readouterr()
    assert "timer" in err and out == "", "the guard"


def test_printing_says_why_it_failed(loop: Loop) -> None:
    with pytest.raises(TypeError, match="file: expected a file descriptor"):
        loop.print_all_handles("stderr")
    with pytest.raises(UVError, match="print to 12345: bad file descriptor"):
        loop.print_active_handles(12345)
    if sys.platform == "linux":
        with open("/dev/full", "w") as full, pytest.raises(UVError, match="no space left"):
            loop.print_all_handles(full)


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
    soon(loop, ignore)
    assert not loop.run()
