"""Prints the addresses of network interfaces: `python ifconfig.py [INTERFACE ...]`."""

import socket
import sys

import uvbind

interfaces = {}
for entry in uvbind.interface_addresses():
    interfaces.setdefault(entry.name, []).append(entry)

for name in sys.argv[1:] or interfaces:
    if name not in interfaces:
        sys.exit(f"{name}: no interface of that name is up and has an address")
    first = interfaces[name][0]
    print(f"{name}: number {first.index}{', internal' if first.is_internal else ''}")
    for entry in interfaces[name]:
        if entry.family == socket.AF_INET:
            print(f"    inet {entry.address} netmask {entry.netmask}")
        else:
            scope = f" scope {entry.scope_id}" if entry.scope_id else ""
            print(f"    inet6 {entry.address} prefix length {entry.prefix_length}{scope}")
    if not first.is_internal:
        print(f"    ether {first.phys_addr}")
