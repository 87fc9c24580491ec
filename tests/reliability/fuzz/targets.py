"""The targets of fuzzing: each takes atheris's data provider and raises for a fault only."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import uvbind
from uvbind import TCP, UDP, Loop, Pipe, getaddrinfo, getnameinfo
from uvbind._address import pack, unpack
from uvbind._dns_arguments import host_bytes, service_bytes

# Arguments are refused with one of these, and so is a call that the system refuses.
REFUSALS = (OSError, ValueError, TypeError, OverflowError)
WORDS = ["127.0.0.1", "::1", "fe80::1%lo", "224.0.0.1", "ff02::1%1", "localhost", "", "0", "\0x"]
NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Index:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def value(data: Any, depth: int = 2) -> Any:
    """Return an object of a type that somebody could pass, or of another."""
    kind = data.ConsumeIntInRange(0, 15 if depth else 11)
    if kind <= 1:
        return data.PickValueInList(WORDS)
    if kind <= 3:
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 70))
    if kind == 4:
        return data.ConsumeIntInRange(0, 65535)
    if kind == 5:
        return data.ConsumeInt(12)
    if kind == 6:
        return data.PickValueInList([None, True, 1.5, b"", 0, -1, 2**31, 2**32, 2**63, 2**64])
    if kind == 7:
        return data.ConsumeBytes(data.ConsumeIntInRange(0, 120))
    if kind == 8:
        return bytearray(data.ConsumeBytes(8))
    if kind == 9:
        return memoryview(data.ConsumeBytes(16))[:: data.PickValueInList([1, 2, -1])]
    if kind == 10:
        return Index(data.ConsumeInt(9))
    if kind == 11:
        return object
    parts = [value(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 5))]
    return tuple(parts) if kind <= 14 else parts


def refused(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call; None when the arguments are refused."""
    try:
        return function(*arguments, **options)
    except REFUSALS:
        return None


def addresses(data: Any) -> None:
    """A packed address is unpacked as the same, and the C library agrees about hosts."""
    parts = [data.PickValueInList(WORDS) if data.ConsumeBool() else data.ConsumeUnicode(60)]
    parts += [data.ConsumeIntInRange(-2, 65540)]
    parts += [data.ConsumeInt(5) for _ in range(data.ConsumeIntInRange(0, 2))]
    packed = refused(pack, tuple(parts))
    if packed is not None:
        found = unpack(packed)
        family = socket.AF_INET if len(found) == 2 else socket.AF_INET6
        assert found[1] == parts[1], (parts, found)
        assert len(parts) < 3 or len(found) == 2 or found[2] == parts[2], (parts, found)
        host, theirs = found[0].partition("%")[0], parts[0].partition("%")[0]
        assert socket.inet_pton(family, host) == socket.inet_pton(family, theirs), (parts, found)
    refused(pack, value(data))


def names(data: Any) -> None:
    """The arguments of lookups; none goes to a name server."""
    host, service = value(data), value(data)
    refused(host_bytes, host)
    refused(service_bytes, service)
    refused(uvbind.inet_pton, value(data), value(data))
    refused(uvbind.inet_ntop, value(data), value(data))
    refused(uvbind.ip_name, value(data))
    refused(uvbind.if_indextoname, value(data))
    with Loop() as loop:
        options = {"family": value(data, 0), "type": value(data, 0), "proto": value(data, 0)}
        refused(getaddrinfo, loop, host, service, flags=NUMERIC, **options)
        refused(getaddrinfo, loop, "127.0.0.1", 80, flags=value(data, 0))
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        refused(getnameinfo, loop, value(data), flags)


def verbs(data: Any) -> None:
    """Verbs of handles, called in any order with any arguments, on a host without a network."""
    with Loop() as loop:
        udp, tcp, pipe = UDP(loop), TCP(loop), Pipe(loop)
        for _ in range(data.ConsumeIntInRange(1, 8)):
            name = value(data, 1)
            if isinstance(name, (str, bytes)):  # a path is to stay in the folder
                name = name.replace("/", "") if isinstance(name, str) else name.replace(b"/", b"")
            verb: Callable[[], Any] = data.PickValueInList(
                [
                    lambda: udp.bind(value(data)),
                    lambda: udp.connect(value(data)),
                    lambda: udp.try_send(value(data), value(data)),
                    lambda: udp.try_send_batch(value(data)),
                    lambda: udp.try_send_batch([(value(data), value(data)), value(data)]),
                    lambda: udp.send(value(data), value(data)),
                    lambda: udp.set_membership(value(data, 0), value(data, 0), value(data, 0)),
                    lambda: udp.set_source_membership(
                        value(data, 0), value(data, 0), value(data, 0), value(data, 0)
                    ),
                    lambda: udp.set_multicast_interface(value(data, 0)),
                    lambda: udp.set_multicast_ttl(value(data, 0)),
                    lambda: udp.set_ttl(value(data, 0)),
                    lambda: udp.recv_start(value(data, 0)),
                    lambda: tcp.bind(value(data)),
                    lambda: tcp.connect(value(data), value(data, 0)),
                    lambda: tcp.keepalive(value(data, 0), value(data, 0)),
                    lambda: tcp.write(value(data)),
                    lambda name=name: pipe.bind(name),
                    lambda name=name: pipe.bind2(name, no_truncate=value(data, 0)),
                    lambda name=name: pipe.connect(name, value(data, 0)),
                    lambda: pipe.getsockname(),
                    lambda: udp.getsockname(),
                ]
            )
            refused(verb)
        refused(loop.run, uvbind.RunMode.NOWAIT)
    for file in os.listdir():
        os.unlink(file)


TARGETS: dict[str, Callable[[Any], None]] = {
    function.__name__: function for function in (addresses, names, verbs)
}
