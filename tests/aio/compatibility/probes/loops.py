"""The loop itself: running, closing, names."""

import asyncio
import contextvars
import gc
import pickle
import socket
import weakref

from peers import raised, raises
from probing import probe

variable = contextvars.ContextVar("variable", default=0)


@probe("loop.run_forever", "an idle loop makes no wakeups")
async def no_wakeups(loop):
    def switches():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("voluntary"))

    before = switches()
    await asyncio.sleep(0.5)
    # A loop that waits but once gives the processor up a few times.
    assert switches() - before < 10, f"{switches() - before} in half a second"


@probe("loop.run_forever", "stop() before it: one turn")
def stop_before(new_loop):
    loop, calls = new_loop(), []
    loop.call_soon(calls.append, 1)
    loop.call_soon(lambda: loop.call_soon(calls.append, 2))
    loop.stop()
    loop.run_forever()
    first = list(calls)
    loop.stop()
    loop.run_forever()
    loop.close()
    return first, calls


@probe("loop.stop", "what is ready in that turn is called yet")
def stop_in_turn(new_loop):
    loop, calls = new_loop(), []
    loop.call_soon(loop.stop)
    loop.call_soon(calls.append, 1)
    loop.call_later(0, calls.append, 2)
    loop.run_forever()
    loop.close()
    return calls[0]


@probe("loop.run_until_complete", "results, exceptions, cancellation, a loop that stops before")
def run_until_complete(new_loop):
    loop, seen = new_loop(), []

    async def main(what):
        await asyncio.sleep(0)
        return 1 / what

    async def stops():
        loop.stop()
        await asyncio.sleep(9)

    async def cancelled():
        raise asyncio.CancelledError

    for what in (main(1), main(0), stops(), cancelled()):
        try:
            seen.append(loop.run_until_complete(what))
        except BaseException as error:
            seen.append(type(error).__name__)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return seen


@probe("loop.run_until_complete", "another loop's future, and no future, are refused")
def foreign_future(new_loop):
    loop, other = new_loop(), new_loop()
    seen = [raised(loop.run_until_complete, other.create_future())]
    seen.append(raised(loop.run_until_complete, 5))
    loop.close(), other.close()
    return seen


@probe("loop.run_until_complete", "KeyboardInterrupt and SystemExit of a call come out of it")
def exits(new_loop):
    loop, seen = new_loop(), []

    def leave(error):
        raise error

    for error in (KeyboardInterrupt(), SystemExit(3)):
        loop.call_soon(leave, error)
        try:
            loop.run_until_complete(asyncio.sleep(5))
        except BaseException as caught:
            seen.append(caught is error)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return seen


@probe("loop.is_running", "inside and outside; another loop does not run inside")
def running(new_loop):
    loop, other = new_loop(), new_loop()

    async def main():
        seen = [loop.is_running(), asyncio.get_running_loop() is loop]
        return [*seen, raised(loop.close), raised(other.run_until_complete, other.create_future())]

    seen = [loop.is_running(), *loop.run_until_complete(main()), loop.is_running()]
    loop.close(), other.close()
    return seen


@probe("loop.run_forever", "is refused by a loop that runs, which goes on")
def runs_already(new_loop):
    loop = new_loop()

    async def main():
        seen = raised(loop.run_forever)
        await asyncio.sleep(0.001)
        return seen

    seen = loop.run_until_complete(main())
    loop.close()
    return seen


@probe("loop.is_closed", "before close() and after")
def is_closed(new_loop):
    loop = new_loop()
    seen = loop.is_closed()
    loop.close()
    return seen, loop.is_closed()


@probe("loop.close", "twice, and what a closed loop refuses")
def closed(new_loop):
    loop = new_loop()
    loop.close(), loop.close()
    seen = [raised(loop.call_soon, print), raised(loop.call_later, 1, print)]
    return [*seen, raised(loop.run_forever)]


@probe("loop.close", "forgets the calls that have not come")
def close_forgets(new_loop):
    loop, calls = new_loop(), []

    class Thing:
        pass

    thing = Thing()
    known = weakref.ref(thing)
    loop.call_soon(calls.append, thing)
    loop.call_later(9, calls.append, thing)
    del thing
    loop.close()
    gc.collect()
    return calls, known() is None


@probe("the loop", "attributes, subclasses, weak references, and no pickling")
def an_object(new_loop):
    class Own(type(new_loop())):
        calls = 0

        def call_soon(self, *arguments, **options):
            Own.calls += 1
            return super().call_soon(*arguments, **options)

    loop = Own()
    loop.name = "mine"
    loop.run_until_complete(asyncio.sleep(0))
    seen = [loop.name, Own.calls > 0, weakref.ref(loop)() is loop]
    loop.close()
    return seen, raised(pickle.dumps, loop) != "nothing"


@probe("the loop", "is an `asyncio.BaseEventLoop`")
async def a_base_event_loop(loop):
    return isinstance(loop, asyncio.BaseEventLoop)


@probe("loop.getaddrinfo", "as socket.getaddrinfo, of numbers, names and no host")
async def getaddrinfo(loop):
    seen = []
    for host, port, options in (
        ("127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
        ("::1", 80, {"type": socket.SOCK_DGRAM}),
        (b"127.0.0.1", b"80", {"type": socket.SOCK_STREAM}),
        ("localhost", "http", {"type": socket.SOCK_STREAM, "family": socket.AF_INET}),
        (None, 80, {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM}),
        ("127.0.0.1", None, {}),
    ):
        found = await loop.getaddrinfo(host, port, **options)
        seen.append(found == socket.getaddrinfo(host, port, **options))
    return seen


@probe("loop.getaddrinfo", "of a name there is not: socket.gaierror")
async def no_such_name(loop):
    try:
        await loop.getaddrinfo("no-such-host.invalid", 80)
    except socket.gaierror as error:
        return error.errno in (socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_NODATA)


@probe("loop.getnameinfo", "numbers, and a name's own")
async def getnameinfo(loop):
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    seen = [await loop.getnameinfo(("127.0.0.1", 80), numeric)]
    address = ("127.0.0.1", 80)
    seen.append(await loop.getnameinfo(address) == socket.getnameinfo(address, 0))
    return [*seen, await raises(loop.getnameinfo(("localhost", 80)))]
