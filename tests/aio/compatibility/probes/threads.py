"""Threads and forks."""

import asyncio
import os
import threading

from peers import connected, exchange
from probing import probe


@probe("a thread", "a loop of its own in each of four")
def loops_in_threads(new_loop):
    seen = []

    def elsewhere():
        loop = new_loop()
        seen.append(loop.run_until_complete(exchange(loop)))
        loop.close()

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


@probe("a thread", "a loop made in one, run in another, closed in a third")
def moved(new_loop):
    loop, seen = new_loop(), []
    for function in (
        lambda: seen.append(loop.run_until_complete(exchange(loop))),
        lambda: seen.append(loop.run_until_complete(asyncio.sleep(0.001, 5))),
        loop.close,
    ):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    return seen, loop.is_closed()


@probe("a thread", "run_forever() there, stopped from here")
def stopped_from_here(new_loop):
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    seen = asyncio.run_coroutine_threadsafe(exchange(loop), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    seen = seen, thread.is_alive()
    loop.close()
    return seen


@probe("a thread", "many wake the loop at once; no call is lost")
async def many_threads(loop):
    calls, done = [], loop.create_future()

    def called(number):
        calls.append(number)
        if len(calls) == 4000:
            done.set_result(None)

    def elsewhere():
        for number in range(1000):
            loop.call_soon_threadsafe(called, number)

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    await done
    for thread in threads:
        thread.join()
    return len(calls)


def in_child(function):
    """Fork; what the function returns in the child comes back."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(function()).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as report:
        text = report.read()
    return text.decode(), os.waitpid(pid, 0)[1]


@probe("os.fork", "with a loop that has run: the child makes one of its own")
def fork_between(new_loop):
    loop = new_loop()
    first = loop.run_until_complete(exchange(loop))

    def child():
        mine = new_loop()
        return mine.run_until_complete(exchange(mine))

    seen = in_child(child)
    last = loop.run_until_complete(exchange(loop))
    loop.close()
    return first, seen, last


@probe("os.fork", "inside a running loop: the child makes one of its own, the parent goes on")
async def fork_inside(loop):
    def child():
        asyncio._set_running_loop(None)
        mine = type(loop)()
        return mine.run_until_complete(exchange(mine))

    seen = in_child(child)
    return seen, await exchange(loop)


@probe("os.fork", "inside a running loop: a child that only ends")
async def fork_and_end(loop):
    async with connected(loop) as both:
        seen = in_child(lambda: 5)
        both.client.write(b"data")
        return seen, await both.theirs.received(4)


@probe("multiprocessing", "a process forked inside a running loop")
async def multiprocessing_fork(loop):
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=theirs.send, args=(5,))
    process.start()
    seen = await loop.run_in_executor(None, ours.recv)
    await loop.run_in_executor(None, process.join)
    return seen, process.exitcode
