"""Which interface a multicast option means: by its name, number or address.

Facts from libuv's manual, page "uv_udp_t". For IPv4 libuv takes an address of the interface. For
IPv6 it takes the scope of an address, and lets the system choose when there is none that it knows.
"""

from __future__ import annotations

import socket

from uvbind._errors import UVError, uv_error
from uvbind._network import if_indextoname, inet_pton, interface_addresses
from uvbind._uvbind import lib

_ANY = bytes(16)


def packed(family: int, text: str) -> bytes | None:
    """Return an address in bytes, or None for what is no such address."""
    try:
        return inet_pton(family, text)
    except UVError:
        return None


def for_ipv4(interface: str, what: str) -> str:
    """Return an IPv4 address that only this interface has."""
    if packed(socket.AF_INET, interface) is not None:
        return interface
    index = _index(interface)
    entries = [e for e in interface_addresses() if e.family == socket.AF_INET]
    if not index and all(entry.name != interface for entry in entries):
        raise _unknown(interface, what)
    here = [e.address for e in entries if e.name == interface or e.index == index != 0]
    for address in here:
        if sum(entry.address == address for entry in entries) == 1:
            return address
    what = f"interface: {interface!r:.100} has no IPv4 address of its own; {what}"
    raise uv_error(lib.UV_EADDRNOTAVAIL, what)


def for_ipv6(interface: str, what: str) -> str:
    """Return "::%name", or "::" for the system's choice."""
    address, percent, zone = interface.partition("%")
    number = packed(socket.AF_INET6, address)
    if not percent and number is None:
        index = _index(interface)
        if not index:
            raise _unknown(interface, what)
    elif number is None:
        raise _unknown(interface, what)
    elif percent:
        index = _index(zone)
        if not index:
            what = f"interface: {interface!r:.100} names none after the %; {what}"
            raise uv_error(lib.UV_ENODEV, what)
    elif number == _ANY:
        return "::"
    else:
        index = _index_of(number, interface, what)
    return f"::%{if_indextoname(index)}"


def without_zone(group: str, interface: str | None, what: str) -> tuple[str, str | None]:
    """Return a group without "%zone", which libuv forgets, and the interface that it means."""
    address, percent, zone = group.partition("%")
    if not percent:
        return group, interface
    by_zone = for_ipv6(f"::%{zone}", what)
    if interface is not None and for_ipv6(interface, what) != by_zone:
        raise ValueError(f"interface: {interface!r:.100} is not the one of the group; {what}")
    return address, by_zone


def _index(text: str) -> int:
    """Return the number of the interface of that name or number, 0 when there is none."""
    try:
        return socket.if_nametoindex(text)
    except (OSError, ValueError):
        pass
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    try:
        if_indextoname(number)
    except UVError:
        return 0
    return number


def _index_of(number: bytes, interface: str, what: str) -> int:
    found = {
        entry.index
        for entry in interface_addresses()
        if entry.family == socket.AF_INET6 and packed(socket.AF_INET6, entry.address) == number
    }
    if len(found) == 1:
        return found.pop()
    if found:
        what = f"interface: several have {interface!r:.100}, so add '%' and its name; {what}"
        raise uv_error(lib.UV_EINVAL, what)
    what = f"interface: none has the address {interface!r:.100}; {what}"
    raise uv_error(lib.UV_EADDRNOTAVAIL, what)


def _unknown(interface: str, what: str) -> UVError:
    what = f"interface: {interface!r:.100} is no interface and no address of one; {what}"
    return uv_error(lib.UV_EINVAL, what)
