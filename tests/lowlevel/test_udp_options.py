"""The options of UDP sockets: sharing a port, multicast, broadcast, hops."""

from __future__ import annotations

import socket

import pytest
from helpers import LOCALHOST

import uvbind


def test_reuseaddr_lets_two_bind(loop):
    first, second = uvbind.UDP(loop), uvbind.UDP(loop)
    first.bind(LOCALHOST, reuseaddr=True)
    second.bind(first.getsockname(), reuseaddr=True)
    third = uvbind.UDP(loop)
    with pytest.raises(uvbind.UVError, match="address already in use"):
        third.bind(first.getsockname())
    for udp in (first, second, third):
        udp.close()
    loop.run()


def test_ipv6only_leaves_ipv4_to_others(loop):
    ipv6, ipv4 = uvbind.UDP(loop), uvbind.UDP(loop)
    ipv6.bind(("::", 0), ipv6only=True)
    ipv4.bind(("127.0.0.1", ipv6.getsockname()[1]))
    with pytest.raises(uvbind.UVError, match="invalid argument"):
        uvbind.UDP.bind(ipv4, LOCALHOST, ipv6only=True)
    for udp in (ipv6, ipv4):
        udp.close()
    loop.run()


def test_multicast_reaches_who_has_joined(loop):
    receiver, sender = uvbind.UDP(loop), uvbind.UDP(loop)
    receiver.bind(("0.0.0.0", 0), reuseaddr=True)
    group, port = "239.255.0.77", receiver.getsockname()[1]
    receiver.set_membership(group, "127.0.0.1")
    sender.bind(("127.0.0.1", 0))
    sender.set_multicast_interface("127.0.0.1")
    sender.set_multicast_loop(True)
    sender.set_multicast_ttl(1)
    received = []
    receiver.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    sender.send(b"to the group", (group, port))
    loop.run()
    assert received == [b"to the group"]
    with pytest.raises(uvbind.UVError, match="address already in use"):
        receiver.set_membership(group, "127.0.0.1")
    receiver.set_membership(group, "127.0.0.1", uvbind.Membership.LEAVE_GROUP)
    receiver.set_source_membership(group, "127.0.0.1", "127.0.0.1")
    receiver.set_source_membership(group, "127.0.0.1", "127.0.0.1", uvbind.Membership.LEAVE_GROUP)
    for udp in (receiver, sender):
        udp.close()
    loop.run()


def test_options_reach_the_socket(loop):
    udp = uvbind.UDP(loop, socket.AF_INET)
    with pytest.raises(PermissionError):
        udp.try_send(b"x", ("255.255.255.255", 9))
    udp.set_broadcast(True)
    udp.set_ttl(17)
    udp.set_multicast_ttl(18)
    udp.set_multicast_loop(False)
    with socket.socket(fileno=udp.fileno()) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 17
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 18
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        sock.detach()
    udp.send_buffer_size = 50_000
    assert udp.send_buffer_size >= 50_000
    udp.close()
    loop.run()


@pytest.mark.parametrize(
    ("verb", "arguments", "error", "message"),
    [
        ("set_ttl", (0,), ValueError, "ttl: expected an int from 1 to 255"),
        ("set_multicast_ttl", (256,), ValueError, "ttl: expected an int from 1 to 255"),
        ("set_membership", (17,), TypeError, "group: expected an address as a str"),
        ("set_membership", ("239.0.0.1\0",), ValueError, "group: '239.0.0.1"),
        ("set_membership", ("not a group",), uvbind.UVError, "group: 'not a group'"),
        ("set_membership", ("127.0.0.1",), uvbind.UVError, "group: '127.0.0.1'"),
        ("set_membership", ("239.0.0.1", "nowhere"), uvbind.UVError, "group: '239.0.0.1'"),
        ("set_multicast_interface", ("nowhere",), uvbind.UVError, "interface: 'nowhere'"),
        ("set_multicast_interface", (17,), TypeError, "interface: expected an address"),
    ],
)
def test_bad_options_are_named(loop, verb, arguments, error, message):
    udp = uvbind.UDP(loop)
    udp.bind(LOCALHOST)
    with pytest.raises(error, match=message):
        getattr(udp, verb)(*arguments)
    udp.close()
    loop.run()
