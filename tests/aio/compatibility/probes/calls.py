"""Calls, timers and the loop itself."""

import asyncio
import contextvars
import socket
import threading
import time

from peers import raised, raises, until
from probing import probe

variable = contextvars.ContextVar("variable", default=0)


@probe("loop.call_soon", "calls in their order, those of a call in the next turn")
async def calls_in_order(loop):
    calls = []
    loop.call_soon(lambda: (calls.append(1), loop.call_soon(calls.append, 3)))
    loop.call_soon(calls.append, 2)
    for _ in range(3):
        await asyncio.sleep(0)
    return calls


@probe("loop.call_soon", "the handle it returns: cancel(), cancelled()")
async def handle_of_call_soon(loop):
    calls = []
    handle = loop.call_soon(calls.append, 1)
    seen = handle.cancelled()
    handle.cancel()
    await asyncio.sleep(0)
    return calls, seen, handle.cancelled()


@probe("loop.call_soon", "the handles are `asyncio.Handle`, and of timers `asyncio.TimerHandle`")
async def kinds_of_handles(loop):
    handles = loop.call_soon(print), loop.call_later(9, print)
    for handle in handles:
        handle.cancel()
    return isinstance(handles[0], asyncio.Handle), isinstance(handles[1], asyncio.TimerHandle)


@probe("loop.call_soon", "`context=`, else a copy of the caller's")
async def context_of_call_soon(loop):
    seen = []
    context = contextvars.copy_context()
    context.run(variable.set, 5)
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    variable.set(6)
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.set(7)
    await asyncio.sleep(0)
    return seen


@probe("loop.call_soon", "`handle.get_context()`", since=(3, 12))
async def context_of_handle(loop):
    context = contextvars.copy_context()
    handles = loop.call_soon(print, context=context), loop.call_later(9, print, context=context)
    for handle in handles:
        handle.cancel()
    return [handle.get_context() is context for handle in handles]


@probe("loop.call_soon", "what it refuses in debug mode: coroutines, other threads")
async def debug_checks(loop):
    async def coroutine():
        pass

    loop.set_debug(True)
    seen = [raised(loop.call_soon, coroutine), raised(loop.call_soon, 5)]
    seen.append(await raises(loop.run_in_executor(None, loop.call_soon, print)))
    return seen


@probe("loop.call_later", "a moment, none, and less than none; a cancelled one not")
async def call_later(loop):
    calls = []
    for delay in (0.001, 0, -1):
        loop.call_later(delay, calls.append, delay)
    loop.call_later(0, calls.append, "cancelled").cancel()
    await until(lambda: len(calls) == 3)
    return sorted(calls)


@probe("loop.call_at", "in the order of their times")
async def timers_in_order(loop):
    calls, now = [], loop.time()
    for delay in (0.03, 0.01, 0.02, -1, 0):
        loop.call_at(now + delay, calls.append, delay)
    await until(lambda: len(calls) == 5)
    return calls


@probe("loop.call_later", "never early, by loop.time()")
async def never_early(loop):
    early = 0
    for delay in (0.0004, 0.001, 0.0017, 0.0101) * 5:
        when, called = loop.time() + delay, loop.create_future()
        loop.call_later(delay, lambda called=called: called.set_result(loop.time()))
        early += await called < when - 1e-6
    assert not early, "early"


@probe("loop.call_at", "never early, by loop.time()")
async def never_early_at(loop):
    early = 0
    for delay in (0.0004, 0.001, 0.0017, 0.0101) * 5:
        when, called = loop.time() + delay, loop.create_future()
        loop.call_at(when, lambda called=called: called.set_result(loop.time()))
        early += await called < when - 1e-6
    assert not early, "early"


@probe("loop.call_at", "the handle it returns: when(), cancel(), cancelled()")
async def handle_of_call_at(loop):
    when = loop.time() + 50
    handle = loop.call_at(when, print)
    handle.cancel()
    return abs(handle.when() - when) < 0.002, handle.cancelled()


@probe("loop.call_at", "the handles are ordered by their times")
async def order_of_handles(loop):
    one, two = loop.call_later(50, print), loop.call_later(51, print)
    one.cancel(), two.cancel()
    return one < two, one == two


@probe("loop.call_at", "a time that is days, or for ever, away")
async def far_away(loop):
    handles = [loop.call_at(loop.time() + away, print) for away in (1e5, 1e8, float("inf"))]
    await asyncio.sleep(0.002)
    for handle in handles:
        handle.cancel()


@probe("asyncio.timeout", "of infinite time, asked for when data has come")
async def timeout_for_ever(loop):
    one, other = socket.socketpair()
    with other:
        reader, writer = await asyncio.open_connection(sock=one)
        loop.call_later(0.005, other.send, b"one\n")
        seen = [await reader.readline()]
        async with asyncio.timeout(float("inf")):
            loop.call_later(0.005, other.send, b"two\n")
            seen.append(await reader.readline())
        writer.close()
        return seen


@probe("loop.call_at", "times beyond all bounds, and a NaN, beside others")
async def beyond_all_bounds(loop):
    calls = []
    far = loop.call_later(1e306, print)
    loop.call_later(float("nan"), calls.append, "NaN")
    loop.call_later(0.005, calls.append, "soon")
    await loop.run_in_executor(None, time.sleep, 0.05)
    far.cancel()
    return sorted(calls)


@probe("loop.call_soon", "comes before data that came meanwhile")
async def before_data(loop):
    class Ours(asyncio.Protocol):
        def data_received(self, data):
            calls.append("data")

    calls = []
    one, other = socket.socketpair()
    with other:
        transport, _ = await loop.create_connection(Ours, sock=one)
        await asyncio.sleep(0.005)
        other.send(b"data")
        loop.call_soon(calls.append, "call")
        await until(lambda: len(calls) == 2)
        transport.close()
        return calls


@probe("loop.call_at", "`None` and text are refused")
async def no_time(loop):
    return raised(loop.call_at, None, print), raised(loop.call_later, None, print)


@probe("loop.call_soon_threadsafe", "wakes a loop that waits")
async def wakes(loop):
    woken = loop.create_future()
    thread = threading.Thread(
        target=lambda: (time.sleep(0.01), loop.call_soon_threadsafe(woken.set_result, 5))
    )
    thread.start()
    result = await woken
    thread.join()
    return result


@probe("loop.call_soon_threadsafe", "after close")
def threadsafe_after_close(new_loop):
    loop = new_loop()
    loop.close()
    return [raised(call, print) for call in (loop.call_soon_threadsafe, loop.call_soon)]


@probe("loop.time", "goes with time.monotonic()")
async def clock(loop):
    def goes_with_it():
        before, time_of_loop, after = time.monotonic(), loop.time(), time.monotonic()
        return before - 0.02 < time_of_loop < after + 0.02

    seen = [goes_with_it()]
    time.sleep(0.05)  # the loop's time goes on while nobody lets it run
    return [*seen, goes_with_it()]
