"""Hosts, services and flags of lookups, as libuv and the C library take them."""

from __future__ import annotations

import functools
import socket
from typing import Any

from uvbind import _check
from uvbind._errors import UVError, uv_error
from uvbind._uvbind import lib

_LONGEST = 255  # bytes of a name, as libuv has room for

# The flags that are safe to hand on. With glibc's AI_IDN and NI_IDN the C library can fail in a
# way that libuv does not know and aborts on.
AI_FLAGS = int(
    socket.AI_PASSIVE
    | socket.AI_CANONNAME
    | socket.AI_NUMERICHOST
    | socket.AI_NUMERICSERV
    | socket.AI_V4MAPPED
    | socket.AI_ALL
    | socket.AI_ADDRCONFIG
)
NI_FLAGS = int(
    socket.NI_NOFQDN
    | socket.NI_NUMERICHOST
    | socket.NI_NAMEREQD
    | socket.NI_NUMERICSERV
    | socket.NI_DGRAM
)


def host_bytes(host: Any) -> bytes | None:
    """Check a host and encode it as the socket module does."""
    if host is None:
        return None
    if not isinstance(host, (str, bytes)):
        raise TypeError(f"host: expected a str, bytes or None, not {type(host).__name__}")
    return _host_name(host)


@functools.lru_cache(maxsize=256, typed=True)
def _host_name(host: str | bytes) -> bytes:
    raw = b""
    if isinstance(host, bytes):
        raw = host
    elif len(host) <= _LONGEST:
        try:
            raw = host.encode("ascii" if host.isascii() else "idna")
        except UnicodeError as error:
            raise _no_name(host, f" ({error})") from None
    if 0 in raw:
        raise ValueError(f"host: {host!r:.100} has a NUL in it, which no name has")
    if not 0 < len(raw) <= _LONGEST:
        raise _no_name(host, f": expected 1 to {_LONGEST} bytes")
    return raw


def _no_name(host: str | bytes, why: str) -> UVError:
    return uv_error(lib.UV_EAI_NONAME, f"host: {host!r:.100} is not a name{why}")


def service_bytes(service: Any) -> bytes | None:
    """Check a service, the name of one or a port, and encode it."""
    if service is None:
        return None
    if isinstance(service, (str, bytes)):
        return _service_name(service)
    return _port(_check.integer("service", service, 0, 65535))


@functools.lru_cache(maxsize=256)
def _port(port: int) -> bytes:
    return b"%d" % port


def _service_name(service: str | bytes) -> bytes:
    raw = service.encode() if isinstance(service, str) else service
    if 0 in raw:
        raise ValueError(f"service: {service!r:.100} has a NUL in it, which no name has")
    if not raw or (raw.isdigit() and int(raw[:100]) > 65535):  # the C library takes the rest of it
        raise uv_error(lib.UV_EAI_SERVICE, f"service: {service!r:.100}")
    return raw


def flag_word(flags: Any, known: int, prefix: str) -> int:
    """Check flags, none of which may be outside `known`: AI_FLAGS or NI_FLAGS."""
    number = _check.integer("flags", flags, 0, 2**31 - 1)
    if number & ~known:
        raise uv_error(
            lib.UV_EAI_BADFLAGS, f"flags: {number & ~known:#x} is none of socket.{prefix}_*"
        )
    return number
