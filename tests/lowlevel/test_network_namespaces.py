"""Interfaces in network namespaces: link-local addresses, aliases, interfaces that are down."""

from __future__ import annotations

import ast
import json
import sys

import pytest
from namespaces import Namespace, linked, wait_until_running

import uvbind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")

SHOW = """
import uvbind
print([list(entry._replace(family=int(entry.family))) for entry in uvbind.interface_addresses()])
"""


def shown(namespace: Namespace) -> list[uvbind.InterfaceAddress]:
    return [uvbind.InterfaceAddress(*fields) for fields in ast.literal_eval(namespace.python(SHOW))]


def expected(namespace: Namespace) -> set[tuple[object, ...]]:
    """What `ip` says of the interfaces that are up and running."""
    found: set[tuple[object, ...]] = set()
    for link in json.loads(namespace.run("ip", "-j", "address")):
        if not {"UP", "LOWER_UP"} <= set(link["flags"]):
            continue
        index, mac = link["ifindex"], link["address"]
        for info in link["addr_info"]:
            name = info.get("label", link["ifname"])
            scope_id = index if info["scope"] == "link" else 0
            found.add((name, mac, info["local"], info["prefixlen"], scope_id, index))
    return found


def test_all_that_ip_tells():
    with Namespace() as namespace:
        namespace.ip(
            "link add one address 02:00:00:12:34:56 type veth peer name two",
            "link set one addrgenmode none up",
            "link set two addrgenmode none up",
            "link add name unused type veth",
            "address add 192.0.2.1/27 dev one label one:alias",
            "address add 192.0.2.65/26 dev one label nolink",
            "address add 198.51.100.1/32 dev two",
            "address add 2001:db8::1/48 dev one nodad",
            "address add fe80::1/64 dev one nodad",
            "address add fe80::1/64 dev two nodad",
            "address add 203.0.113.1/24 dev unused",
        )
        wait_until_running(namespace, "one")
        wait_until_running(namespace, "two")
        found, wanted = shown(namespace), expected(namespace)
        told = {
            (e.name, e.phys_addr, e.address, e.prefix_length, e.scope_id, e.index) for e in found
        }
        # An alias is told by its label. From one that does not begin with its interface's name,
        # libuv and the kernel find neither the hardware address nor the number.
        (astray,) = {fields for fields in wanted if fields[0] == "nolink"}
        wanted.remove(astray)
        wanted.add(("nolink", "00:00:00:00:00:00", "192.0.2.65", 26, 0, 0))
        assert told == wanted and len(found) == len(wanted) == 8
        assert {e.netmask for e in found if e.name == "one:alias"} == {"255.255.255.224"}
        assert {e.is_internal for e in found if e.name == "lo"} == {True}
        assert {e.is_internal for e in found if e.name != "lo"} == {False}


def test_no_interface_is_up():
    with Namespace() as namespace:
        namespace.ip("link set lo down")
        assert shown(namespace) == []


def test_hundreds_of_addresses():
    with Namespace() as namespace:
        namespace.ip(*(f"address add 10.0.{i}.1/16 dev lo" for i in range(100)))
        addresses = [entry.address for entry in shown(namespace) if entry.prefix_length == 16]
    assert addresses == [f"10.0.{i}.1" for i in range(100)]


SERVER = """
import uvbind
def on_read(client, data, error):
    if data is None:
        client.close()
    else:
        client.write(data)
def on_connection(server, error):
    server.accept().read_start(on_read)
    server.close()
def on_datagram(udp, data, address, flags, error):
    udp.send(data, address)
    udp.close()
(here,) = [e for e in uvbind.interface_addresses() if e.address == "fe80::1"]
address = (here.address, 7000, 0, here.scope_id)
loop = uvbind.Loop()
tcp, udp = uvbind.TCP(loop), uvbind.UDP(loop)
tcp.bind(address)
tcp.listen(on_connection)
udp.bind(address)
udp.recv_start(on_datagram)
assert tcp.getsockname() == udp.getsockname() == address
print("ready", flush=True)
loop.run()
loop.close()
"""

CLIENT = """
import uvbind
(here,) = [e for e in uvbind.interface_addresses() if e.address == "fe80::2"]
assert (here.name, here.prefix_length, here.scope_id) == ("right", 64, here.index), here
assert uvbind.if_indextoname(here.scope_id) == "right"
def on_connect(tcp, error):
    assert error is None, error
    assert tcp.getpeername() == server
    tcp.write(b"by TCP")
    tcp.read_start(on_read)
def on_read(tcp, data, error):
    print(data)
    tcp.close()
    udp.send(b"by UDP", server)
    udp.recv_start(on_datagram)
def on_datagram(udp, data, address, flags, error):
    print(data, address == server)
    udp.close()
loop = uvbind.Loop()
tcp, udp = uvbind.TCP(loop), uvbind.UDP(loop)
server = ("fe80::1", 7000, 0, here.scope_id)
for scoped in ("fe80::1%right", f"fe80::1%{here.scope_id}"):
    probe = uvbind.UDP(loop)
    probe.connect((scoped, 7000))
    assert probe.getpeername() == server, probe.getpeername()
    probe.close()
tcp.connect(server, on_connect)
loop.run()
loop.close()
"""


def test_echo_between_link_local_addresses():
    with linked() as (left, right):
        server = left.start_python(SERVER)
        assert server.stdout.readline() == "ready\n"
        assert right.python(CLIENT) == "b'by TCP'\nb'by UDP' True\n"
        assert server.wait(30) == 0
