"""The interface query: ``python -m uvbind._bench.interfaces NAME``. One process that does it."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from uvbind._bench.servers import work

# From linux/sockios.h.
SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927


def with_socket() -> list[tuple[str, str, str, str]]:
    """Ask Linux in pure Python for (name, address, netmask, hardware address)."""
    import fcntl

    found = []
    hardware = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def ask(request: int, name: str) -> bytes:
            return fcntl.ioctl(sock, request, struct.pack("256s", name.encode()))

        for _, name in socket.if_nameindex():
            hardware[name] = ask(SIOCGIFHWADDR, name)[18:24].hex(":")
            with contextlib.suppress(OSError):  # it has no IPv4 address
                address, netmask = (
                    socket.inet_ntoa(ask(request, name)[20:24])
                    for request in (SIOCGIFADDR, SIOCGIFNETMASK)
                )
                found.append((name, address, netmask, hardware[name]))
    with contextlib.suppress(FileNotFoundError), open("/proc/net/if_inet6") as table:
        for line in table:
            raw, _, prefix, _, _, name = line.split()
            mask = (2**128 - (1 << 128 - int(prefix, 16))).to_bytes(16, "big")
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(raw))
            netmask = socket.inet_ntop(socket.AF_INET6, mask)
            found.append((name, address, netmask, hardware.get(name, "")))
    return found


def query_of(name: str) -> Callable[[], Any]:
    """Return a contender's way to list the interfaces with their addresses."""
    if name == "uvbind":
        import uvbind

        return uvbind.interface_addresses
    if name == "psutil":
        import psutil

        return psutil.net_if_addrs
    return with_socket


def repeat(query: Callable[[], Any]) -> Callable[..., int]:
    def run(seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            if not query():
                raise LookupError("no interfaces")
            done += 1
        return done

    return run


if __name__ == "__main__":
    work(repeat(query_of(sys.argv[1])))
