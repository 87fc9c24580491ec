"""How a scenario of the low-level verbs is played, and the checks after an interruption."""

from __future__ import annotations

import contextlib
import gc
import os
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import has_libuv
from interrupting import Injector, Scenario, bounded, is_about, traced
from plain_sockets import new_pair

import uvbind
from uvbind import Handle, Loop, RunMode
from uvbind._uvbind import lib

TURNS = 300  # of a millisecond each, until a callback counts as lost


class Called:
    """A callback that counts its calls."""

    def __init__(self, function: Callable[..., object] | None) -> None:
        self.function = function
        self.count = 0
        self.expected = False  # it has to be called, or has been called
        self.at_most = 1
        self.handle: Any = None  # whose activity promises a call,
        self.closing = False  # or whose closing does
        self.request = False  # or a request in flight

    def __call__(self, *arguments: Any) -> None:
        self.count += 1
        if self.function is not None:
            self.function(*arguments)


class World:
    """The world of a scenario: a loop, callbacks that count, and a list of things to close."""

    def __init__(self, injector: Injector, loop: Loop) -> None:
        self.injector = injector
        self.loop = loop
        self.callbacks: list[Called] = []
        self.stack = contextlib.ExitStack()  # sockets and files
        self.later: list[Callable[[], object]] = []  # events for callbacks that are to come
        self.raised_to_us = False
        self.paths = 0

    # -- for the scenarios

    def callback(self, function: Callable[..., object] | None = None, **about: Any) -> Called:
        called = Called(function)
        vars(called).update(about)
        self.callbacks.append(called)
        return called

    def expect(self, *callbacks: Called) -> None:
        """The verbs have returned: their callbacks have to come."""
        for callback in callbacks:
            callback.expected = True

    def until(self, *callbacks: Called) -> None:
        """Run the loop until the callbacks have been called."""
        deadline = time.monotonic() + 30
        while not all(callback.count for callback in callbacks):
            assert time.monotonic() < deadline, "a callback did not come"
            self.loop.run(RunMode.NOWAIT)
            if not all(callback.count for callback in callbacks):
                time.sleep(0.001)

    def readable(self) -> int:
        """A descriptor that is readable and stays so."""
        ours, theirs = self.stack.enter_context(new_pair())
        theirs.send(b"data")
        return int(ours.fileno())

    def needs(self, major: int, minor: int) -> contextlib.AbstractContextManager[object]:
        """For a verb which an older libuv refuses, and which is called there too."""
        if has_libuv(major, minor):
            return contextlib.nullcontext()
        return pytest.raises(NotImplementedError, match=rf"needs libuv {major}\.{minor}")

    def path(self) -> str:
        """The name of a socket; the working folder is a temporary one."""
        self.paths += 1
        return f"socket{id(self)}-{self.paths}"

    # -- for play()

    def begin(self) -> None:
        self.requests = lib.uvb_loop_active_requests(self.loop._c)
        self.injector.before_raise = self.note

    def note(self) -> None:
        """The injector raises now: note what libuv has already got."""
        if self.loop._c is None:
            return
        requests = lib.uvb_loop_active_requests(self.loop._c)
        for called in self.callbacks:
            handle = called.handle
            if called.request:
                called.expected |= requests > self.requests
            elif handle is not None and handle._c is not None:
                uv = handle._uv_handle
                closing = bool(lib.uv_is_closing(uv))
                called.expected |= closing if called.closing else bool(lib.uv_is_active(uv))

    def run(self) -> None:
        """Take a turn; the injected exception may come out of it, no other."""
        self.take(lambda: self.loop.run(RunMode.NOWAIT))

    def take(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as exception:
            if not is_about(exception, self.injector.raised):
                raise
            self.raised_to_us = True

    def finish(self) -> None:
        for function in self.later:
            function()
        for turn in range(TURNS):
            self.run()
            if turn >= 3 and not self.missing():
                break
            time.sleep(0.001 if turn > 3 else 0)
        for called in self.callbacks:  # of handles that were closed meanwhile
            if called.handle is not None and called.handle._uv is None and not called.closing:
                called.expected = called.count > 0

    def close_all(self) -> None:
        for handle in list(self.loop._handles.values()):
            handle.close()
        for _ in range(3):
            self.run()

    def missing(self) -> list[Called]:
        return [called for called in self.callbacks if called.expected and not called.count]

    def check(self) -> None:
        assert not self.missing(), "a callback was lost"
        for called in self.callbacks:
            assert called.count <= called.at_most, "a callback was called too often"


def descriptors() -> set[tuple[str, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
    return found


def check_nothing_left(objects: list[weakref.ref[Any]], before: set[tuple[str, str]]) -> None:
    """Collect, and look for objects that are alive and descriptors that were not open before."""
    for _ in range(3):  # closing what the first finds frees more
        gc.collect()
    alive = [ref() for ref in objects if ref() is not None]
    assert not alive, f"{alive} is left"
    left = descriptors() - before
    assert not left, f"{left} is open"


def play(scenario: Scenario, injector: Injector) -> None:
    """Play a scenario; then use, close and collect all that there is."""
    before = descriptors()
    objects: list[weakref.ref[Any]] = []
    with bounded():
        _play(scenario, injector, objects)
        # A traceback keeps its frames, and they the handles.
        while injector.raised is not None and injector.raised.__traceback__ is not None:
            injector.raised.__traceback__ = None
    injector.before_raise = lambda: None
    check_nothing_left(objects, before)


def _play(scenario: Scenario, injector: Injector, objects: list[Any]) -> None:
    loop = Loop()
    objects.append(weakref.ref(loop))
    world = World(injector, loop)
    with world.stack:
        try:
            steps = scenario.function(world)
            next(steps)
            world.begin()
            with traced(injector) as out:
                for _ in steps:
                    raise AssertionError("a scenario has one yield")
            world.raised_to_us |= out.reached
            steps.close()
            handles: list[Handle] = list(loop._handles.values())
            objects += map(weakref.ref, handles)
            world.finish()
            for handle in handles:
                repr(handle), handle.is_active(), handle.is_closing()
            world.close_all()
            if injector.raised is not None:  # the loop goes on to work
                second = World(injector, loop)
                with second.stack:
                    for _ in scenario.function(second):
                        pass
                    second.finish()
            world.take(lambda: loop.__exit__(None, None, None))
            world.check()
            assert loop._c is None, "the loop was not closed"
            assert not loop._handles and not loop._requests, "the loop keeps something"
            for handle in handles:
                assert handle._c is None and handle.is_closing(), f"{handle} was not closed"
            if injector.raised is not None:
                assert world.raised_to_us, "the exception went nowhere"
        finally:
            if loop._c is not None:
                with contextlib.suppress(BaseException):
                    loop.__exit__(None, None, None)


assert uvbind
