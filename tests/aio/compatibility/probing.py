"""A probe: one small thing that a program asks of its event loop, tried in a process of its own.

    @probe("loop.call_soon", "calls in their order")
    async def calls_in_order(loop):
        ...
        return what happened

A probe is right on a loop when it returns there what it returns on asyncio's own, and no more
exceptions go to the loop's exception handler. What must hold on any loop, it asserts. A coroutine
function runs in a loop; a plain function gets what makes loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import peers
from peers import kind

PATIENCE = peers.patience  # seconds that a probe may take
SECTIONS = {
    "calls": "Calls and timers",
    "loops": "The loop itself",
    "tasks": "Tasks and errors",
    "executors": "Executors, and what ends with the loop",
    "connections": "Connections",
    "servers": "Servers",
    "server_objects": "What a server does",
    "transports": "Transports and protocols",
    "writing": "Writing",
    "tls": "TLS",
    "start_tls": "TLS that begins later",
    "datagrams": "Datagrams",
    "sockets": "Sockets",
    "descriptors": "Descriptors that are watched",
    "pipes": "Pipes",
    "processes": "Child processes",
    "process_transports": "Child processes' transports",
    "signals": "Signals",
    "threads": "Threads and forks",
    "programs": "Whole programs, and what they leave",
}


class Probe(NamedTuple):
    section: str
    subject: str  # the method or the kind of object
    detail: str
    function: Callable[..., Any]
    since: tuple[int, int]
    until: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.detail}"


PROBES: dict[str, Probe] = {}


def probe(
    subject: str, detail: str, since: tuple[int, int] = (3, 11), until: tuple[int, int] = (4, 0)
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a probe, on the Pythons from `since` to before `until`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        section = function.__module__.rpartition(".")[2]
        made = Probe(section, subject, detail, function, since, until)
        assert made.name not in PROBES, made.name
        PROBES[made.name] = made
        return function

    return register


def load() -> None:
    for section in SECTIONS:
        importlib.import_module(f"probes.{section}")


def applies(made: Probe) -> bool:
    return made.since <= sys.version_info[:2] < made.until


# -- loops


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes loops of that name; ImportError where it is not installed."""
    if loop == "asyncio":
        return asyncio.SelectorEventLoop
    made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(loop).new_event_loop
    return made


# -- running


def run(made: Probe, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> dict[str, Any]:
    """Run a probe here; returns what it returned or raised, and what went unhandled."""
    warnings.simplefilter("ignore")
    unhandled: list[str | None] = []

    def new() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_exception_handler(note)
        return loop

    def note(loop: Any, context: dict[str, Any]) -> None:
        if "exception" in context:
            unhandled.append(kind(context["exception"]))

    threading.excepthook = lambda arguments: unhandled.append(kind(arguments.exc_value))
    try:
        if inspect.iscoroutinefunction(made.function):
            loop = new()
            asyncio.set_event_loop(loop)
            try:
                value = loop.run_until_complete(made.function(loop))
            finally:
                loop.close()
        else:
            value = made.function(new)
    except BaseException as error:
        traceback.print_exc()
        return {"raised": kind(error), "text": str(error), "unhandled": unhandled}
    return {"returned": repr(value), "unhandled": sorted(unhandled)}


def run_apart(
    made: Probe, new_loop: Callable[[], asyncio.AbstractEventLoop], patience: float, verbose: bool
) -> dict[str, Any]:
    """Run a probe in a child; returns as run() does, or how the child ended otherwise."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads of libuv's pool
        pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1) if verbose else (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
        os.close(ours)
        peers.patience = patience
        with os.fdopen(theirs, "w", encoding="utf-8") as report:
            json.dump(run(made, new_loop), report)
        os._exit(0)
    os.close(theirs)
    report, hangs = b"", False
    deadline = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        while not hangs:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                hangs = True
            elif data := os.read(ours, 1 << 16):
                report += data
            else:
                break
    os.close(ours)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and all it has started
    status = os.waitpid(pid, 0)[1]
    if hangs:
        return {"ended": "hangs"}
    try:
        outcome: dict[str, Any] = json.loads(report)
        return outcome
    except ValueError:
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
        return {"ended": f"crashes: {how}"}


def run_all(
    loop: str, wanted: Callable[[Probe], bool], patience: float, verbose: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run all that are wanted and have to do with this Python, one after the other."""
    new_loop = factory(loop)
    for made in PROBES.values():
        if applies(made) and wanted(made):
            yield made.name, run_apart(made, new_loop, patience, verbose)
