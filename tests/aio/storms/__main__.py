"""Runs storms: `python storms STORM,... LOOP SEED ROUNDS`, and prints as JSON what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import json
import logging
import os
import signal
import sys
import threading
import warnings
from asyncio import sslproto, subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import connections
import descriptors
import processes
from bystanders import Bystanders
from world import World

import uvbind

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvbind": uvbind.new_event_loop}
AT_A_TIME = 4
MODULES = [connections, descriptors, processes]
LEAVES_OPEN = [processes.loops]  # and is warned of it
SLOW = [processes.forks, processes.subprocesses]
Storm = Callable[[World], Awaitable[None]]


def open_descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def storms_of(names: str) -> list[Storm]:
    """One or several, those that start processes less often than others."""
    found = []
    for name in names.split(","):
        (storm,) = (vars(module)[name] for module in MODULES if name in vars(module))
        found += [storm] if storm in SLOW else [storm] * 20
    return found


async def rounds_of(world: World, storms: list[Storm], rounds: int) -> None:
    async def some(count: int) -> None:
        for _ in range(count):
            await world.random.choice(storms)(world)

    async with world, Bystanders(world):
        await asyncio.gather(*(some(rounds // AT_A_TIME) for _ in range(AT_A_TIME)))
    await world.loop.shutdown_default_executor()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        world.fault(f"left over: {task!r}")


def run(storms: list[Storm], kind: str, seed: int, rounds: int) -> World:
    loop = LOOPS[kind]()
    asyncio.set_event_loop(loop)
    world = World(loop, seed)
    loop.run_until_complete(rounds_of(world, storms, rounds))
    loop.close()
    asyncio.set_event_loop(None)
    return world


def mend_asyncio() -> None:
    """In Python 3.11.2 abort() of a TLS transport raises AttributeError after the end. And asyncio
    reports it when a child ends without reading all its input, unless somebody waits for that."""
    kind: Any = sslproto._SSLProtocolTransport  # type: ignore[attr-defined]
    abort = kind.abort

    def abort_if_open(transport: Any) -> None:
        if transport._ssl_protocol is not None:
            abort(transport)

    kind.abort = abort_if_open

    child: Any = subprocess.SubprocessStreamProtocol
    lost = child.pipe_connection_lost

    def lost_in_silence(protocol: Any, fd: int, exc: BaseException | None) -> None:
        lost(protocol, fd, exc)
        if fd == 0 and exc is not None:
            protocol._stdin_closed._log_traceback = False

    child.pipe_connection_lost = lost_in_silence


def main() -> None:
    if sys.version_info < (3, 11, 7):
        mend_asyncio()
    names, kind = sys.argv[1:3]
    seed, rounds = map(int, sys.argv[3:])
    storms = storms_of(names)
    # Processes that this one starts are to have those libraries only that came before ours.
    os.environ["LD_PRELOAD"] = os.environ["LD_PRELOAD"].rpartition(" ")[0]
    faulthandler.dump_traceback_later(300 + rounds, exit=True)
    if hasattr(faulthandler, "register"):
        file = os.open(os.environ["DESCRIPTOR_FAULTS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        faulthandler.register(signal.SIGURG, file, all_threads=False)
    sys.setswitchinterval(0.0005)
    logging.disable(logging.WARNING)  # such as of writes to a connection that is lost
    stray: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *about, **more: stray.append(f"warning: {message}")
    sys.unraisablehook = lambda about: stray.append(f"unraisable: {about.exc_value!r}")
    threading.excepthook = lambda about: stray.append(f"in a thread: {about.exc_value!r}")
    run(storms, kind, seed, 0)  # what stays open, like libuv's pipe for signals
    before = open_descriptors()
    world = run(storms, kind, seed, rounds)
    for _ in range(3):
        gc.collect()
    after = open_descriptors()
    left = [f"left open: {fd} {what}" for fd, what in after.items() if before.get(fd) != what]
    if any(storm in LEAVES_OPEN for storm in storms):
        stray = [what for what in stray if not what.startswith("warning: unclosed")]
    report = {"faults": (world.faults + stray + left)[:20], "counts": world.counts}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    finally:
        if hasattr(faulthandler, "register"):
            faulthandler.unregister(signal.SIGURG)  # which a Python that ends does not survive
