"""Socket addresses: Python's tuples and libuv's `struct sockaddr`.

An address is `(host, port)` or `(host, port, flowinfo, scope_id)` as in the socket module,
the host in numbers. IPv6 addresses come back as four-tuples, so a scope id is never lost; it
may be given as part of the host, "fe80::1%eth0" or "fe80::1%2", too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvbind._check import integer
from uvbind._ctypes import SOCKADDR
from uvbind._errors import check
from uvbind._uvbind import ffi, lib

Address = tuple[str, int] | tuple[str, int, int, int]

_TEXT_SIZE = 1024  # more than any platform's host, interface or pipe names take


def pack(address: Any) -> Any:
    """Return `address` as a `struct sockaddr`; raise TypeError or ValueError naming the flaw."""
    if not isinstance(address, (tuple, list)) or len(address) not in (2, 4):
        raise TypeError(
            "address: expected (host, port) or (host, port, flowinfo, scope_id), "
            f"not {address!r:.100}"
        )
    host = address[0]
    if not isinstance(host, str):
        raise TypeError(f"address: expected the host as a str, not {type(host).__name__}")
    port = integer("address: port", address[1], 0, 65535)
    flowinfo = scope_id = 0
    if len(address) == 4:
        flowinfo = integer("address: flowinfo", address[2], 0, 0xFFFFF)
        scope_id = integer("address: scope_id", address[3], 0, 0xFFFFFFFF)
    storage = ffi.new(SOCKADDR)
    try:
        raw = host.encode("ascii")
        valid = b"\0" not in raw
    except UnicodeEncodeError:
        valid = False
    code = lib.uvb_address_pack(raw, port, flowinfo, scope_id, storage) if valid else lib.UV_EINVAL
    if code == lib.UV_ENXIO:
        raise ValueError(f"address: host {host!r:.100} names no network interface after the %")
    if code < 0:
        raise ValueError(
            f"address: host {host!r:.100} is not a numeric IPv4 or IPv6 address; "
            "look names up first, bind to '0.0.0.0' or '::' for every interface"
        )
    return storage


def unpack(storage: Any) -> Address:
    """Return a `struct sockaddr` as an address tuple."""
    host = ffi.new("char[]", lib.UVB_HOST_SIZE)
    numbers = ffi.new("int *"), ffi.new("unsigned int *"), ffi.new("unsigned int *")
    port, flowinfo, scope_id = numbers
    flowinfo[0] = 0xFFFFFFFF  # stays so for IPv4
    check(lib.uvb_address_unpack(storage, host, port, flowinfo, scope_id), "address")
    text = str(ffi.string(host), "ascii")
    if flowinfo[0] == 0xFFFFFFFF:
        return text, port[0]
    return text, port[0], flowinfo[0], scope_id[0]


def ask(getter: Callable[..., int], handle: Any, what: str) -> Address:
    """Return the address that one of libuv's getsockname or getpeername functions tells."""
    storage = ffi.new(SOCKADDR)
    size = ffi.new("int *", lib.UVB_SOCKADDR_SIZE)
    check(getter(handle, storage, size), what)
    return unpack(storage)


def ask_text(getter: Callable[..., int], what: str, *arguments: Any) -> bytes:
    """Return the text that one of libuv's functions writes into a buffer of ours."""
    buffer = ffi.new("char[]", _TEXT_SIZE)
    size = ffi.new("size_t *", _TEXT_SIZE)
    check(getter(*arguments, buffer, size), what)
    return bytes(ffi.buffer(buffer, size[0]))
