"""Signals."""

import asyncio
import os
import signal
import sys
import threading
import time

from peers import raised, until
from probing import probe


def me(number):
    os.kill(os.getpid(), number)


@probe("loop.add_signal_handler", "is called in the loop, with its arguments")
async def add_signal_handler(loop):
    got = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, got.set_result, 5)
    me(signal.SIGUSR1)
    seen = await got
    return seen, loop.remove_signal_handler(signal.SIGUSR1)


@probe("loop.add_signal_handler", "wakes a loop that waits, and one that computes")
async def wakes(loop):
    calls = []
    loop.add_signal_handler(signal.SIGALRM, calls.append, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    await until(lambda: calls)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.02)
    await until(lambda: len(calls) == 2)
    return calls


@probe("loop.add_signal_handler", "again: the new one only")
async def again(loop):
    calls = []
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "new")
    me(signal.SIGUSR1)
    await until(lambda: calls)
    return calls


@probe("loop.add_signal_handler", "what it refuses")
async def refuses(loop):
    async def coroutine():
        pass

    seen = [raised(loop.add_signal_handler, signal.SIGKILL, print)]
    seen.append(raised(loop.add_signal_handler, 0, print))
    seen.append(raised(loop.add_signal_handler, 10_000, print))
    seen.append(raised(loop.add_signal_handler, signal.SIGUSR1, coroutine))
    return [*seen, raised(loop.add_signal_handler, "SIGUSR1", print)]


@probe("loop.add_signal_handler", "in another thread it is refused")
def other_thread(new_loop):
    seen = []

    def elsewhere():
        loop = new_loop()
        seen.append(raised(loop.add_signal_handler, signal.SIGUSR1, print) != "nothing")
        loop.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    return seen


@probe("loop.add_signal_handler", "SIGCHLD")
async def sigchld(loop):
    got = asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, got.set)
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    await got.wait()
    return os.waitpid(pid, 0)[1]


@probe("loop.add_signal_handler", "system calls of Python's go on afterwards")
async def interrupted(loop):
    calls = []
    loop.add_signal_handler(signal.SIGALRM, calls.append, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    read, write = os.pipe()
    threading.Timer(0.05, os.write, (write, b"data")).start()
    seen = os.read(read, 9)
    await until(lambda: calls)
    return seen, calls


@probe("loop.remove_signal_handler", "gives the signal back; tells whether there was one")
async def remove_signal_handler(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    seen = [loop.remove_signal_handler(signal.SIGUSR1), loop.remove_signal_handler(signal.SIGUSR1)]
    loop.remove_signal_handler(signal.SIGINT)
    seen.append(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
    return [*seen, signal.getsignal(signal.SIGINT) is signal.default_int_handler]


@probe("signal.signal", "Python's own handlers run while the loop waits")
async def own_handler(loop):
    calls = []
    signal.signal(signal.SIGALRM, lambda number, frame: calls.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    start = loop.time()
    await asyncio.sleep(0.3)
    return calls, loop.time() - start < 20


@probe("signal.signal", "a handler that raises ends run_until_complete()")
def raising_handler(new_loop):
    class Alarm(Exception):
        pass

    def alarm(number, frame):
        raise Alarm

    loop = new_loop()
    signal.signal(signal.SIGALRM, alarm)
    loop.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.02)  # it comes inside of the run
    seen = "nothing"
    try:
        loop.run_until_complete(asyncio.sleep(30))
    except Alarm:
        seen = "raised"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return seen


@probe("signal.signal", "a handler may call loop.call_soon_threadsafe")
async def from_handler(loop):
    got = loop.create_future()
    signal.signal(
        signal.SIGALRM, lambda number, frame: loop.call_soon_threadsafe(got.set_result, number)
    )
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    return await got


@probe("signal.set_wakeup_fd", "is what it was after the loop is closed")
def wakeup_fd(new_loop):
    import socket

    _one, other = socket.socketpair()
    other.setblocking(False)
    signal.set_wakeup_fd(other.fileno())
    loop = new_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return signal.set_wakeup_fd(-1) == other.fileno()


@probe("asyncio.Runner", "Ctrl-C cancels the main task, which may clean up")
def ctrl_c(new_loop):
    seen = []

    async def main():
        try:
            asyncio.get_running_loop().call_later(0.01, me, signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cancelled")
            raise

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        seen.append("interrupted")
    return seen


@probe("asyncio.Runner", "Ctrl-C in a loop that is busy with calls")
def ctrl_c_busy(new_loop):
    seen = []

    async def main():
        threading.Timer(0.02, me, (signal.SIGINT,)).start()
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            seen.append("cleaned up")

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        seen.append("interrupted")
    return seen


@probe("asyncio.Runner", "a second Ctrl-C ends what does not end")
def ctrl_c_twice(new_loop):
    seen = []

    async def main():
        threading.Timer(0.02, me, (signal.SIGINT,)).start()
        try:
            await asyncio.sleep(30)
        finally:
            # Not before the first was told: of two at once Python tells one.
            threading.Timer(0.02, me, (signal.SIGINT,)).start()
            time.sleep(30)
            seen.append("went on")

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        seen.append("interrupted")
    return seen


@probe("loop.run_until_complete", "Ctrl-C comes out as KeyboardInterrupt")
def plain_ctrl_c(new_loop):
    loop = new_loop()
    loop.call_soon(threading.Timer(0.02, me, (signal.SIGINT,)).start)
    seen = "nothing"
    try:
        loop.run_until_complete(asyncio.sleep(30))
    except KeyboardInterrupt:
        seen = "interrupted"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return seen


@probe("loop.run_forever", "SIGTERM ends a program that has no handler for it")
def sigterm(new_loop):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        loop = new_loop()
        loop.call_later(0.01, me, signal.SIGTERM)
        loop.call_later(30, sys.exit)
        try:
            loop.run_forever()
        finally:
            os._exit(5)
    return os.waitpid(pid, 0)[1]
