"""Executors, and what the loop shuts down at its end."""

import asyncio
import concurrent.futures
import threading
import time

from peers import raised, raises
from probing import probe


async def nothing(result=None):
    await asyncio.sleep(0)
    return result


@probe("loop.run_in_executor", "results, exceptions, another thread")
async def run_in_executor(loop):
    seen = [await loop.run_in_executor(None, pow, 2, 5)]
    seen.append(await raises(loop.run_in_executor(None, int, "text")))
    seen.append(await loop.run_in_executor(None, threading.get_ident) != threading.get_ident())
    with concurrent.futures.ThreadPoolExecutor(1, "mine") as pool:
        thread = await loop.run_in_executor(pool, threading.current_thread)
        seen.append(thread.name.startswith("mine"))
    return seen


@probe("loop.set_default_executor", "is used from then on")
async def set_default_executor(loop):
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "mine"))
    thread = await asyncio.to_thread(threading.current_thread)
    return thread.name.startswith("mine")


@probe("loop.set_default_executor", "refuses what is no ThreadPoolExecutor")
def no_executor(new_loop):
    loop = new_loop()
    return raised(loop.set_default_executor, 5)


@probe("loop.shutdown_default_executor", "waits for what runs, then refuses")
async def shutdown_default_executor(loop):
    slow = loop.run_in_executor(None, time.sleep, 0.02)
    await loop.shutdown_default_executor()
    return slow.done(), raised(loop.run_in_executor, None, print)


@probe("loop.shutdown_default_executor", "`timeout=`: warns and goes on", since=(3, 12))
async def shutdown_in_time(loop):
    import warnings

    released = threading.Event()
    loop.run_in_executor(None, released.wait)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await loop.shutdown_default_executor(timeout=0.05)
    released.set()
    return [warning.category.__name__ for warning in caught]


@probe("loop.shutdown_asyncgens", "closes those that are left, and warns of new ones")
async def shutdown_asyncgens(loop):
    closed = []

    async def generator():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(1)

    left = generator()
    await left.__anext__()
    await loop.shutdown_asyncgens()
    return closed


@probe("loop.shutdown_asyncgens", "one that is dropped is closed by the loop")
async def dropped_generator(loop):
    import gc

    closed = loop.create_future()

    async def generator():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.set_result(5)

    left = generator()
    await left.__anext__()
    del left
    gc.collect()
    return await closed


@probe("asyncio.run_coroutine_threadsafe", "from another thread, and cancelled from there")
async def run_coroutine_threadsafe(loop):
    def elsewhere():
        seen = [asyncio.run_coroutine_threadsafe(nothing(5), loop).result(30)]
        future = asyncio.run_coroutine_threadsafe(asyncio.sleep(9), loop)
        return [*seen, future.cancel()]

    return await loop.run_in_executor(None, elsewhere)
