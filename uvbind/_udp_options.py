"""The options of UDP sockets: multicast, broadcast, hops.

Facts from libuv's manual, page "uv_udp_t".
"""

from __future__ import annotations

import enum
from typing import Any

from uvbind import _check
from uvbind._errors import check
from uvbind._handle import SocketBuffers
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

        `group`: its address. `interface`: the address of the interface to use (IPv4), or its
        address or index as "::%eth0" (IPv6); None lets the system choose. Raises UVError
        (EINVAL, EADDRNOTAVAIL, EADDRINUSE when joined already, ENODEV). Wraps
        uv_udp_set_membership.
        """
        names = _text("group", group), _optional_text("interface", interface)
        kind = Membership(membership)
        check(lib.uv_udp_set_membership(self._open(), *names, kind), f"group: {group!r:.100}")

    def set_source_membership(
        self,
        group: str,
        interface: str | None,
        source: str,
        membership: Membership = Membership.JOIN_GROUP,
    ) -> None:
        """Join or leave a multicast group for what `source` sends to it; arguments and errors
        as of set_membership(). Wraps uv_udp_set_source_membership."""
        names = (
            _text("group", group),
            _optional_text("interface", interface),
            _text("source", source),
        )
        kind = Membership(membership)
        error = lib.uv_udp_set_source_membership(self._open(), *names, kind)
        check(error, f"group: {group!r:.100} from {source!r:.100}")

    def set_multicast_loop(self, on: bool) -> None:
        """Let multicast datagrams come back to this host, as they do. Wraps
        uv_udp_set_multicast_loop."""
        back = bool(on)
        check(lib.uv_udp_set_multicast_loop(self._open(), back), "set_multicast_loop")

    def set_multicast_ttl(self, ttl: int) -> None:
        """Let multicast datagrams travel `ttl` hops, 1 to 255. Wraps
        uv_udp_set_multicast_ttl."""
        hops = _check.integer("ttl", ttl, 1, 255)
        check(lib.uv_udp_set_multicast_ttl(self._open(), hops), "set_multicast_ttl")

    def set_multicast_interface(self, interface: str | None) -> None:
        """Send multicast datagrams from this interface, given as for set_membership(). Wraps
        uv_udp_set_multicast_interface."""
        name = _optional_text("interface", interface)
        error = lib.uv_udp_set_multicast_interface(self._open(), name)
        check(error, f"interface: {interface!r:.100}")

    def set_broadcast(self, on: bool) -> None:
        """Allow sending to broadcast addresses. Wraps uv_udp_set_broadcast."""
        allowed = bool(on)
        check(lib.uv_udp_set_broadcast(self._open(), allowed), "set_broadcast")

    def set_ttl(self, ttl: int) -> None:
        """Let datagrams travel `ttl` hops, 1 to 255. Wraps uv_udp_set_ttl."""
        hops = _check.integer("ttl", ttl, 1, 255)
        check(lib.uv_udp_set_ttl(self._open(), hops), "set_ttl")


def _text(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected an address as a str, not {type(value).__name__}")
    raw = value.encode("ascii", "replace")
    if b"\0" in raw:
        raise ValueError(f"{name}: {value!r:.100} is not an address")
    return raw


def _optional_text(name: str, value: Any) -> Any:
    return ffi.NULL if value is None else _text(name, value)
