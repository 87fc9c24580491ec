"""What several test files use; fixtures are in the conftest.py files."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

import uvbind
from uvbind import (
    TCP,
    UDP,
    Async,
    Check,
    Idle,
    Loop,
    Pipe,
    Poll,
    PollEvent,
    Prepare,
    Signal,
    Timer,
    UVError,
)

HARMLESS = signal.SIGWINCH  # ignored unless somebody watches it
HARMLESS_TOO = signal.SIGURG
LOCALHOST = ("127.0.0.1", 0)
MEGABYTES = bytes(range(256)) * 4096 * 8  # more than the kernel's buffers take at once


# -- callbacks


def ignore(*about: object) -> None:
    pass


class Oops(Exception):
    pass


def fail(*about: object) -> None:
    raise Oops


def hung(timer: Timer) -> None:
    timer.loop.stop()
    raise AssertionError("the loop hung")


def has_libuv(major: int, minor: int) -> bool:
    compiled = str(uvbind.features()["libuv_compiled"]).split(".")
    return (int(compiled[0]), int(compiled[1])) >= (major, minor)


def needs_libuv(major: int, minor: int) -> pytest.MarkDecorator:
    older = not has_libuv(major, minor)
    return pytest.mark.skipif(older, reason=f"needs libuv {major}.{minor}")


class Handler:
    """Python's own handler for a signal."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, signum: int, frame: object) -> None:
        self.calls.append(signum)


# -- in a loop


def start_guard(loop: Loop) -> Timer:
    """Keep a loop from waiting for ever, by a timer that does not keep it alive."""
    guard = Timer(loop)
    guard.start(hung, 60_000)
    guard.unref()
    return guard


def soon(loop: Loop, function: Callable[[], object], timeout: int = 0) -> Timer:
    """Call a function in the loop, by a timer that closes itself first."""
    timer = Timer(loop)
    timer.start(lambda timer: (timer.close(), function()), timeout)
    return timer


def close_others(loop: Loop) -> None:
    """Close all but the guard."""
    loop.walk(lambda handle: handle.is_closing() or (handle.has_ref() and handle.close()))
    loop.run()


def listening(
    loop: Loop,
    callback: Callable[[TCP, UVError | None], object] = ignore,
    address: tuple[object, ...] = LOCALHOST,
) -> TCP:
    server = TCP(loop)
    server.bind(address)
    server.listen(callback)
    return server


def serving(
    loop: Loop, name: str, callback: Callable[[Pipe, UVError | None], object] = ignore
) -> Pipe:
    """A pipe that listens under a name."""
    server = Pipe(loop)
    server.bind(name)
    server.listen(callback)
    return server


def read_all(stream: TCP, into: list[bytes]) -> None:
    """Collect what arrives until the end of the stream, then close it."""

    def on_read(stream: TCP, data: bytes | None, error: UVError | None) -> None:
        if data is None:
            assert error.name == "EOF"
            stream.close()
        else:
            into.append(data)

    stream.read_start(on_read)


# -- datagrams


class Ends:
    """Two UDP handles: `server` is bound, `client` sends to `address`."""

    def __init__(self, loop: Loop, host: str = "127.0.0.1", recvmmsg: bool = False):
        self.loop = loop
        self.server = UDP(loop, recvmmsg=recvmmsg)
        self.server.bind((host, 0))
        self.address = self.server.getsockname()
        self.client = UDP(loop)
        self.received: list = []

    def receive(self, count: int) -> list:
        """Run until `count` datagrams have arrived, one callback each."""

        def on_datagram(udp, data, address, flags, error):
            self.received.append((data, address, flags, error))
            if len(self.received) >= count:
                udp.recv_stop()
                self.loop.stop()

        self.server.recv_start(on_datagram)
        self.loop.run()
        return self.received

    def receive_batches(self, count: int) -> list:
        """Run until `count` datagrams have arrived, in batches."""

        def on_batch(udp, datagrams, error):
            assert error is None
            self.received.append(datagrams)
            if sum(map(len, self.received)) >= count:
                udp.recv_stop()
                self.loop.stop()

        self.server.recv_batch_start(on_batch)
        self.loop.run()
        return self.received

    def close(self) -> None:
        self.server.close()
        self.client.close()
        self.loop.run()


# -- every way for a loop to call back


def watching_poll(loop: Loop, callback: Callable[..., object]) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        Poll(loop, ours).start(PollEvent.READABLE, callback)


def watching_signal(loop: Loop, callback: Callable[..., object]) -> None:
    Signal(loop).start(callback, HARMLESS)
    kill(HARMLESS)


WAYS: dict[str, Callable[[Loop, Callable[..., object]], object]] = {
    "timer": lambda loop, callback: Timer(loop).start(callback, 0),
    "async": lambda loop, callback: Async(loop, callback).send(),
    "prepare": lambda loop, callback: Prepare(loop).start(callback),
    "check": lambda loop, callback: (Check(loop).start(callback), soon(loop, ignore)),
    "idle": lambda loop, callback: Idle(loop).start(callback),
    "close": lambda loop, callback: Timer(loop).close(callback),
    "poll": watching_poll,
    "signal": watching_signal,
}

# -- verbs that every loop has

LOOP_VERBS: dict[str, Callable[[Loop], object]] = {
    "run": Loop.run,
    "stop": Loop.stop,
    "alive": Loop.alive,
    "now": Loop.now,
    "update_time": Loop.update_time,
    "walk": lambda loop: loop.walk(ignore),
    "backend_fd": Loop.backend_fd,
    "backend_timeout": Loop.backend_timeout,
    "configure": Loop.configure,
    "metrics": Loop.metrics,
    "metrics_idle_time": Loop.metrics_idle_time,
    "metrics_info": Loop.metrics_info,
    "print_all_handles": Loop.print_all_handles,
    "print_active_handles": Loop.print_active_handles,
    "Timer": Timer,
}

# -- asyncio

# For tests that ask for `new_loop` or `run`, of behaviour in which some asyncio is behind.
uvbind_alone = pytest.mark.parametrize("new_loop", ["uvbind"], indirect=True)

# -- processes

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


def kill(signum: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), signum)


def run_python(script: str, *options: str) -> str:
    """Run a script in a process of its own and return what it printed, errors included."""
    command = [sys.executable, *options, "-c", script]
    done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, text=True, timeout=180)
    assert done.returncode == 0, done.stdout
    return done.stdout


def in_child(function: Callable[[], object]) -> str:
    """Call a function in a forked child; return what it returned or raised, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that earlier tests left
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(30)
            try:
                answer = repr(function())
            except BaseException as exception:
                answer = f"{type(exception).__name__}: {exception}"
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, text
    return text


class Filling(asyncio.BufferedProtocol):
    """Has buffers of its own filled; what was read goes to data_received(), of another class."""

    def get_buffer(self, sizehint):
        self.buffer = bytearray(1000)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(bytes(self.buffer[:nbytes]))


class KeepsCalls(asyncio.BaseProtocol):
    """Keeps the calls that a transport makes, but for those of data."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.resumed = asyncio.Event()
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")
        self.resumed.set()

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)
