"""Child processes: what they get and give back, in any thread, and that none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import uvbind
from uvbind.aio import _processes

PIPE = subprocess.PIPE
WATCHERS = sys.version_info < (3, 14)  # which can be set
ECHO = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1])"
needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there is no os.pidfd_open")


@pytest.fixture(autouse=True)
def leaves_no_children():
    yield
    for thread in threading.enumerate():  # asyncio's end a little after what they told
        if "waitpid" in thread.name:
            thread.join(30)
    with contextlib.suppress(ChildProcessError):
        pytest.fail(f"a child was left: {os.waitpid(-1, os.WNOHANG)}")


@pytest.fixture
def run(run, new_loop):  # which older pytests do not see behind the other `run`
    """Also without a warning that asyncio itself gives, of its watchers on Python 3.12."""

    def quiet(main):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return run(main)

    return quiet


async def python(script, **options):
    return await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", script, **options)


def test_megabytes_through_a_child(run):
    async def main():
        process = await python(ECHO, stdin=PIPE, stdout=PIPE)
        data = bytes(range(256)) * 4096
        assert await process.communicate(data) == (data[::-1], None)
        assert process.returncode == 0

    run(main)


def test_output_errors_and_return_code(run):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE
        )
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 7 == await process.wait()

    run(main)


def test_lines_to_and_fro(run):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for number in range(100):
            process.stdin.write(b"%d\n" % number)
            assert await process.stdout.readline() == b"%d\n" % number
        process.stdin.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0

    run(main)


def test_signals(run):
    async def main():
        for end in ("terminate", "kill"):
            process = await asyncio.create_subprocess_exec("sleep", "60")
            getattr(process, end)()
            number = signal.SIGTERM if end == "terminate" else signal.SIGKILL
            assert await process.wait() == -number

    run(main)


def test_many_at_once(run):
    async def one(number):
        process = await asyncio.create_subprocess_shell(f"exit {number}", stdout=PIPE)
        await process.communicate()
        return process.returncode

    async def main():
        assert await asyncio.gather(*map(one, range(40))) == list(range(40))

    run(main)


def test_a_program_that_is_not_there(run):
    async def main():
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program", stdout=PIPE)

    run(main)


def test_from_several_loops_in_several_threads(run, new_loop):
    async def one(number):
        process = await asyncio.create_subprocess_shell(
            f"read x; echo $x; exit {number}", stdin=PIPE, stdout=PIPE
        )
        assert await process.communicate(b"%d\n" % number) == (b"%d\n" % number, None)
        return process.returncode

    def thread(first):
        async def main():
            numbers = range(first, first + 20)
            assert await asyncio.gather(*map(one, numbers)) == list(numbers)

        loop = new_loop()
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(main())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)
        list(pool.map(thread, range(0, 80, 20)))


def test_while_another_loop_runs_in_the_main_thread(run):
    async def main():
        def thread():
            async def other():
                process = await asyncio.create_subprocess_shell("exit 3")
                return await process.wait()

            return uvbind.run(other())

        mine = await asyncio.create_subprocess_shell("exit 4")
        assert await asyncio.get_running_loop().run_in_executor(None, thread) == 3
        assert await mine.wait() == 4

    run(main)


# -- none is left behind


@pytest.mark.parametrize("turns", range(6))
def test_cancelled_at_the_start(run, turns):
    async def main():
        task = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            pass
        else:
            process.kill()
            await process.communicate()

    run(main)


@needs_pidfd
def test_a_loop_that_closes_while_a_child_runs_leaves_no_zombie():
    loop = uvbind.new_event_loop()
    process, ended = (
        loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "60")) for _ in range(2)
    )
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    loop.close()
    assert not Path(f"/proc/{ended.pid}").exists()
    (thread,) = (each for each in threading.enumerate() if each.name.endswith(f"-{process.pid}"))
    os.kill(process.pid, signal.SIGKILL)
    thread.join(30)
    assert not Path(f"/proc/{process.pid}").exists()
    for each in (process, ended):
        each._transport.close()


@needs_pidfd
@pytest.mark.parametrize("by", ["its Popen", "others"])
def test_a_child_that_was_waited_for_elsewhere(by, caplog):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "60")
        os.kill(process.pid, signal.SIGKILL)
        if by == "its Popen":
            assert process._transport._proc.wait() == -signal.SIGKILL
        else:
            assert os.waitpid(process.pid, 0) == (process.pid, signal.SIGKILL)
        return await process.wait()

    if by == "its Popen":
        assert uvbind.run(main()) == -signal.SIGKILL and not caplog.records
    else:
        assert uvbind.run(main()) == 255 and "waited for elsewhere" in caplog.text


@needs_pidfd
def test_without_a_descriptor_for_it_a_thread_waits_for_the_child(monkeypatch):
    def none_left(pid, flags=0):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main():
        monkeypatch.setattr(os, "pidfd_open", none_left)
        process = await python("print(1)", stdout=PIPE)
        assert await process.communicate() == (b"1\n", None)
        process = await asyncio.create_subprocess_exec("sleep", "60")
        (thread,) = (each for each in threading.enumerate() if each.name.endswith(f"{process.pid}"))
        process.kill()
        thread.join(30)
        if hasattr(os, "waitid"):  # its number stays its own until its end is known here
            how = os.WEXITED | os.WNOWAIT | os.WNOHANG
            assert os.waitid(os.P_PID, process.pid, how).si_status == signal.SIGKILL
            assert process.returncode is None
            process.kill()
        assert await process.wait() == -signal.SIGKILL

    assert _processes._has_pidfds()
    uvbind.run(main())


def test_where_there_are_no_pidfds(monkeypatch):
    async def main():
        process = await python("print(1)", stdout=PIPE)
        assert await process.communicate() == (b"1\n", None)

    monkeypatch.setattr(_processes, "_pidfds", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if WATCHERS:
            policy, watcher = asyncio.get_event_loop_policy(), asyncio.ThreadedChildWatcher()
            monkeypatch.setattr(policy, "_watcher", watcher)
        uvbind.run(main())


@pytest.mark.skipif(not WATCHERS, reason="Python 3.14 has no child watchers")
def test_a_watcher_that_the_program_has_set(run):
    pids = []

    async def main():
        process = await python("")
        assert await process.wait() == 0
        assert pids == [process.pid]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class Watcher(asyncio.ThreadedChildWatcher):
            def add_child_handler(self, pid, callback, *args):
                pids.append(pid)
                super().add_child_handler(pid, callback, *args)

        before = asyncio.get_child_watcher()
        asyncio.set_child_watcher(Watcher())
        try:
            run(main)
        finally:
            asyncio.set_child_watcher(before)
