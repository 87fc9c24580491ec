"""Lookups under way: in one of libuv's threads, or known already.

Facts from libuv's manual, page "DNS utility functions".
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from uvbind._address import Address
from uvbind._callbacks import FAST
from uvbind._core import half
from uvbind._dns_arguments import AI_FLAGS
from uvbind._dns_threads import start_threads
from uvbind._errors import check, uv_error
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib

AddressInfo = tuple[int, int, int, str, Address]
"""What socket.getaddrinfo has, too: (family, type, proto, canonname, address)."""

_FAMILIES: dict[int, int] = {int(family): family for family in socket.AddressFamily}
_TYPES: dict[int, int] = {int(kind): kind for kind in socket.SocketKind}


def _not_now(*arguments: object) -> None:
    """What numeric hosts have where CPython's fast lane is not."""


numeric: Callable[..., Any] = _not_now
"""What uvb_getaddrinfo_numeric finds, or returns; None has to be looked at in Python."""
if FAST:
    numeric, _begin, _found = FAST["resolver"](_FAMILIES, _TYPES, AI_FLAGS)


class Lookup(Request):
    """A lookup with a callback, `_finish`; `_what` is what is looked up."""

    def _describe(self) -> str:
        return describe(self._what)


class InThread(Lookup):
    """A lookup by one of libuv's threads."""

    _found: Any = None

    def _cancel(self) -> None:
        check(lib.uvb_lookup_cancel(self._uv), f"cancel: {self._describe()}")

    def _result(self) -> Any:
        raise NotImplementedError

    def _complete(self, status: int) -> None:
        if status == 0 and not self._done:
            self._found = self._result()
        self._release()
        error = None if status == 0 else uv_error(status, self._describe())
        self._call_back(self, self._found, error)

    def _give_up(self) -> None:
        lib.uvb_lookup_cancel(self._uv)

    def _runs(self) -> bool:
        return bool(lib.uvb_lookup_runs(self._uv))

    def _after_fork(self) -> None:
        # libuv delivers those that are cancelled or done; the others nobody works on any more.
        if lib.uvb_lookup_abandon(self._uv):
            self._loop._call_later(self._end)

    def _end(self) -> None:
        if not self._done:  # Loop.fork() was interrupted, and called once more
            self._complete(lib.UV_EAI_CANCELED)


class ByName(InThread):
    def _result(self) -> list[AddressInfo]:
        return unpack(self._uv.addrinfo)


class ByPlainName(ByName):
    """One that `numeric` has understood, on CPython's fast lane."""

    def __init__(self, loop: Loop, what: Any, finish: Callable[..., object]) -> None:
        self._loop = loop
        self._what = what
        self._finish = deque([finish])
        self._core = loop._core.request(self, None)

    def begin(self, *arguments: Any) -> None:
        """Look up; the arguments are those of `numeric` from the host on."""
        self._loop._requests.add(self)  # first: Ctrl-C may come between any two steps
        error = _begin(self._core, *arguments)
        if error < 0:
            self._take()
            raise uv_error(error, self._describe())

    @property
    def _uv(self) -> Any:
        return half(self._core, "uv_getaddrinfo_t *")

    def _take(self) -> None:
        if not self._done:
            self._found = _found(self._core)
        self._done = True
        self._loop._requests.discard(self)
        self._core.release()

    def _complete(self, status: int) -> None:
        self._take()
        error = None if status == 0 else uv_error(status, self._describe())
        self._call_back(self, self._found, error)


def by_plain_name(loop: Loop, *arguments: Any, callback: Callable[..., object]) -> Request:
    """Have a thread look up what `numeric` returned 1 for; its arguments from the host on."""
    start_threads()  # first: it may raise, and a request is C memory
    lookup = ByPlainName(loop, arguments[0], callback)
    lookup.begin(*arguments)
    return lookup


class ByAddress(InThread):
    def _result(self) -> tuple[str, str]:
        return names(self._uv)


class Known(Lookup):
    """A lookup that needed no name server: its callback comes in the loop's next turn."""

    def __init__(self, loop: Loop, what: Any, callback: Any, result: Any) -> None:
        self._loop = loop
        self._what = what
        self._finish = deque([callback])
        self._result = result  # or libuv's error
        loop._requests.add(self)
        loop._call_later(self._end)

    def _cancel(self) -> None:
        self._result = lib.UV_EAI_CANCELED

    _give_up = _cancel

    def _end(self) -> None:
        self._done = True
        self._loop._requests.discard(self)
        result = self._result
        if result.__class__ is int:
            self._call_back(self, None, uv_error(result, self._describe()))
        else:
            self._call_back(self, result, None)


def describe(what: object) -> str:
    function = "getnameinfo" if isinstance(what, tuple) else "getaddrinfo"
    return f"{function}: {what!r:.300}"


def unpack(found: Any) -> list[AddressInfo]:
    room = lib.uvb_found_unpack(found, ffi.NULL, 0)
    unpacked = ffi.new("uvb_found[]", room)
    lib.uvb_found_unpack(found, unpacked, room)
    name = lib.uvb_found_canonname(found)
    canonname = "" if name == ffi.NULL else os.fsdecode(ffi.string(name))
    results: list[AddressInfo] = []
    for one in unpacked:
        family, type = one.family, one.type
        address: Any = (str(ffi.string(one.host), "ascii"), one.port)
        if family == socket.AF_INET6:
            address += (one.flowinfo, one.scope_id)
        results.append(
            (_FAMILIES.get(family, family), _TYPES.get(type, type), one.proto, canonname, address)
        )
        canonname = ""  # the first has it
    return results


def names(request: Any) -> tuple[str, str]:
    return os.fsdecode(ffi.string(request.host)), os.fsdecode(ffi.string(request.service))
