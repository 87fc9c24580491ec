"""Names: looking up hosts by name, and names by address.

Facts from libuv's manual, page "DNS utility functions". Lookups that need a name server run in
libuv's threads (_dns_threads), numeric hosts need none.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, overload

from uvbind import _check
from uvbind._address import Address, pack
from uvbind._dns_arguments import AI_FLAGS, NI_FLAGS, flag_word, host_bytes, service_bytes
from uvbind._dns_requests import (
    AddressInfo,
    ByAddress,
    ByName,
    Known,
    by_plain_name,
    describe,
    names,
    numeric,
    unpack,
)
from uvbind._dns_threads import start_threads
from uvbind._errors import UVError, check, uv_error
from uvbind._loop import Loop
from uvbind._request import Request
from uvbind._uvbind import ffi, lib


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
    results = numeric(loop._core, host, service, family, type, proto, flags)
    if results == 1 and callback is not None:
        return by_plain_name(loop, host, service, family, type, proto, flags, callback=callback)
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
            lookup = ByName(loop, "uv_getaddrinfo_t *", host, callback)
            return lookup._submit(lib.uvb_getaddrinfo, loop._c, *arguments)
        if results == 1:
            results = _look_up(lib.uvb_getaddrinfo_now, loop._c, *arguments)
    if callback is not None:
        return Known(loop, host, callback, results)
    if results.__class__ is int:
        raise uv_error(results, describe(host))
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
        lookup = ByAddress(loop, "uv_getnameinfo_t *", what, callback)
        return lookup._submit(lib.uvb_getnameinfo, loop._c, storage, number)
    request = ffi.new("uv_getnameinfo_t *")
    error = lib.uvb_getnameinfo_now(request, loop._c, storage, number)
    if callback is not None:
        return Known(loop, what, callback, error if error < 0 else names(request))
    check(error, describe(what))
    return names(request)


def _look_up(function: Callable[..., int], *arguments: Any) -> Any:
    """Return the results of an immediate lookup, or what the function returns instead."""
    found = ffi.new("struct addrinfo **")
    error = function(*arguments, found)
    try:
        return error if error != 0 else unpack(found[0])
    finally:
        lib.uv_freeaddrinfo(found[0])
