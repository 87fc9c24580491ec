"""Asks for a DHCP server and prints what it offers: `python udp_dhcp_discover.py INTERFACE`.

Nothing is accepted, so nothing changes. Port 68 is for root alone; a DHCP client that has it
already must be stopped, and a reverse path filter (sysctl net.ipv4.conf.*.rp_filter) drops the
answer on an interface that has no address yet.
"""

import secrets
import socket
import struct
import sys

import uvbind

TRANSACTION = secrets.token_bytes(4)
COOKIE = bytes([99, 130, 83, 99])
BROADCAST = 0x8000  # we have no address yet that the answer could be sent to
BIND_TO_DEVICE = 25  # Linux's SO_BINDTODEVICE, for which PyPy has no name
SUBNET, ROUTER, DNS, LEASE_TIME, MESSAGE_TYPE, SERVER, WANTED, END = 1, 3, 6, 51, 53, 54, 55, 255
DISCOVER, OFFER = 1, 2


def hardware_address(interface):
    for entry in uvbind.interface_addresses():
        if entry.name == interface:
            return bytes.fromhex(entry.phys_addr.replace(":", ""))
    # It has no address at all, not even a link-local one: take a hardware address of nobody's.
    return bytes([2]) + secrets.token_bytes(5)


def discover():
    """The message: one of a fixed layout, then options, each with its number and length."""
    head = struct.pack("!4B4s2H16x16s192x", 1, 1, 6, 0, TRANSACTION, 0, BROADCAST, hardware)
    options = [MESSAGE_TYPE, 1, DISCOVER, WANTED, 4, SUBNET, ROUTER, DNS, LEASE_TIME, END]
    return (head + COOKIE + bytes(options)).ljust(300, b"\0")


def parse(message):
    """Return the address offered and the options; None for what is not an answer to us."""
    if len(message) < 240 or message[0] != 2 or message[236:240] != COOKIE:
        return None
    if message[4:8] != TRANSACTION or message[28:34] != hardware:
        return None
    options, at = {}, 240
    while at + 1 < len(message) and message[at] != END:
        number, length = message[at : at + 2]
        if number == 0:  # padding
            at += 1
            continue
        at += 2 + length
        if at <= len(message):
            options[number] = message[at - length : at]
    return message[16:20], options


def addresses(raw):
    return ", ".join(socket.inet_ntoa(raw[i : i + 4]) for i in range(0, len(raw) - 3, 4)) or "none"


def on_datagram(udp, data, address, flags, error):
    if error is not None:
        sys.exit(f"receive: {error.strerror}")
    answer = parse(data)
    if answer is None or answer[1].get(MESSAGE_TYPE) != bytes([OFFER]):
        return  # somebody else's
    offered, options = answer
    print("address:", addresses(offered))
    for name, number in ("server", SERVER), ("mask", SUBNET), ("router", ROUTER), ("dns", DNS):
        print(f"{name}:", addresses(options.get(number, b"")))
    print("lease:", int.from_bytes(options.get(LEASE_TIME, b""), "big"), "seconds")
    udp.close()
    timer.close()


def on_timeout(timer):
    sys.exit(f"no DHCP server answered on {sys.argv[1]} within five seconds")


if len(sys.argv) != 2:
    sys.exit(__doc__)
hardware = hardware_address(sys.argv[1])
with uvbind.Loop() as loop:
    udp = uvbind.UDP(loop)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            # Of all interfaces this one, which need not have an address or a route.
            sock.setsockopt(socket.SOL_SOCKET, BIND_TO_DEVICE, sys.argv[1].encode())
            udp.open(sock)
        udp.bind(("0.0.0.0", 68))
        udp.set_broadcast(True)
        udp.recv_start(on_datagram)
        udp.send(discover(), ("255.255.255.255", 67))
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    timer = uvbind.Timer(loop)
    timer.start(on_timeout, 5000)
    loop.run()
