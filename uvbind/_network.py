"""Network interfaces, addresses as text, and what else a program asks of its machine.

Facts from libuv's manual, page "Miscellaneous utilities".
"""

from __future__ import annotations

import enum
import os
import socket
from typing import Any, NamedTuple

from uvbind import _check
from uvbind._address import Address, ask_text, pack
from uvbind._errors import check, translate_sys_error, uv_error
from uvbind._uvbind import ffi, lib

_FAMILIES = {str(int(family)): family for family in (socket.AF_INET, socket.AF_INET6)}
_SIZES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
_ROOM = 4096  # bytes of text for about 30 addresses


class InterfaceAddress(NamedTuple):
    """One address of a network interface. Wraps uv_interface_address_t.

    `name`: the interface, for an IPv4 alias its label such as "eth0:1". `phys_addr`: the
    hardware address as "02:00:00:12:34:56", all zeros when it has none. `is_internal`: it is
    a loopback interface. `address`, `netmask`: text. `prefix_length`: the netmask in bits.
    `family`: socket.AF_INET or AF_INET6. `scope_id`: what a link-local IPv6 address needs as
    fourth part of an address tuple, else 0. `index`: the interface's number, 0 when the
    platform tells none.
    """

    name: str
    phys_addr: str
    is_internal: bool
    address: str
    netmask: str
    prefix_length: int
    family: int
    scope_id: int
    index: int  # type: ignore[assignment]  # no use for tuple.index here


class HandleType(enum.IntEnum):
    """What a descriptor is. Wraps uv_handle_type, as far as guess_handle() tells one."""

    UNKNOWN_HANDLE = lib.UV_UNKNOWN_HANDLE
    FILE = lib.UV_FILE
    NAMED_PIPE = lib.UV_NAMED_PIPE
    TCP = lib.UV_TCP
    TTY = lib.UV_TTY
    UDP = lib.UV_UDP


def interface_addresses() -> list[InterfaceAddress]:
    """Return the IPv4 and IPv6 addresses of all interfaces that are up and running.

    An interface without an address is not in it. Raises UVError (ENOMEM, EMFILE). Wraps
    uv_interface_addresses and uv_free_interface_addresses.
    """
    size, room = _ROOM, 0
    while size > room:  # there may be more by the time that there is room
        room = size
        text = ffi.new("char[]", room)
        size = check(lib.uvb_interface_addresses(text, room), "interface_addresses")
    fields = iter(os.fsdecode(ffi.unpack(text, size)).split("\0"))
    return [
        InterfaceAddress(
            name,
            phys_addr,
            is_internal == "1",
            address,
            netmask,
            int(prefix_length),
            _FAMILIES[family],
            int(scope_id),
            int(index),
        )
        for (
            name,
            phys_addr,
            is_internal,
            address,
            netmask,
            prefix_length,
            family,
            scope_id,
            index,
        ) in zip(*[fields] * len(InterfaceAddress._fields))
    ]


def if_indextoname(index: int) -> str:
    """Return the name of the interface of that number.

    Raises UVError (ENXIO) when there is none. Wraps uv_if_indextoname.
    """
    number = _check.integer("index", index, 0, 2**32 - 1)
    return os.fsdecode(ask_text(lib.uv_if_indextoname, f"if_indextoname({number})", number))


def if_indextoiid(index: int) -> str:
    """Return what tells the interface of that number apart in an IPv6 address: its name, on
    Windows its number.

    Raises UVError (ENXIO) when there is none. Wraps uv_if_indextoiid.
    """
    number = _check.integer("index", index, 0, 2**32 - 1)
    return os.fsdecode(ask_text(lib.uv_if_indextoiid, f"if_indextoiid({number})", number))


def ip_name(address: Address) -> str:
    """Return the host of an address as libuv writes it: ("::0:1", 80) gives "::1".

    The scope id is not part of it. Raises TypeError or ValueError for what is no address.
    Wraps uv_ip_name, which does what uv_ip4_name and uv_ip6_name do.
    """
    storage = pack(address)
    host = ffi.new("char[]", lib.UVB_HOST_SIZE)
    check(lib.uv_ip_name(storage, host, len(host)), "ip_name")
    return str(ffi.string(host), "ascii")


def inet_pton(family: int, text: str) -> bytes:
    """Return an address in text as 4 bytes (AF_INET) or 16 (AF_INET6).

    As socket.inet_pton, but an IPv6 address may have a scope ("fe80::1%eth0"), which is
    ignored. Raises UVError: EINVAL for what is no such address, EAFNOSUPPORT. Wraps
    uv_inet_pton.
    """
    family, size = _family(family)
    if not isinstance(text, str):
        raise TypeError(f"text: expected a str, not {type(text).__name__}")
    packed = ffi.new("unsigned char[]", size)
    raw = text.encode("utf-8", "surrogatepass")
    code = lib.UV_EINVAL if b"\0" in raw else lib.uv_inet_pton(family, raw, packed)
    check(code, f"text: {text!r:.100} is no IPv{4 if size == 4 else 6} address")
    return bytes(packed)


def inet_ntop(family: int, packed: Any) -> str:
    """Return an address of 4 bytes (AF_INET) or 16 (AF_INET6) as text.

    Raises ValueError for another number of bytes, UVError (EAFNOSUPPORT). Wraps uv_inet_ntop.
    """
    family, size = _family(family)
    view = _check.buffer("packed", packed)
    if view.nbytes != size:
        raise ValueError(f"packed: expected {size} bytes, not {view.nbytes}")
    text = ffi.new("char[]", lib.UVB_HOST_SIZE)
    check(lib.uv_inet_ntop(family, bytes(view), text, len(text)), "inet_ntop")
    return str(ffi.string(text), "ascii")


def os_gethostname() -> str:
    """Return the name of this machine. Wraps uv_os_gethostname."""
    return os.fsdecode(ask_text(lib.uv_os_gethostname, "os_gethostname"))


def guess_handle(file: Any) -> HandleType:
    """Return what a descriptor is: NAMED_PIPE for a pipe and a unix stream socket, FILE for a
    device as well, UNKNOWN_HANDLE for what libuv has no handle for, such as a folder.

    `file`: a descriptor or an object with fileno(). Raises UVError (EBADF). Wraps
    uv_guess_handle.
    """
    fd = _check.descriptor("file", file)
    kind = HandleType(lib.uv_guess_handle(fd))
    if kind is HandleType.UNKNOWN_HANDLE:  # also libuv's answer when there is no such descriptor
        try:
            os.fstat(fd)
        except OSError as error:
            raise uv_error(translate_sys_error(error.errno or 0), f"file: {fd}") from None
    return kind


def _family(family: int) -> tuple[int, int]:
    """Return an address family and how many bytes its addresses have."""
    number = _check.integer("family", family, 0, 2**31 - 1)
    if number not in _SIZES:
        what = f"family: expected socket.AF_INET or AF_INET6, not {number}"
        raise uv_error(lib.UV_EAFNOSUPPORT, what)
    return number, _SIZES[number]
