"""Lookups take, return and raise what the socket module's functions do, whatever the arguments.

No case needs a name server: a host that is no number comes with AI_NUMERICHOST, or is localhost.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import socket
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uvbind

NUMERIC = {"flags": socket.AI_NUMERICHOST}
NUMERIC_HOSTS = [None, "127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1"), "::1", "127.1", "0x7f.1"]
NUMERIC_HOSTS += [
    "fe80::1%lo",
    "fe80::1%nosuch",
    "::ffff:1.2.3.4",
    "\uff1a\uff1a1",
    "127\u30020\u30020\u30021",
]
OTHER_HOSTS = [
    "",
    b"",
    "a..b",
    ".a",
    "1..2",
    "127.0.0.1.",
    " 127.0.0.1",
    "256.1.1.1",
    "%lo",
    "LOCAL",
]
OTHER_HOSTS += [
    "x" * 63,
    "x" * 64,
    "x" * 64 + ".b",
    "x" * 300,
    "1\0",
    "\ud800",
    "\xe4" * 70,
    1,
    object,
]
PORTS = [None, 0, 80, 65535, 65536, -1, 2**31, 2**70, "80", "", "99999", "http", "no-such-service"]
PORTS += [b"80", b"", True, False, 1.5, "8\0", "0x50", " 80", "-1", "\xe4", "\ud800"]
HINTS = [
    {},
    {"type": socket.SOCK_STREAM},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP},
    {"flags": socket.AI_PASSIVE},
    {"flags": socket.AI_CANONNAME},
    {"flags": 2**31 - 1},
    {"flags": -1},
    {"flags": 2**40},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6, "flags": socket.AI_V4MAPPED},
    {"family": 99},
    {"family": -1},
    {"family": None},
    {"family": 1.0},
    {"type": True},
    {"type": 99},
    {"proto": 999},
]
ADDRESSES = [("127.0.0.1", 80), ("127.0.0.1", 80, 0), ("::1", 80), ("::1", 80, 0, 0), ["::1", 80]]
ADDRESSES += [("::1", 80, 1, 2), ("::1", 80, 2**21, 0), ("::1", 80, -1, 0), ("::1", 80, 0, 0, 0)]
ADDRESSES += [("127.0.0.1", port) for port in (True, "80", -1, 65536, 2**70)]
ADDRESSES += [
    (host, 80) for host in ("", None, b"127.0.0.1", "1.1", "\ud800", "\xe4", "127.0.0.1\0")
]
ADDRESSES += [
    ("::1%lo", 80),
    ("fe80::1%lo", 80, 0, 0),
    ("fe80::1", 80, 0, 1),
    ("fe80::1", 80, 0, 77),
]
ADDRESSES += [("127.0.0.1",), (), (5, 80), (5, 80, 1), "x", 5, None]
NI_NUMERIC = socket.NI_NUMERICHOST
NAME_FLAGS = [NI_NUMERIC, NI_NUMERIC | socket.NI_NUMERICSERV, NI_NUMERIC | socket.NI_NAMEREQD]
NAME_FLAGS += [NI_NUMERIC | socket.NI_DGRAM, NI_NUMERIC | 1 << 30, -1, True, None, 2**40, "x"]


def outcome(look_up):
    """Return the result of a lookup, with all types, or its exception."""
    try:
        found = look_up()
    except Exception as error:
        return type(error), error.args, getattr(error, "errno", None), str(error)
    return found, [list(map(type, one)) for one in found]


@contextlib.contextmanager
def comparing():
    """Look up with a function of the socket module and with a loop, and compare the outcomes."""
    loop = uvbind.new_event_loop()

    def compare(name, *arguments, **hints):
        function = getattr(loop, name)
        ours = outcome(lambda: loop.run_until_complete(function(*arguments, **hints)))
        expected = outcome(lambda: getattr(socket, name)(*arguments, **hints))
        assert ours == expected, f"{name}(*{arguments}, **{hints})"

    try:
        yield compare
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.mark.parametrize("host", [*NUMERIC_HOSTS, "localhost", "LocalHost"])
def test_hosts_that_need_no_name_server(host):
    with comparing() as compare:
        for port, hints in itertools.product(PORTS, HINTS):
            compare("getaddrinfo", host, port, **hints)


@pytest.mark.parametrize("host", [*NUMERIC_HOSTS, *OTHER_HOSTS], ids=ascii)
def test_hosts_that_are_to_be_numeric(host):
    with comparing() as compare:
        for port, hints in itertools.product(PORTS, HINTS):
            compare("getaddrinfo", host, port, **{**hints, **NUMERIC})


@given(
    st.text(st.sampled_from("01289.:%xlo\xe4\0\u3002"), max_size=70) | st.binary(max_size=4),
    st.none() | st.integers(-(2**33), 2**33) | st.text("0123456789-+x ", max_size=8),
    st.integers(-1, 11),
    st.integers(-1, 6),
    st.integers(-1, 20),
)
def test_any_host_that_is_to_be_numeric(host, port, family, kind, proto):
    with comparing() as compare:
        compare("getaddrinfo", host, port, family=family, type=kind, proto=proto, **NUMERIC)


def test_a_thread_tells_what_went_wrong_as_the_socket_module_does():
    with comparing() as compare:
        for kind in (99, socket.SOCK_RAW):
            compare("getaddrinfo", "localhost", 80, type=kind)
        compare("getaddrinfo", "localhost", 80, family=99)
        compare("getaddrinfo", ".".join(["x" * 63] * 4), 80)  # longer than a query can be


@pytest.mark.parametrize("flags", NAME_FLAGS)
def test_names_of_addresses(flags):
    with comparing() as compare:
        for address in ADDRESSES:
            compare("getnameinfo", address, flags)


def test_a_failed_connection_raises_what_the_lookup_raised():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror) as raised:
            await loop.create_connection(asyncio.Protocol, "localhost", 80, flags=1 << 30)
        return raised.value

    error = uvbind.run(main())
    assert outcome(lambda: socket.getaddrinfo("localhost", 80, flags=1 << 30)) == (
        type(error),
        error.args,
        error.errno,
        str(error),
    )
    assert error.__context__ is None and error.__cause__ is None


# -- a program's own functions


@pytest.fixture
def run_debug(new_loop):
    """Run a coroutine function in a loop of its own, in debug mode or not."""

    def run(main, debug):
        loop = new_loop()
        try:
            loop.set_debug(debug)
            result = loop.run_until_complete(main(loop))
            loop.run_until_complete(loop.shutdown_default_executor())
            return result
        finally:
            loop.close()

    return run


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1", b"localhost"])
def test_a_replaced_getaddrinfo_is_called(run_debug, host, debug):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 80))]

    async def main(loop):
        with mock.patch("socket.getaddrinfo", return_value=found) as replaced:
            assert await loop.getaddrinfo(host, 80, proto=6) == found
        assert replaced.call_count == 1
        assert replaced.call_args.args[:2] == (host, 80)
        assert await loop.getaddrinfo("::1", 80) == socket.getaddrinfo("::1", 80)

    run_debug(main, debug)


def test_a_wrapped_getaddrinfo_is_called(run_debug, monkeypatch):
    """Programs cache names so, or choose a family."""
    real, asked = socket.getaddrinfo, []

    @functools.wraps(real)
    def wrapped(host, *arguments, **hints):
        asked.append(host)
        return real("127.0.0.1", *arguments, **hints)

    async def main(loop):
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        monkeypatch.setattr(socket, "getaddrinfo", wrapped)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "some.name.invalid", port)
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        transport.close()
        server.close()
        await server.wait_closed()

    run_debug(main, debug=False)
    assert asked == ["some.name.invalid"]


def test_what_a_replaced_getaddrinfo_raises_is_raised(run_debug):
    async def main(loop):
        failure = socket.gaierror(-2, "of the test's")
        with mock.patch("socket.getaddrinfo", side_effect=failure):
            with pytest.raises(socket.gaierror) as raised:
                await loop.create_connection(asyncio.Protocol, "some.name.invalid", 80)
            assert raised.value is failure

    run_debug(main, debug=False)


def test_a_replaced_getnameinfo_is_called(run_debug):
    async def main(loop):
        with mock.patch("socket.getnameinfo", return_value=("a", "b")) as replaced:
            assert await loop.getnameinfo(("127.0.0.1", 80), 0) == ("a", "b")
        replaced.assert_called_once_with(("127.0.0.1", 80), 0)

    run_debug(main, debug=False)


def test_debug_mode_logs_lookups(run_debug, caplog):
    async def main(loop):
        with caplog.at_level(logging.DEBUG, "asyncio"):
            await loop.getaddrinfo("127.0.0.1", 80)

    run_debug(main, debug=True)
    assert any("address info" in text for text in caplog.messages)
