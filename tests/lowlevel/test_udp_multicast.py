"""Multicast interfaces by name, number and address: joined there, or refused."""

from __future__ import annotations

import ast
import sys

import pytest
from namespaces import Namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")

LINKS = [
    "link add one type veth peer name two",
    "link set one up",
    "link set two up",
    "link add bare type veth peer name end",
    "link set bare up",
    "link set end up",
    "address add 192.0.2.1/24 dev one",
    "address add 198.51.100.1/24 dev two",
    "address add 192.0.2.9/24 dev lo",
    "address add 203.0.113.9/32 dev one",
    "address add 203.0.113.9/32 dev two",
    "-6 address add 2001:db8:1::1/64 dev one nodad",
    "-6 address add 2001:db8:2::1/64 dev two nodad",
    "-6 address add fe80::99/64 dev one nodad",
    "-6 address add fe80::99/64 dev two nodad",
    "route add default dev one",
    "-6 route add default dev one metric 1",
]
# Tries each of its arguments, a Python expression of (group, interface) or of an interface, and
# prints where that has led to: an interface's name, None, or an error's.
PRELUDE = """
import socket, sys, uvbind
NUMBER = {name: number for number, name in socket.if_nameindex()}
NAME = {number: name for name, number in NUMBER.items()}

def joined(group):
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    number = socket.inet_pton(family, group.partition("%")[0])
    found = []
    if family == socket.AF_INET6:
        for line in open("/proc/net/igmp6"):
            _, name, members, *_ = line.split()
            if members == number.hex():
                found.append(name)
    else:
        for line in open("/proc/net/igmp"):
            fields = line.split()
            if not line[0].isspace():
                name = fields[1]
            elif fields[0] == number[::-1].hex().upper():
                found.append(name)
    return ",".join(found) or None

def outcome(function, *arguments):
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        return getattr(error, "name", type(error).__name__)

def join(group, interface):
    with uvbind.Loop() as loop:
        udp = uvbind.UDP(loop)
        udp.bind(("::" if ":" in group else "0.0.0.0", 0))
        udp.set_membership(group, interface)
        found = joined(group)
        udp.set_membership(group, interface, uvbind.Membership.LEAVE_GROUP)
        assert joined(group) is None
    return found

def join_source(group, interface):
    with uvbind.Loop() as loop:
        udp = uvbind.UDP(loop)
        source = "2001:db8::5" if ":" in group else "192.0.2.5"
        udp.set_source_membership(group, interface, source)
        return joined(group)

def send_by(family, interface):
    level, option = {
        4: (socket.IPPROTO_IP, socket.IP_MULTICAST_IF),
        6: (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF),
    }[family]
    with uvbind.Loop() as loop:
        udp = uvbind.UDP(loop, socket.AF_INET if family == 4 else socket.AF_INET6)
        udp.set_multicast_interface(interface)
        with socket.socket(fileno=udp.fileno()) as sock:
            raw = sock.getsockopt(level, option, 4)
            sock.detach()
    if family == 4:
        return socket.inet_ntoa(raw)
    return NAME.get(int.from_bytes(raw, sys.byteorder))

print([outcome(*eval(argument)) for argument in sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def namespace():
    with Namespace() as namespace:
        namespace.ip(*LINKS)
        yield namespace


def outcomes(namespace, cases):
    found = ast.literal_eval(namespace.python(PRELUDE, *cases))
    return dict(zip(cases, found, strict=True))


INTERFACES6 = {
    "'two'": "two",
    "str(NUMBER['two'])": "two",
    "'::%two'": "two",
    "f'::%{NUMBER[\"two\"]}'": "two",
    "'2001:db8:2::1'": "two",
    "'2001:DB8:2:0::1'": "two",
    "'2001:db8:1::1'": "one",
    "'fe80::99%two'": "two",
    "'fe80::99%one'": "one",
    "'bare'": "bare",
    "'fe80::99'": "EINVAL",
    "'fe80::98'": "EADDRNOTAVAIL",
    "'2001:db8:3::1'": "EADDRNOTAVAIL",
    "'::%nosuch'": "ENODEV",
    "'::%'": "ENODEV",
    "'::%0'": "ENODEV",
    "'::%99'": "ENODEV",
    "'::%4294967297'": "ENODEV",
    "'nosuch'": "EINVAL",
    "''": "EINVAL",
    "'0'": "EINVAL",
    "'192.0.2.1'": "EINVAL",
    "'nosuch%two'": "EINVAL",
    "'two%two'": "EINVAL",
    "'t\\u00fcr'": "EINVAL",
}
INTERFACES4 = {
    "'two'": "two",
    "str(NUMBER['two'])": "two",
    "'198.51.100.1'": "two",
    "'192.0.2.1'": "one",
    "'192.0.2.9'": "lo",
    "'bare'": "EADDRNOTAVAIL",
    "'nosuch'": "EINVAL",
    "'::1'": "EINVAL",
    "'::%two'": "EINVAL",
    "''": "EINVAL",
    "'192.0.2.300'": "EINVAL",
}


@pytest.mark.parametrize("verb", ["join", "join_source"])
@pytest.mark.parametrize(
    ("group", "interfaces"), [("ff15::7777", INTERFACES6), ("239.77.119.1", INTERFACES4)]
)
def test_the_group_is_joined_where_asked(namespace, verb, group, interfaces):
    cases = {f"{verb}, {group!r}, {each}": there for each, there in interfaces.items()}
    assert outcomes(namespace, cases) == cases


@pytest.mark.parametrize("group", ["ff15::7777", "239.77.119.1"])
def test_the_system_chooses_when_it_is_left_to_it(namespace, group):
    nowhere = "::" if ":" in group else "0.0.0.0"
    for_none, for_any = outcomes(
        namespace, [f"join, {group!r}, None", f"join, {group!r}, {nowhere!r}"]
    ).values()
    assert for_none == for_any
    assert for_none in ("one", "two", "bare", "end")


def test_the_zone_of_a_group_counts(namespace):
    cases = {
        "join, 'ff15::7777%two', None": "two",
        "join, 'ff15::7777%two', 'two'": "two",
        "join, 'ff15::7777%two', 'one'": "ValueError",
        "join, 'ff15::7777%nosuch', None": "ENODEV",
    }
    assert outcomes(namespace, cases) == cases


def test_sending_goes_by_the_interface_asked_for(namespace):
    cases = {f"send_by, 6, {each}": there for each, there in INTERFACES6.items()}
    del cases["send_by, 6, '192.0.2.1'"]  # that is for what IPv4 sends through the IPv6 socket
    cases["send_by, 6, None"] = cases["send_by, 6, '::'"] = None
    assert outcomes(namespace, cases) == cases
    cases = {
        "send_by, 4, 'two'": "198.51.100.1",
        "send_by, 4, '198.51.100.1'": "198.51.100.1",
        "send_by, 4, None": "0.0.0.0",
        "send_by, 4, 'nosuch'": "EINVAL",
        "send_by, 4, '::%two'": "EINVAL",
    }
    assert outcomes(namespace, cases) == cases
