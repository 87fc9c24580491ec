"""Names: looking up hosts by name, and names by address.

Facts from libuv's manual, page "DNS utility functions". Lookups that need a name server run in
libuv's threads (_dns_threads), numeric hosts need none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, overload

from uvbind import _check
from uvbind._address import Address, pack
from uvbind._callbacks import FAST
from uvbind._dns_arguments import AI_FLAGS, NI_FLAGS, flag_word, host_bytes, service_bytes
from uvbind._dns_threads import start_threads
from uvbind._errors import UVError, check, uv_error
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib

AddressInfo = tuple[int, int, int, str, Address]
"""What socket.getaddrinfo has, too: (family, type, proto, canonname, address)."""

_FAMILIES: dict[int, int] = {int(family): family for family in socket.AddressFamily}
_TYPES: dict[int, int] = {int(kind): kind for kind in socket.SocketKind}


class _Lookup(Request):
    """A lookup with a callback, `_finish`; `_what` is what is looked up."""

    def _describe(self) -> str:
        return _describe(self._what)


class _InThread(_Lookup):
    """A lookup by one of libuv's threads."""

    def _cancel(self) -> None:
        check(lib.uvb_lookup_cancel(self._uv), f"cancel: {self._describe()}")

    def _result(self) -> Any:
        raise NotImplementedError

    def _complete(self, status: int) -> None:
        result = None
        try:
            if status == 0:
                result = self._result()
        finally:
            self._release()
        self._finish(self, result, None if status == 0 else uv_error(status, self._describe()))

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


class _ByName(_InThread):
    def _result(self) -> list[AddressInfo]:
        if FAST:
            results: list[AddressInfo] = _found(self._address)
            return results
        return _unpack(self._uv.addrinfo)


class _ByAddress(_InThread):
    def _result(self) -> tuple[str, str]:
        return _names(self._uv)


class _Known(_Lookup):
    """A lookup that needed no name server: its callback comes in the loop's next turn."""

    def __init__(self, loop: Loop, what: Any, callback: Any, result: Any) -> None:
        self._loop = loop
        self._what = what
        self._finish = callback
        self._result = result  # or libuv's error
        loop._requests.add(self)
        loop._call_later(self._call_back)

    def _cancel(self) -> None:
        self._result = lib.UV_EAI_CANCELED

    _give_up = _cancel

    def _call_back(self) -> None:
        self._done = True
        self._loop._requests.discard(self)
        result = self._result
        if result.__class__ is int:
            self._finish(self, None, uv_error(result, self._describe()))
        else:
            self._finish(self, result, None)


def _describe(what: object) -> str:
    function = "getnameinfo" if isinstance(what, tuple) else "getaddrinfo"
    return f"{function}: {what!r:.300}"


@overload
def getaddrinfo(
    loop: Loop,
    host: str | bytes | None,
    service: str | bytes | int | None = None,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    callback: None = None,
) -> list[AddressInfo]: ...
@overload
def getaddrinfo(
    loop: Loop,
    host: str | bytes | None,
    service: str | bytes | int | None = None,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    callback: Callable[[Request, list[AddressInfo] | None, UVError | None], object],
) -> Request: ...
def getaddrinfo(
    loop: Loop,
    host: str | bytes | None,
    service: str | bytes | int | None = None,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
    callback: Callable[[Request, list[AddressInfo] | None, UVError | None], object] | None = None,
) -> Any:
    """Look up the addresses of a host and a service.

    `host`: a name or a numeric address, None for this host. `service`: a name, a port, or
    None. `family`, `type`, `proto`, `flags`: socket.AF_*, SOCK_*, IPPROTO_* and AI_*, 0 for
    any. Non-ASCII names are encoded as the socket module does it (IDNA).

    Without `callback` it blocks and returns a list of (family, type, proto, canonname, address)
    as socket.getaddrinfo does. With one it returns a Request that cancel() can give up, and
    `callback(request, results, error)` gets that list, or None and what went wrong; numeric
    hosts wait for no thread. Raises TypeError, ValueError, and UVError that is a
    socket.gaierror: when it blocks for everything that goes wrong, else for what is seen at
    once. Wraps uv_getaddrinfo and uv_freeaddrinfo.
    """
    if not isinstance(loop, Loop):
        _check.instance("loop", loop, Loop)
    if callback is not None:
        _check.function("callback", callback)
    loop._use()
    results = _numeric(loop._address, host, service, family, type, proto, flags)
    if results is None or results == 1:
        name, port = host_bytes(host), service_bytes(service)
        if name is None and port is None:
            raise uv_error(lib.UV_EAI_NONAME, "host and service: one of them is needed")
        arguments = (
            ffi.NULL if name is None else name,
            ffi.NULL if port is None else port,
            _check.integer("family", family, 0, 2**31 - 1),
            _check.integer("type", type, 0, 2**31 - 1),
            _check.integer("proto", proto, 0, 2**31 - 1),
            flag_word(flags, AI_FLAGS, "AI"),
        )
        loop._use()  # converting them can run any code
        if results is None:
            results = _look_up(lib.uvb_getaddrinfo_numeric, loop._c, *arguments)
        if results == 1 and callback is not None:
            start_threads()  # first: it may raise, and a request is C memory
            lookup = _ByName(loop, "uv_getaddrinfo_t *", host, callback)
            return lookup._submit(lib.uvb_getaddrinfo, loop._c, *arguments)
        if results == 1:
            results = _look_up(lib.uvb_getaddrinfo_now, loop._c, *arguments)
    if callback is not None:
        return _Known(loop, host, callback, results)
    if results.__class__ is int:
        raise uv_error(results, _describe(host))
    return results


@overload
def getnameinfo(
    loop: Loop, address: Address, flags: int = 0, *, callback: None = None
) -> tuple[str, str]: ...
@overload
def getnameinfo(
    loop: Loop,
    address: Address,
    flags: int = 0,
    *,
    callback: Callable[[Request, tuple[str, str] | None, UVError | None], object],
) -> Request: ...
def getnameinfo(
    loop: Loop,
    address: Address,
    flags: int = 0,
    *,
    callback: Callable[[Request, tuple[str, str] | None, UVError | None], object] | None = None,
) -> Any:
    """Look up the names of a host and a service by their address.

    `address`: (host, port) or (host, port, flowinfo, scope_id). `flags`: socket.NI_*, 0 for
    none: without NI_NAMEREQD, what has no name comes back in numbers.

    Without `callback` it blocks and returns (host, service). With one it returns a Request that
    cancel() can give up, and `callback(request, names, error)` gets that pair, or None and what
    went wrong; with NI_NUMERICHOST it waits for no thread. Raises as getaddrinfo() does. Wraps
    uv_getnameinfo.
    """
    _check.instance("loop", loop, Loop)
    _check.optional_function("callback", callback)
    storage, number = pack(address), flag_word(flags, NI_FLAGS, "NI")
    what = tuple(address)
    loop._use()
    if callback is not None and not number & socket.NI_NUMERICHOST:
        start_threads()
        lookup = _ByAddress(loop, "uv_getnameinfo_t *", what, callback)
        return lookup._submit(lib.uvb_getnameinfo, loop._c, storage, number)
    request = ffi.new("uv_getnameinfo_t *")
    error = lib.uvb_getnameinfo_now(request, loop._c, storage, number)
    if callback is not None:
        return _Known(loop, what, callback, error if error < 0 else _names(request))
    check(error, _describe(what))
    return _names(request)


def numeric_addresses(
    loop: Loop, host: Any, service: Any, family: int, type: int, proto: int, flags: int
) -> list[AddressInfo] | None:
    """Return what getaddrinfo() does, if it is known at once and CPython has a fast lane."""
    loop._use()
    results = _numeric(loop._address, host, service, family, type, proto, flags)
    return None if results.__class__ is int else results


def _look_up(function: Callable[..., int], *arguments: Any) -> Any:
    """Return the results of an immediate lookup, or what the function returns instead."""
    found = ffi.new("struct addrinfo **")
    error = function(*arguments, found)
    try:
        return error if error != 0 else _unpack(found[0])
    finally:
        lib.uv_freeaddrinfo(found[0])


def _unpack(found: Any) -> list[AddressInfo]:
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


def _not_now(*arguments: object) -> None:
    """The fast lane of numeric hosts where there is none."""


_numeric: Callable[..., Any] = _not_now
if FAST:
    _numeric, _found = FAST["resolver"](_FAMILIES, _TYPES, AI_FLAGS)


def _names(request: Any) -> tuple[str, str]:
    return os.fsdecode(ffi.string(request.host)), os.fsdecode(ffi.string(request.service))
