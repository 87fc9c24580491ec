"""Runs under system_calls.c: each system call of a scenario fails once, beside other connections.

    LD_PRELOAD=system_calls.so python failing_calls.py lowlevel

prints a JSON object: how many calls have failed, and every fault that came of it. A fault is a
scenario that neither ends nor tells of an error, an exception that is no OSError, a byte that is
wrong, a descriptor or a handle that is left, or a bystander that no longer gets an answer.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol

import uvbind

LIMIT = 200  # no scenario makes so many calls of one function
# PyPy calls the finalizer of an object in one collection, and frees what it kept in a later one.
COLLECTIONS = 1 if sys.implementation.name == "cpython" else 5

# The functions that libuv and uvbind call, and the errors that the kernel may answer.
OPENING = ("EMFILE", "ENFILE", "ENOMEM")
RECEIVING = ("EINTR", "ENOMEM", "ENOBUFS", "ECONNRESET", "EPERM")
SENDING = ("EINTR", "ENOMEM", "ENOBUFS", "EPIPE", "ECONNRESET", "EPERM")
CALLS: dict[str, tuple[str, ...]] = {
    "socket": (*OPENING, "ENOBUFS", "EPERM"),
    "socketpair": OPENING,
    "accept4": (*OPENING, "ENOBUFS", "EINTR", "ECONNABORTED", "EPERM"),
    "bind": ("ENOMEM", "EPERM"),
    "connect": ("EINTR", "ENOBUFS", "EPERM", "ECONNRESET"),
    "listen": ("ENOBUFS",),
    "shutdown": ("ENOBUFS", "ECONNRESET"),
    "getsockname": ("ENOBUFS",),
    "getpeername": ("ENOBUFS",),
    "getsockopt": ("ENOBUFS", "EPERM"),
    "setsockopt": ("ENOMEM", "ENOBUFS", "EPERM"),
    "read": RECEIVING,
    "readv": RECEIVING,
    "recv": RECEIVING,
    "recvfrom": RECEIVING,
    "recvmsg": RECEIVING,
    "recvmmsg": RECEIVING,
    "write": SENDING,
    "writev": SENDING,
    "send": SENDING,
    "sendto": SENDING,
    "sendmsg": SENDING,
    "sendmmsg": SENDING,
    "dup": OPENING,
    "dup3": OPENING,
    "pipe2": OPENING,
    "eventfd": OPENING,
    "epoll_create1": OPENING,
    "epoll_ctl": ("ENOMEM", "ENOSPC", "EPERM"),
    "epoll_wait": ("EINTR",),
    "epoll_pwait": ("EINTR",),
    "fcntl": OPENING,
    "fcntl64": OPENING,
    "ioctl": ("ENOMEM",),
}
# These scenarios use the eventfd of the loop. The kernel refuses its reads and writes with EINTR
# and EAGAIN only, and libuv calls abort() on anything else.
USES_EVENTFD = ("async", "threads")


class World(Protocol):
    """Bystanders on a loop, and scenarios; `told` has the errors that a scenario heard of."""

    told: list[BaseException]
    scenarios: dict[str, Callable[[], bool]]

    def check(self) -> Iterator[str]:
        """Tell what is wrong with the bystanders, and of what is left of a scenario."""

    def close(self) -> None: ...


class Failing:
    """The library before the C library."""

    def __init__(self) -> None:
        self._library = getattr(ctypes, "PyDLL", ctypes.CDLL)(None)  # PyPy has no PyDLL
        self._library.fail_call.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]

    def run(self, name: str, nth: int, number: int, function: Callable[[], bool]) -> bool:
        """Return what the function returns; `failed` tells whether the nth call came."""
        self._name = name.encode()  # the library keeps the pointer
        self._library.fail_call(self._name, nth, number)
        try:
            return function()
        finally:
            self.failed = bool(self._library.fail_no_call())


def descriptors() -> set[str]:
    with os.scandir("/proc/self/fd") as found:
        return {entry.name for entry in found}


class Failures:
    """Goes through scenarios, functions and errors, and counts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failing = Failing()
        self.failed = 0
        self.faults: list[str] = []

    def go_through(self, scenario: str) -> None:
        function = self.world.scenarios[scenario]
        self._try(scenario, function, "none", 1, 0)  # what is made once is there from now on
        self._try(scenario, function, "none", 1, 0)
        for name, errors in CALLS.items():
            for error in errors:
                if name in ("read", "write") and scenario in USES_EVENTFD and error != "EINTR":
                    continue
                for nth in range(1, LIMIT):
                    if not self._try(scenario, function, name, nth, getattr(errno, error)):
                        break
                    self.failed += 1
                else:
                    raise AssertionError(f"{scenario} makes more than {LIMIT} calls of {name}")

    def _try(
        self, scenario: str, function: Callable[[], bool], name: str, nth: int, number: int
    ) -> bool:
        """Let one call fail and tell whether it was made at all."""
        where = f"{scenario}: {name} number {nth} fails with {errno.errorcode.get(number)}"
        print(where, file=sys.stderr, flush=True)  # the last line tells where a crash was
        self.world.told.clear()
        before = descriptors()
        ended = False
        try:
            ended = self.failing.run(name, nth, number, function)
        except (OSError, MemoryError) as exception:
            self.world.told.append(exception)
        except Exception as exception:
            self._fault(where, f"raised {exception!r}")
        for told in map(repr, self._unexpected()):
            self._fault(where, f"told of {told}")
        if not (ended or self.world.told):
            self._fault(where, "it did not end, and no error told of that")
        self.world.told.clear()  # an exception keeps frames, which keep sockets
        for fault in self.world.check():
            self._fault(where, fault)
        self.world.told.clear()
        for _ in range(COLLECTIONS):
            if descriptors() == before:
                break
            gc.collect()  # an exception of a task is in a cycle with it, and may keep a socket
            for fault in self.world.check():  # whose peer hears of its end
                self._fault(where, fault)
        if descriptors() != before:
            self._fault(where, f"descriptors: {descriptors() ^ before}")
        return self.failing.failed

    def _unexpected(self) -> list[BaseException]:
        return [told for told in self.world.told if not isinstance(told, (OSError, MemoryError))]

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{where}: {what}")


def main() -> None:
    kind, *chosen = sys.argv[1:]
    if kind == "lowlevel":
        from lowlevel_world import LowLevelWorld as Kind
    else:
        from asyncio_world import AsyncioWorld as Kind
    warnings.simplefilter("error")
    if uvbind.features()["libuv_origin"] == "system":
        del CALLS[
            "epoll_ctl"
        ]  # libuv calls abort(); the extension keeps only its own libuv from it
    world = Kind()
    failures = Failures(world)
    for scenario in chosen or world.scenarios:
        failures.go_through(scenario)
    world.close()
    print(json.dumps({"failed": failures.failed, "faults": failures.faults}))


if __name__ == "__main__":
    main()
