"""Name lookups: what comes back, and what goes wrong. Slow ones: test_dns_threads.py."""

from __future__ import annotations

import ipaddress
import itertools
import socket

import pytest
from helpers import Oops, fail, ignore, in_child, needs_fork, needs_libuv
from hypothesis import given
from hypothesis import strategies as st

import uvbind
from uvbind import UVError, getaddrinfo, getnameinfo

STREAM = socket.SOCK_STREAM


class Answer:
    """A callback that keeps what it gets, which must come once."""

    def __init__(self) -> None:
        self.request = self.results = self.error = None

    def __call__(self, request, results, error):
        assert self.request is None, "called twice"
        self.request, self.results, self.error = request, results, error


def both_ways(loop, function, *arguments, **options):
    """Look up blocking and with a callback, which must agree, and return what came of it."""
    answer = Answer()
    request = function(loop, *arguments, callback=answer, **options)
    assert isinstance(request, uvbind.Request) and answer.request is None
    loop.run()
    assert answer.request is request
    try:
        results = function(loop, *arguments, **options)
    except UVError as error:
        assert answer.results is None
        assert type(answer.error) is type(error) and str(answer.error) == str(error)
        raise
    assert answer.error is None and answer.results == results
    return results


def in_short(results):
    """PyPy leaves the scope in the host, where nobody needs it beside the scope id."""
    return [(*rest, (address[0].partition("%")[0], *address[1:])) for *rest, address in results]


# -- getaddrinfo


@pytest.mark.parametrize(
    ("host", "service"),
    [
        *itertools.product(
            ["127.0.0.1", "::1", "0x7f.1", "fe80::1%lo", "localhost"],
            ["80", 80, "http", b"http", 0, None],
        ),
        (None, 80),
        (None, "http"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"type": STREAM}, {"flags": socket.AI_PASSIVE}])
def test_the_results_are_those_of_the_socket_module(loop, host, service, options):
    try:
        expected = in_short(socket.getaddrinfo(host, service, **options))
    except socket.gaierror as error:  # a system without /etc/services (Debian: netbase)
        with pytest.raises(UVError) as caught:
            both_ways(loop, getaddrinfo, host, service, **options)
        assert error.errno == socket.EAI_SERVICE and caught.value.name == "EAI_SERVICE"
        return
    results = both_ways(loop, getaddrinfo, host, service, **options)
    assert results == expected
    for family, type, *_ in results:
        assert isinstance(family, socket.AddressFamily) and isinstance(type, socket.SocketKind)


@pytest.mark.parametrize(
    "options",
    [
        {"family": socket.AF_INET},
        {"family": socket.AF_INET6, "flags": socket.AI_V4MAPPED},
        {"type": socket.SOCK_DGRAM},
        {"proto": socket.IPPROTO_TCP},
        {"flags": socket.AI_CANONNAME},
        {"flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV},
    ],
)
def test_the_hints_count(loop, options):
    results = both_ways(loop, getaddrinfo, "127.0.0.1", 80, **options)
    assert results == socket.getaddrinfo("127.0.0.1", 80, **options)


@given(address=st.ip_addresses(v=4) | st.ip_addresses(v=6), port=st.integers(0, 65535))
def test_a_numeric_host_comes_back_as_it_was(address, port):
    with uvbind.Loop() as loop:
        ((family, _, _, _, found),) = both_ways(loop, getaddrinfo, str(address), port, type=STREAM)
        assert family == (socket.AF_INET if address.version == 4 else socket.AF_INET6)
        assert (ipaddress.ip_address(found[0]), found[1]) == (address, port)
        names = both_ways(loop, getnameinfo, found, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        assert names == (found[0], str(port))


def test_a_scope_id_survives_both_ways(loop):
    name = uvbind.interface_addresses()[0].name
    index = uvbind.interface_addresses()[0].index
    ((*_, address),) = both_ways(loop, getaddrinfo, f"fe80::1%{name}", 80, type=STREAM)
    assert address == ("fe80::1", 80, 0, index)
    assert both_ways(loop, getnameinfo, address, socket.NI_NUMERICHOST)[0] == f"fe80::1%{name}"


def test_a_host_in_bytes_is_the_same(loop):
    assert getaddrinfo(loop, b"127.0.0.1", 80) == getaddrinfo(loop, "127.0.0.1", 80)


# Names that end in .invalid exist nowhere (RFC 6761).
@pytest.mark.parametrize("host", ["no-such-host.invalid", "1and1.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_does_not_exist(loop, host):
    with pytest.raises(socket.gaierror, match=host[:20]) as caught:
        both_ways(loop, getaddrinfo, host, 80)
    # Without any name server, as here and there in a sandbox, it is "try again".
    assert caught.value.name in ("EAI_NONAME", "EAI_AGAIN", "EAI_NODATA")
    assert caught.value.errno == getattr(socket, caught.value.name)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (("127.0.0.1", "no-such-service"), {}, "EAI_SERVICE"),
        (("::1", 80), {"family": socket.AF_INET}, "EAI_ADDRFAMILY"),
        (("127.0.0.1", 80), {"family": 250}, "EAI_FAMILY"),
        (("127.0.0.1", 80), {"type": 77}, "EAI_SOCKTYPE"),
        (("localhost", 80), {"flags": socket.AI_NUMERICHOST}, "EAI_NONAME"),
    ],
)
def test_what_the_system_refuses_arrives_where_results_do(loop, arguments, options, name):
    with pytest.raises(socket.gaierror) as caught:
        both_ways(loop, getaddrinfo, *arguments, **options)
    assert isinstance(caught.value, UVError) and caught.value.name == name


@pytest.mark.parametrize(
    ("host", "service", "name", "words"),
    [
        ("", 80, "EAI_NONAME", "host: ''"),
        (b"", 80, "EAI_NONAME", "host: b''"),
        ("a" * 256, 80, "EAI_NONAME", "255"),
        ("ü" * 300, 80, "EAI_NONAME", "255"),
        ("ü" * 70, 80, "EAI_NONAME", "label"),
        ("\ud800", 80, "EAI_NONAME", "host"),
        (None, None, "EAI_NONAME", "one of them is needed"),
        ("127.0.0.1", "99999", "EAI_SERVICE", "service: '99999'"),
        ("127.0.0.1", "9" * 5000, "EAI_SERVICE", "service"),
        ("127.0.0.1", "", "EAI_SERVICE", "service: ''"),
    ],
)
def test_what_is_no_name_is_refused_at_once(loop, host, service, name, words):
    for callback in (None, fail):
        with pytest.raises(socket.gaierror, match=words) as caught:
            getaddrinfo(loop, host, service, callback=callback)
        assert isinstance(caught.value, UVError) and caught.value.name == name


@pytest.mark.parametrize(
    ("function", "arguments", "options", "error", "words"),
    [
        (getaddrinfo, ("a\0b", 80), {}, ValueError, "host.*NUL"),
        (getaddrinfo, ("a", "8\0"), {}, ValueError, "service.*NUL"),
        (getaddrinfo, (127, 80), {}, TypeError, "host: expected a str"),
        (getaddrinfo, (bytearray(b"a"), 80), {}, TypeError, "host: expected a str"),
        (getaddrinfo, ("127.0.0.1", 65536), {}, ValueError, "service"),
        (getaddrinfo, ("127.0.0.1", -1), {}, ValueError, "service"),
        (getaddrinfo, ("127.0.0.1", 8.0), {}, TypeError, "service"),
        (getaddrinfo, ("127.0.0.1", 80), {"family": -1}, ValueError, "family"),
        (getaddrinfo, ("127.0.0.1", 80), {"type": "x"}, TypeError, "type"),
        (getaddrinfo, ("127.0.0.1", 80), {"callback": 7}, TypeError, "callback"),
        (getaddrinfo, ("127.0.0.1", 80), {"flags": 0x40}, socket.gaierror, "flags: 0x40"),
        (getnameinfo, (("127.0.0.1", 80),), {"flags": 0x20}, socket.gaierror, "flags: 0x20"),
        (getnameinfo, (("localhost", 80),), {}, ValueError, "address: host"),
        (getnameinfo, ("127.0.0.1",), {}, TypeError, "address"),
        (getnameinfo, (("127.0.0.1", 80),), {"callback": 7}, TypeError, "callback"),
    ],
)
def test_bad_arguments(loop, function, arguments, options, error, words):
    with pytest.raises(error, match=words):
        function(loop, *arguments, **options)
    with pytest.raises(TypeError, match="loop"):
        function(None, *arguments, **{**options, "flags": 0})


def test_a_non_ascii_name_is_encoded_as_the_socket_module_does(loop):
    with pytest.raises(socket.gaierror, match="BÜCHER"):
        getaddrinfo(loop, "BÜCHER.invalid", 80)
    # An address in full-width digits is one to the C library only after that encoding.
    host = "127.0.0.1".replace("7", "\N{FULLWIDTH DIGIT SEVEN}")
    assert getaddrinfo(loop, host, 80) == socket.getaddrinfo(host, 80)


# -- getnameinfo


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 443), ("::1", 443, 0, 0)])
@pytest.mark.parametrize(
    "flags", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV, socket.NI_DGRAM]
)
def test_names_are_those_of_the_socket_module(loop, address, flags):
    assert both_ways(loop, getnameinfo, address, flags) == socket.getnameinfo(address, flags)


def test_an_address_without_a_name(loop):
    address = ("192.0.2.1", 9)  # reserved for documentation (RFC 5737)
    with pytest.raises(socket.gaierror, match=r"192\.0\.2\.1"):
        both_ways(loop, getnameinfo, address, socket.NI_NAMEREQD)


# -- callbacks


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_callbacks_come_in_order_and_one_may_start_the_next(loop, host):
    calls = []

    def again(request, results, error):
        calls.append(len(calls))
        if len(calls) < 5:
            getaddrinfo(loop, host, 80, callback=again)

    getaddrinfo(loop, host, 80, callback=again)
    loop.run()
    assert calls == [0, 1, 2, 3, 4]


@needs_libuv(1, 45)
def test_a_numeric_lookup_in_a_callback_waits_for_the_next_turn(loop):
    turns = []

    def first(request, results, error):
        turns.append(loop.metrics_info().loop_count)
        getaddrinfo(loop, "::1", 80, callback=second)

    def second(request, results, error):
        turns.append(loop.metrics_info().loop_count)

    getaddrinfo(loop, "127.0.0.1", 80, callback=first)
    loop.run()
    assert turns[1] == turns[0] + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_a_callback_raises_comes_out_of_run(loop, host):
    getaddrinfo(loop, host, 80, callback=fail)
    with pytest.raises(Oops):
        loop.run()


def test_lookups_keep_the_loop_alive_and_open(loop):
    answers = [Answer(), Answer()]
    requests = [
        getaddrinfo(loop, host, 80, callback=answer)
        for host, answer in zip(("127.0.0.1", "localhost"), answers)
    ]
    assert loop.alive() and "pending" in repr(requests[0])
    with pytest.raises(UVError, match="pending requests: 2"):
        loop.close()
    loop.run()
    assert all(answer.results for answer in answers) and "done" in repr(requests[0])


def test_a_numeric_lookup_can_be_cancelled_until_its_callback(loop):
    answers = [Answer(), Answer()]
    requests = [getaddrinfo(loop, "127.0.0.1", 80, callback=answer) for answer in answers]
    requests[0].cancel()
    loop.run()
    assert answers[0].results is None and answers[0].error.name == "EAI_CANCELED"
    assert isinstance(answers[0].error, socket.gaierror)
    assert answers[1].results and answers[1].error is None
    with pytest.raises(UVError, match="is done") as caught:
        requests[0].cancel()
    assert caught.value.name == "EINVAL"


def test_leaving_a_loop_ends_its_lookups():
    answers = [Answer(), Answer(), Answer()]
    with uvbind.Loop() as loop:
        getaddrinfo(loop, "127.0.0.1", 80, callback=answers[0])
        getaddrinfo(loop, "localhost", 80, callback=answers[1])
        getnameinfo(loop, ("127.0.0.1", 80), callback=answers[2])
    assert answers[0].error.name == "EAI_CANCELED"
    assert all(answer.request is not None for answer in answers)


def test_a_closed_loop_looks_nothing_up():
    loop = uvbind.Loop()
    loop.close()
    for callback in (None, ignore):
        with pytest.raises(RuntimeError, match="closed"):
            getaddrinfo(loop, "127.0.0.1", 80, callback=callback)
        with pytest.raises(RuntimeError, match="closed"):
            getnameinfo(loop, ("127.0.0.1", 80), callback=callback)


@needs_fork
def test_lookups_work_in_a_child(bare):
    getaddrinfo(bare, "localhost", 80, callback=ignore)  # the threads stay with the parent
    bare.run()

    def child():
        bare.fork()
        answer = Answer()
        getaddrinfo(bare, "localhost", 80, callback=answer)
        bare.run()
        return answer.error, len(answer.results) > 0

    assert in_child(child) == "(None, True)"


def test_flags_are_whatever_is_an_integer(loop):
    class Numeric:
        def __index__(self):
            return socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

    names = both_ways(loop, getnameinfo, ("127.0.0.1", 80), Numeric())
    assert names == ("127.0.0.1", "80")
