"""Network interfaces, addresses as text, the host's name, and what descriptors are."""

from __future__ import annotations

import ipaddress
import os
import pickle
import pty
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import uvbind
from uvbind import HandleType, _network

FAMILIES = (socket.AF_INET, socket.AF_INET6)


def number_of(interface):
    if hasattr(socket, "if_nametoindex"):
        return socket.if_nametoindex(interface)
    return int(Path(f"/sys/class/net/{interface.split(':')[0]}/ifindex").read_text())  # PyPy


LOOPBACK = number_of("lo")


# -- interfaces (more of them, and link-local addresses, in test_network_namespaces.py)


def test_the_loopback_interface():
    (ipv4,) = [entry for entry in uvbind.interface_addresses() if entry.address == "127.0.0.1"]
    assert ipv4 == (
        "lo",
        "00:00:00:00:00:00",
        True,
        "127.0.0.1",
        "255.0.0.0",
        8,
        socket.AF_INET,
        0,
        LOOPBACK,
    )
    assert ipv4.family is socket.AF_INET and ipv4.is_internal is True
    with pytest.raises(AttributeError):
        ipv4.name = "eth0"
    assert pickle.loads(pickle.dumps(ipv4)) == ipv4


def test_fields_fit_each_other():
    for entry in uvbind.interface_addresses():
        interface = ipaddress.ip_interface(f"{entry.address}/{entry.prefix_length}")
        assert int(interface.netmask) == int(ipaddress.ip_address(entry.netmask))
        assert (interface.version == 6) == (entry.family == socket.AF_INET6)
        assert entry.index == number_of(entry.name)
        link_local = interface.version == 6 and interface.is_link_local
        assert entry.scope_id == (entry.index if link_local else 0)
        assert len(bytes.fromhex(entry.phys_addr.replace(":", ""))) == 6


def test_more_addresses_than_there_is_room_for(monkeypatch):
    whole = uvbind.interface_addresses()
    for room in (1, 20, 50):
        monkeypatch.setattr(_network, "_ROOM", room)
        assert uvbind.interface_addresses() == whole


def test_names_of_interfaces():
    assert uvbind.if_indextoname(LOOPBACK) == uvbind.if_indextoiid(LOOPBACK) == "lo"
    for verb in (uvbind.if_indextoname, uvbind.if_indextoiid):
        for number in (0, 2**31 - 1, 2**32 - 1):
            with pytest.raises(uvbind.UVError, match=rf"{verb.__name__}\({number}\): ") as caught:
                verb(number)
            assert caught.value.name == "ENXIO"
        for number in (-1, 2**32, 2**70):
            with pytest.raises(ValueError, match="index: expected an int from 0 to 4294967295"):
                verb(number)
        with pytest.raises(TypeError, match="index: expected an int, not str"):
            verb("lo")


# -- addresses


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 80), "127.0.0.1"),
        (("0:0::0:1", 80), "::1"),
        (("FE80::00A1", 80, 0, 7), "fe80::a1"),
        (("fe80::a1%lo", 80), "fe80::a1"),
    ],
)
def test_ip_name_is_the_host_alone(address, name):
    assert uvbind.ip_name(address) == name


def test_ip_name_takes_addresses_only():
    with pytest.raises(TypeError, match=r"address: expected \(host, port\)"):
        uvbind.ip_name("127.0.0.1")
    with pytest.raises(ValueError, match="is not a numeric"):
        uvbind.ip_name(("localhost", 80))


@given(st.sampled_from(FAMILIES), st.data())
def test_any_address_comes_back(family, data):
    packed = data.draw(st.binary(min_size=4, max_size=4) if family is FAMILIES[0] else IPV6)
    text = uvbind.inet_ntop(family, packed)
    assert text == socket.inet_ntop(family, packed)
    assert uvbind.inet_pton(family, text) == packed
    assert uvbind.inet_ntop(family, bytearray(packed)) == text
    assert uvbind.ip_name((text, 0)) == text


# Zeros are what the short forms are about.
IPV6 = st.lists(
    st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff"]) | st.binary(min_size=2, max_size=2),
    min_size=8,
    max_size=8,
).map(b"".join)

WITHOUT_SCOPE = st.text(max_size=20).filter(lambda text: "%" not in text)
NEARLY = st.text("0123456789abcdefABCDEFgx:.: \0\u0661", max_size=50) | st.lists(
    st.sampled_from(["", "0", "00", "1", "255", "256", "ffff", "12345", "1.2.3.4", ":", "::"]),
    max_size=10,
).map(":".join)


@given(st.sampled_from(FAMILIES), NEARLY | WITHOUT_SCOPE)
@example(socket.AF_INET, "01.2.3.4")
@example(socket.AF_INET, "1.2.3.4\0")
@example(socket.AF_INET, "1.2.3.256")
@example(socket.AF_INET, "1.2.3")
@example(socket.AF_INET6, "1:2:3:4:5:6:7::")
@example(socket.AF_INET6, "1:2:3:4::5:6:7:8")
@example(socket.AF_INET6, "::1.2.3.4")
@example(socket.AF_INET6, "::1.2.3.04")
@example(socket.AF_INET6, "\udc80")
def test_inet_pton_agrees_with_the_c_library(family, text):
    try:
        expected = socket.inet_pton(family, text.replace("\0", "?"))  # PyPy stops at a NUL
    except (OSError, ValueError):  # ValueError is the surrogate's
        with pytest.raises(uvbind.UVError, match=r"text: .* is no IPv[46] address") as caught:
            uvbind.inet_pton(family, text)
        assert caught.value.name == "EINVAL"
    else:
        assert uvbind.inet_pton(family, text) == expected


def test_inet_pton_ignores_the_scope_where_the_c_library_refuses_it():
    packed = socket.inet_pton(socket.AF_INET6, "fe80::1")
    for text in ("fe80::1%lo", "fe80::1%no such interface", "fe80::1%"):
        assert uvbind.inet_pton(socket.AF_INET6, text) == packed
        with pytest.raises(OSError):
            socket.inet_pton(socket.AF_INET6, text)
    with pytest.raises(uvbind.UVError, match=r"text: '127\.0\.0\.1%lo' is no IPv4 address"):
        uvbind.inet_pton(socket.AF_INET, "127.0.0.1%lo")
    with pytest.raises(uvbind.UVError, match="text: '1111"):
        uvbind.inet_pton(socket.AF_INET6, "1" * 1000 + "%lo")


def test_bad_input_of_addresses_is_named():
    for verb, argument in ((uvbind.inet_pton, "::1"), (uvbind.inet_ntop, bytes(16))):
        with pytest.raises(uvbind.UVError, match=r"family: expected socket\.AF_INET or") as caught:
            verb(socket.AF_UNIX, argument)
        assert caught.value.name == "EAFNOSUPPORT"
        with pytest.raises(TypeError, match="family: expected an int, not str"):
            verb("inet", argument)
        with pytest.raises(ValueError, match="family: expected an int from 0"):
            verb(-1, argument)
    for family, size in ((socket.AF_INET, 16), (socket.AF_INET, 0), (socket.AF_INET6, 4)):
        with pytest.raises(ValueError, match=rf"packed: expected \d+ bytes, not {size}"):
            uvbind.inet_ntop(family, bytes(size))
    with pytest.raises(TypeError, match="packed: expected a bytes-like object, not str"):
        uvbind.inet_ntop(socket.AF_INET, "1234")
    with pytest.raises(TypeError, match="text: expected a str, not bytes"):
        uvbind.inet_pton(socket.AF_INET, b"127.0.0.1")


# -- the machine, and descriptors


def test_the_name_of_the_machine():
    assert uvbind.os_gethostname() == socket.gethostname()


def test_text_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr("uvbind._address._TEXT_SIZE", 2)
    with pytest.raises(uvbind.UVError, match=r"if_indextoname\(\d+\): no buffer space"):
        uvbind.if_indextoname(LOOPBACK)


def test_what_a_descriptor_is(tmp_path):
    leader, follower = pty.openpty()
    reader, writer = os.pipe()
    left, right = socket.socketpair()
    folder = os.open(tmp_path, os.O_RDONLY)
    tcp, tcp6, udp, unix_udp = (
        socket.socket(*kind)
        for kind in (
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_DGRAM),
        )
    )
    try:
        with left, right, tcp, tcp6, udp, unix_udp, open(tmp_path / "f", "w") as file:
            for what, kind in (
                (follower, HandleType.TTY),
                (reader, HandleType.NAMED_PIPE),
                (left, HandleType.NAMED_PIPE),
                (tcp, HandleType.TCP),
                (tcp6, HandleType.TCP),
                (udp, HandleType.UDP),
                (file, HandleType.FILE),
                (unix_udp, HandleType.UNKNOWN_HANDLE),
                (folder, HandleType.UNKNOWN_HANDLE),
            ):
                assert uvbind.guess_handle(what) is kind
        with open(os.devnull) as null:
            assert uvbind.guess_handle(null.fileno()) is HandleType.FILE
    finally:
        for fd in (leader, follower, reader, writer, folder):
            os.close(fd)


def test_what_is_no_descriptor_is_an_error():
    with pytest.raises(uvbind.UVError, match="file: 1000000: bad file descriptor"):
        uvbind.guess_handle(10**6)
    for number in (-1, 2**31):
        with pytest.raises(ValueError, match=r"file: -?\d+ is not an open file descriptor"):
            uvbind.guess_handle(number)
    with pytest.raises(TypeError, match="file: expected a file descriptor or an object"):
        uvbind.guess_handle("stdin")
