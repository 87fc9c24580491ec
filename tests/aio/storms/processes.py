"""Storms with loops and processes beside this one: each function is one round."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import warnings
from typing import Any

from descriptors import new_pair
from tags import frame, new_tag
from world import LONG, World


async def loops(world: World) -> None:
    """Loops in other threads that are closed with everything open."""

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        ours, theirs = new_pair()
        await loop.create_connection(asyncio.Protocol, *world.echo)
        await loop.create_connection(asyncio.Protocol, sock=ours)
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        loop.add_reader(theirs, lambda: None)
        await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        looking_up = asyncio.ensure_future(loop.getaddrinfo("localhost", 80))
        await world.turns(world.random.randrange(5))
        loop.remove_reader(theirs)
        theirs.close()
        looking_up.cancel()

    def thread() -> None:
        loop = type(world.loop)()
        loop.set_exception_handler(lambda loop, context: world.fault(f"{context}"))
        with warnings.catch_warnings():
            try:
                loop.run_until_complete(main(loop))
            finally:
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0.001))
                loop.close()

    await world.cancelled(asyncio.wait_for(world.loop.run_in_executor(None, thread), LONG))


async def forks(world: World) -> None:
    """Children that know the loop and everything open in it, and go their own way."""
    loop, chance = world.loop, world.random
    ours, theirs = new_pair()
    loop.add_reader(ours, lambda: None)
    transport, _ = await loop.create_connection(asyncio.Protocol, *world.echo)
    sock = transport.get_extra_info("socket")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads there are
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(20)
            asyncio._set_running_loop(None)
            for use in (lambda: loop.remove_reader(ours), transport.close, transport.abort):
                with contextlib.suppress(RuntimeError):
                    use()
            inner = type(loop)()
            inner.run_until_complete(inner.create_connection(asyncio.Protocol, *world.echo))
            inner.close()
            code = 0
        finally:
            os._exit(code)
    await world.turns(chance.randrange(3))
    if chance.random() < 0.5:
        transport.close()
    _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
    if status:
        world.fault(f"a forked child ended with {status}")
    transport.close()
    await world.gone(sock)
    loop.remove_reader(ours)
    ours.close()
    theirs.close()
    world.counts["cancelled"] += 1
    world.counts["finished"] += 1


async def subprocesses(world: World) -> None:
    chance = world.random
    made = asyncio.Event()
    tag = new_tag()
    data = frame(tag, 0, chance.choice([10, 1000, 200_000]))

    async def run() -> Any:
        process = await asyncio.create_subprocess_exec(
            *chance.choice([("cat",), ("true",), ("sh", "-c", "exec cat >&2"), ("no such file",)]),
            stdin=-1,
            stdout=-1,
            stderr=-1,
        )
        try:
            made.set()
            outputs = await process.communicate(data)
            return b"".join(outputs)
        finally:
            process._transport.close()  # kills it
            await process.wait()

    output = await world.cancelled(run(), made)
    if output not in (None, b"", data):
        world.fault(f"a process of another: {output[:20]!r}")
