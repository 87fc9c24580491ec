"""How a scenario of the asyncio layer is played, and the checks after an interruption."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

from interrupted_world import check_nothing_left, descriptors
from interrupting import LIMIT as SECONDS
from interrupting import Hung, Injector, Scenario, bounded, give_up, is_about, traced
from plain_sockets import new_pair

import uvbind

LIMIT = 30_000  # milliseconds until a loop counts as stuck; a scenario takes a few
LOST = 20  # milliseconds to wait for a task that asyncio too would lose
# Functions that have a callback in hand, taken from one place and not put into the next.
IN_HAND = {
    # asyncio's own are Python as well, and lose it when a signal handler raises there.
    "aio/_scheduler.py:call_soon",
    "aio/_scheduler.py:call_at",
    "aio/_scheduler.py:_take_due",
    "aio/_scheduler_fast.py:_call_soon_checked",
    "aio/_scheduler_fast.py:_call_at_checked",
    "aio/_scheduler_fast.py:_call_later_checked",
    "aio/_scheduler_fast.py:_without_us",
    "aio/_scheduler_fast.py:popleft",
    "aio/_turns.py:stop",
    "aio/_turns.py:_debug_turn",
    "aio/_mended.py:_call_connection_lost",
    "aio/_processes.py:_process_exited",
    # That of asyncio's futures is C, and Python only without its accelerator: the task is lost.
    "aio/_waits.py:add_done_callback",
}
ADDS = "aio/_connections.py:_add_reader"  # as asyncio's, when a pipe has the loop call it directly
# asyncio's own pipe transports call the loop's methods half way, and do not go on; when a pipe of a
# child process fails, its protocol does not hear of the end.
HALF_WAY = (
    "_UnixReadPipeTransport.",
    "_UnixWritePipeTransport.",
    "BaseSubprocessTransport._connect_pipes",
)
# In debug mode these have a call or data in hand, as asyncio's reading in Python has them always.
IN_HAND_WHEN_DEBUGGING = {
    "aio/_connections.py:call",
    "aio/_transports.py:_on_read",
    "aio/_waits.py:ready_later",
}
# asyncio too tells nobody of an exception in the first, but in debug mode; the second is called by
# the destructor of a future, where Python drops exceptions.
SILENT = {"aio/_connections.py:_begin", "aio/_eventloop.py:call_exception_handler"}


class Stuck(SystemExit):
    """The loop or a task of its own does not go on."""


class Talker(asyncio.Protocol):
    """Counts what a protocol is called for; `lost` is done when the connection is."""

    def __init__(self, world: World) -> None:
        self.made = self.ended = 0
        self.data = bytearray()
        self.lost = world.loop.create_future()
        self.got = world.loop.create_future()
        self.transport: Any = None
        world.protocols.append(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made += 1

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._have(data)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._have(data)

    def error_received(self, error: OSError) -> None:
        pass

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._have(data)

    def pipe_connection_lost(self, fd: int, error: Exception | None) -> None:
        pass

    def process_exited(self) -> None:
        pass

    def _have(self, data: bytes) -> None:
        if not self.got.done():
            self.got.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended += 1
        for future in (self.lost, self.got):
            if not future.done():
                future.set_result(None)


class Echo(Talker):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Filling(Talker, asyncio.BufferedProtocol):
    """Has a buffer of its own filled."""

    def get_buffer(self, size: int) -> bytearray:
        self.buffer = bytearray(100)
        return self.buffer

    def buffer_updated(self, size: int) -> None:
        self._have(bytes(self.buffer[:size]))


class World:
    """The world of a scenario: a loop, protocols that count, and a list of things to close."""

    def __init__(self, injector: Injector, loop: Any) -> None:
        self.injector = injector
        self.loop = loop
        self.stack = contextlib.ExitStack()  # sockets and files
        self.protocols: list[Talker] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.transports: list[Any] = []
        self.later: list[Callable[[], object]] = []  # events for callbacks that are to come
        self.afterwards: list[Callable[[], Coroutine[Any, Any, None]]] = []  # have to work then
        self.closing: list[Callable[[], object]] = []  # what nobody else closes
        self.paths = 0
        self.raised_to_us = False
        self.may_lose = False
        self.ended = False
        self.elsewhere = False  # the scenario has a loop of its own
        loop.set_exception_handler(self.tell)

    # -- for the scenarios

    def pair(self, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
        return self.stack.enter_context(new_pair(kind))

    def listener(self) -> socket.socket:
        sock = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sock.setblocking(False)
        return sock

    def path(self) -> str:
        """The name of a socket; the working folder is a temporary one."""
        self.paths += 1
        return f"socket{id(self)}-{self.paths}"

    def protocol(self) -> Talker:
        return Talker(self)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the loop, and return what it does."""
        task = self.loop.create_task(coroutine)
        self.tasks.append(task)
        return self.loop.run_until_complete(task)

    def turns(self, count: int = 3) -> None:
        async def wait() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(wait())

    def connected(self, protocol: Any = None) -> tuple[Any, Any, socket.socket]:
        """A transport, its protocol and the socket of its peer."""
        ours, theirs = self.pair()
        made = self.run(self.loop.connect_accepted_socket(protocol or self.protocol, ours))
        return (*made, theirs)

    # -- for play()

    def tell(self, loop: Any, context: dict[str, Any]) -> None:
        if is_about(context.get("exception"), self.injector.raised):
            self.raised_to_us = True
            forget_frames(self.injector.raised)

    def begin(self) -> None:
        self.guard = uvbind.Timer(self.loop.uv)
        self.watch(LIMIT)
        ours, self.peer = self.pair()
        self.run(self.loop.connect_accepted_socket(lambda: Echo(self), ours))
        self.injector.before_raise = self.note

    def note(self) -> None:
        """The injector raises now."""
        functions = self.injector.functions
        takes = functions[0].endswith(":_turn") and "handle" in self.injector.where
        self.may_lose = takes or functions[0] in IN_HAND or self.injector.not_begun
        if ADDS in functions[:-1]:
            # A turn calls it: in Python, or in C, below which is the loop's run().
            caller = functions[functions.index(ADDS) + 1]
            self.may_lose |= caller.endswith((":_turn", "_loop.py:_run"))
        self.may_lose |= any(name.startswith(HALF_WAY) for name in self.injector.callers)
        self.may_lose |= self.loop.get_debug() and functions[0] in IN_HAND_WHEN_DEBUGGING
        self.raised_to_us |= not SILENT.isdisjoint(functions)
        if self.may_lose and self.elsewhere:
            limit = time.monotonic() + SECONDS
            signal.signal(signal.SIGALRM, functools.partial(give_up_waiting, limit))
            signal.setitimer(signal.ITIMER_REAL, LOST / 1000, LOST / 1000)
        if self.may_lose and not self.loop.is_closed() and not self.ended:
            self.watch(LOST)

    def watch(self, limit: int) -> None:
        self.guard.start(self.stuck, limit, limit)

    def stuck(self, timer: uvbind.Timer) -> None:
        raise Stuck

    def take(self, function: Callable[[], object]) -> None:
        """The injected exception may come out of it, and Stuck where asyncio would be as well."""
        try:
            function()
        except BaseException as exception:
            self.raised_to_us |= is_about(exception, self.injector.raised)
            if not is_about(exception, self.injector.raised) and not (
                self.may_lose and isinstance(exception, Stuck)
            ):
                raise

    def settle(self) -> None:
        """Have a stop() happen that a run which was cut off has left in the loop."""
        stopped: list[bool] = []

        def stop() -> None:
            stopped.append(True)
            self.loop.stop()

        self.watch(LIMIT)
        self.loop.call_soon(stop)
        while not stopped:
            self.take(self.loop.run_forever)

    def finish(self) -> None:
        """Have the tasks end that the exception left."""
        forget_frames(self.injector.raised)
        self.settle()
        for function in self.later:
            function()
        for task in self.tasks:
            if not task.done():
                self.watch(LOST if self.may_lose else LIMIT)
                self.take(lambda task=task: self.loop.run_until_complete(task))
                self.settle()
            if self.may_lose and not task.done():
                task.cancel()
                self.raised_to_us = True  # or would have been, when the task had gone on
            if task.done() and not task.cancelled():
                self.raised_to_us |= is_about(task.exception(), self.injector.raised)
        self.watch(LIMIT)

    def use(self) -> None:
        """The loop goes on to work."""
        loop, called = self.loop, asyncio.Event()

        async def use() -> None:
            await asyncio.sleep(0.001)
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,))
            thread.start()
            await called.wait()
            thread.join()
            await loop.sock_sendall(self.peer, b"hello")
            data = await loop.sock_recv(self.peer, 100)
            assert data == b"hello", "the bystander has lost its connection"

        loop.run_until_complete(use())
        for function in self.afterwards:
            self.watch(LOST if self.may_lose else LIMIT)
            self.take(lambda function=function: loop.run_until_complete(function()))
        self.watch(LIMIT)

    def close_all(self) -> None:
        self.transports += [protocol.transport for protocol in self.protocols if protocol.made]
        for transport in self.transports:
            # asyncio cannot close a child's transport when connection_made() of a pipe was lost.
            with contextlib.suppress(AttributeError if self.may_lose else ()):
                getattr(transport, "abort", transport.close)()

    def end(self) -> None:
        loop = self.loop
        for function in self.closing:
            function()
        self.close_all()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        for protocol in self.protocols:
            assert protocol.made < 2 and protocol.ended < 2, "a callback was called twice"
            if not protocol.made or protocol.lost.done():
                continue
            self.watch(LOST if self.may_lose else LIMIT)
            self.take(lambda protocol=protocol: loop.run_until_complete(protocol.lost))
        self.ended = True
        loop.close()
        if self.injector.raised is not None:
            gc.collect()  # a future may tell now
            assert self.raised_to_us, "the exception went nowhere"


def give_up_waiting(limit: float, signum: int, frame: FrameType | None) -> None:
    """Raise Hung where a loop waits: what goes on is slow, and not to be interrupted again."""
    waits = frame is not None and frame.f_code.co_name == "uvb_on_wakeup"
    if waits or time.monotonic() > limit:
        give_up(signum, frame)


def forget_frames(exception: BaseException | None) -> None:
    """A traceback keeps its frames, and they the transports."""
    while exception is not None:
        while exception.__traceback__ is not None:
            exception.__traceback__ = None
        exception = exception.__context__


class Log(logging.Handler):
    """Tells what asyncio logs where a loop has no handler for exceptions, and executors log."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.world.tell(None, {"exception": record.exc_info[1]})

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        loggers = [logging.getLogger(name) for name in ("asyncio", "concurrent.futures")]
        for logger in loggers:
            logger.addHandler(self)
            logger.propagate = False
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
                logger.propagate = True


def play(scenario: Scenario, injector: Injector) -> None:
    """Play a scenario; then use, close and collect all that there is."""
    before, threads = descriptors(), set(threading.enumerate())
    objects: list[weakref.ref[Any]] = []
    with bounded():
        _play(scenario, injector, objects)
        forget_frames(injector.raised)
    injector.before_raise = lambda: None
    for thread in set(threading.enumerate()) - threads:
        thread.join()
    check_nothing_left(objects, before)


def _play(scenario: Scenario, injector: Injector, objects: list[Any]) -> None:
    loop = uvbind.new_event_loop()
    objects += [weakref.ref(loop), weakref.ref(loop.uv)]
    world = World(injector, loop)
    with Log(world).kept(), world.stack:
        try:
            world.begin()
            steps = scenario.function(world)
            next(steps)
            with traced(injector) as out:
                try:
                    for _ in steps:
                        raise AssertionError("a scenario has one yield")
                except (Stuck, Hung):
                    if not world.may_lose:
                        raise
                    world.raised_to_us |= world.elsewhere
                except GeneratorExit:  # of a task of asyncio's that was lost with its callback
                    if not world.may_lose:
                        raise
                    world.raised_to_us = True
                finally:
                    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
                    signal.signal(signal.SIGALRM, give_up)
            world.raised_to_us |= out.reached
            steps.close()
            world.finish()
            world.use()
            world.end()
            objects += map(weakref.ref, world.transports)
        finally:
            world.ended = True
            with contextlib.suppress(BaseException):
                loop.close()
            world.injector.before_raise = lambda: None
