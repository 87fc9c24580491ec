"""The options of UDP sockets: sharing a port, multicast, broadcast, hops."""

from __future__ import annotations

import socket
import sys

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
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both:
        both.bind(("::", 0))  # a port that nobody has in either family
        port = both.getsockname()[1]
    ipv6.bind(("::", port), ipv6only=True)
    ipv4.bind(("127.0.0.1", port))
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


def _made_early(loop):
    return uvbind.UDP(loop, socket.AF_INET6)


def _bound(loop):
    udp = uvbind.UDP(loop)
    udp.bind(("::", 0))
    return udp


def _opened(loop):
    udp = uvbind.UDP(loop)
    udp.open(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    return udp


@pytest.mark.parametrize("make", [_made_early, _bound, _opened])
def test_options_of_an_ipv6_socket_reach_both_families(loop, make):
    udp = make(loop)
    udp.set_ttl(17)
    udp.set_multicast_ttl(18)
    udp.set_multicast_loop(False)
    with socket.socket(fileno=udp.fileno()) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 17
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 18
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        if sys.platform == "linux":  # what IPv4 sends through it
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 17
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 18
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        sock.detach()
    udp.close()
    loop.run()


@pytest.mark.parametrize(
    "verb", ["set_ttl", "set_multicast_ttl", "set_multicast_loop", "set_broadcast"]
)
def test_an_option_needs_a_socket(loop, verb):
    udp = uvbind.UDP(loop)
    with pytest.raises(uvbind.UVError) as caught:
        getattr(udp, verb)(1)
    assert caught.value.name == "EBADF"
    with pytest.raises(uvbind.UVError) as caught:
        udp.set_multicast_interface(None)
    assert caught.value.name == "EBADF"
    udp.close()
    loop.run()


@pytest.mark.parametrize(
    "verb", ["set_ttl", "set_multicast_ttl", "set_multicast_loop", "set_multicast_interface"]
)
def test_options_of_internet_sockets_are_not_for_unix_sockets(loop, verb):
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    udp = uvbind.UDP(loop)
    udp.open(ours)
    with theirs, pytest.raises(uvbind.UVError):
        getattr(udp, verb)("127.0.0.1" if verb == "set_multicast_interface" else 1)
    udp.close()
    loop.run()
