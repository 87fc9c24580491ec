"""The options of UDP sockets: multicast, broadcast, hops.

Facts from libuv's manual, page "uv_udp_t".
"""

from __future__ import annotations

import enum
import os
import socket
from typing import Any

from uvbind import _check
from uvbind._errors import check
from uvbind._handle import SocketBuffers
from uvbind._multicast import for_ipv4, for_ipv6, packed, without_zone
from uvbind._uvbind import ffi, lib


class Membership(enum.IntEnum):
    """What to do with a multicast group. Wraps uv_membership."""

    LEAVE_GROUP = lib.UV_LEAVE_GROUP
    JOIN_GROUP = lib.UV_JOIN_GROUP


class UDPOptions(SocketBuffers):
    """What UDP inherits to set its options with."""

    def set_membership(
        self,
        group: str,
        interface: str | None = None,
        membership: Membership = Membership.JOIN_GROUP,
    ) -> None:
        """Join or leave a multicast group.

        `group`: its address. `interface`: the name, the number or an address of the interface to
        use, for IPv6 as "::%eth0" too; None lets the system choose. A handle without a socket is
        bound to a free port. Raises UVError (EINVAL, EADDRNOTAVAIL, EADDRINUSE when joined already,
        ENODEV). Wraps uv_udp_set_membership.
        """
        names = _named(_text("group", group), _optional_text("interface", interface))
        kind, udp = Membership(membership), self._open()
        check(lib.uv_udp_set_membership(udp, *names, kind), f"group: {group!r:.100}")

    def set_source_membership(
        self,
        group: str,
        interface: str | None,
        source: str,
        membership: Membership = Membership.JOIN_GROUP,
    ) -> None:
        """Join or leave a multicast group for what `source` sends to it; arguments and errors
        as of set_membership(). Wraps uv_udp_set_source_membership."""
        names = _named(_text("group", group), _optional_text("interface", interface))
        sender = _text("source", source).encode("ascii", "replace")
        kind, udp = Membership(membership), self._open()
        error = lib.uv_udp_set_source_membership(udp, *names, sender, kind)
        check(error, f"group: {group!r:.100} from {source!r:.100}")

    def set_multicast_loop(self, on: bool) -> None:
        """Let multicast datagrams come back to this host, as they do. Wraps
        uv_udp_set_multicast_loop."""
        self._set_option(lib.UVB_MULTICAST_LOOP, bool(on), "set_multicast_loop")

    def set_multicast_ttl(self, ttl: int) -> None:
        """Let multicast datagrams travel `ttl` hops, 1 to 255. Wraps
        uv_udp_set_multicast_ttl."""
        hops = _check.integer("ttl", ttl, 1, 255)
        self._set_option(lib.UVB_MULTICAST_TTL, hops, "set_multicast_ttl")

    def set_multicast_interface(self, interface: str | None) -> None:
        """Send multicast datagrams from this interface, given as for set_membership(). Wraps
        uv_udp_set_multicast_interface."""
        text, what = _optional_text("interface", interface), f"interface: {interface!r:.100}"
        udp = self._open()
        family = check(lib.uvb_udp_family(self._c), "set_multicast_interface")
        if family == socket.AF_INET6 and (text is None or not packed(socket.AF_INET, text)):
            text = "::" if text is None else for_ipv6(text, what)
        else:
            text = "0.0.0.0" if text is None else for_ipv4(text, what)
        check(lib.uv_udp_set_multicast_interface(udp, os.fsencode(text)), what)

    def set_broadcast(self, on: bool) -> None:
        """Allow sending to broadcast addresses. Wraps uv_udp_set_broadcast."""
        allowed = bool(on)
        check(lib.uv_udp_set_broadcast(self._open(), allowed), "set_broadcast")

    def set_ttl(self, ttl: int) -> None:
        """Let datagrams travel `ttl` hops, 1 to 255. Wraps uv_udp_set_ttl."""
        self._set_option(lib.UVB_TTL, _check.integer("ttl", ttl, 1, 255), "set_ttl")

    def _set_option(self, option: int, value: int, what: str) -> None:
        self._open()
        check(lib.uvb_udp_set_option(self._c, option, value), what)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected an address as a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{name}: {value!r:.100} is not an address")
    return value


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _named(group: str, interface: str | None) -> tuple[bytes, Any]:
    """Return a group and an interface in the form in which libuv does not mistake them."""
    what = f"group: {group!r:.100}"
    if packed(socket.AF_INET, group) is None:
        group, interface = without_zone(group, interface, what)
        interface = None if interface is None else for_ipv6(interface, what)
    elif interface is not None:
        interface = for_ipv4(interface, what)
    raw = ffi.NULL if interface is None else os.fsencode(interface)
    return group.encode("ascii", "replace"), raw
