"""What ``uvbind bench`` measures: each workload has its cases and takes one sample of a case."""

from __future__ import annotations

import abc
import dataclasses
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uvbind._bench.contenders import Server
from uvbind._bench.load import Load

# What the pure Python query for interfaces needs; PyPy lacks the second.
IOCTLS = sys.platform == "linux" and hasattr(socket, "if_nameindex")
LOOPS = ("uvbind", "uvbind.aio", "asyncio", "selectors", "uvloop", "rloop")


@dataclass(frozen=True)
class Case:
    """What a workload is varied by: for the table a block and a column, and the values."""

    block: str
    column: str
    values: Mapping[str, Any] = dataclasses.field(hash=False)


@dataclass(frozen=True)
class Figure:
    """A figure that the table shows; samples hold others too."""

    key: str
    unit: str
    text: str
    compared: bool = True


@dataclass(frozen=True)
class Workload(abc.ABC):
    """One kind of work, and who can do it; ``note`` explains the figures."""

    name: str
    module: str
    contenders: Sequence[str]
    cases: Sequence[Case]
    figures: Sequence[Figure]
    note: str
    reference: str = "asyncio"

    def server(self, contender: str, tool: Sequence[str] = ()) -> Server:
        """Start a contender, perhaps under a tool such as valgrind."""
        return Server(contender, self.module, tool=tool)

    @abc.abstractmethod
    def sample(
        self, load: Load, server: Server, values: Mapping[str, Any], seconds: float
    ) -> dict[str, float]:
        """Measure one contender in one case for about so long."""


class Served(Workload):
    """A server under load: what a message costs it."""

    def sample(
        self, load: Load, server: Server, values: Mapping[str, Any], seconds: float
    ) -> dict[str, float]:
        self.connect(load, server, values)
        load.run(seconds / 5)
        # A run begins and ends with nothing in flight: this CPU time is that of its messages alone.
        before = server.tally()
        result = load.run(seconds)
        spent = {key: value - before[key] for key, value in server.tally().items()}
        load.disconnect()
        return self.reckon(result, spent)

    @abc.abstractmethod
    def connect(self, load: Load, server: Server, values: Mapping[str, Any]) -> None:
        """Have the load connect to the server."""

    def reckon(self, result: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
        """Make figures of what the load and the server have counted."""
        messages = result["messages"]
        return {
            "messages": messages,
            "messages_per_second": messages / result["seconds"],
            "cpu_us_per_message": spent["cpu_ns"] / 1e3 / messages,
            "p50_us": result["p50_us"],
            "p99_us": result["p99_us"],
            "load_cpu_share": result["cpu_share"],
        }


class Alone(Workload):
    """What a contender does without a load: how often it can in a second."""

    def sample(
        self, load: Load, server: Server, values: Mapping[str, Any], seconds: float
    ) -> dict[str, float]:
        server.ask({**values, "seconds": seconds / 5}, timeout=seconds + 30.0)
        result = server.ask({**values, "seconds": seconds}, timeout=seconds + 30.0)
        return {
            "done": result["done"],
            "per_second": result["done"] / result["seconds"],
            "cpu_us_each": result["cpu_ns"] / 1e3 / max(result["done"], 1),
        }


class TCPEcho(Served):
    def connect(self, load: Load, server: Server, values: Mapping[str, Any]) -> None:
        load.connect_tcp(server.name, server.port, **values)


@dataclass(frozen=True)
class UDP(Served):
    """A server that answers every datagram with so many copies of it."""

    answers: int = 1

    def server(self, contender: str, tool: Sequence[str] = ()) -> Server:
        return Server(contender, self.module, self.answers, tool=tool)

    def connect(self, load: Load, server: Server, values: Mapping[str, Any]) -> None:
        load.connect_udp(server.name, server.port, answers=self.answers, **values)

    def reckon(self, result: Mapping[str, float], spent: Mapping[str, int]) -> dict[str, float]:
        # Nothing comes back from a sink, which does its own counting.
        received = result["messages"] if self.answers else spent["received"]
        sent = result["sent"] * max(self.answers, 1)
        counted = {**result, "messages": max(received, 1)}
        return {
            **super().reckon(counted, spent),
            "messages_per_cpu_second": received * 1e9 / max(spent["cpu_ns"], 1),
            "lost_share": 1 - received / sent,
        }


def udp(name: str, answers: int, windows: Sequence[int], note: str) -> UDP:
    """A workload with datagrams that are small, and ones that fill an Ethernet frame."""
    return UDP(
        name,
        "udp_servers",
        LOOPS,
        [
            Case(f"{size}-byte datagrams", f"{window} in flight", {"size": size, "window": window})
            for size in (64, 1200)
            for window in windows
        ],
        [
            Figure("messages_per_cpu_second", "per CPU s", "{:,.0f}"),
            Figure("lost_share", "lost", "{:.1%}", compared=False),
        ],
        note,
        answers=answers,
    )


TCP_ECHO = TCPEcho(
    "tcp-echo",
    "tcp_servers",
    LOOPS,
    [
        Case(
            f"{size // 1024} KiB messages",
            f"{connections} connection{'s' * (connections > 1)}",
            {"size": size, "connections": connections},
        )
        for size in (1024, 10 * 1024, 100 * 1024)
        for connections in (1, 10, 100)
    ],
    [
        Figure("messages_per_second", "msg/s", "{:,.0f}"),
        Figure("cpu_us_per_message", "CPU us", "{:.1f}"),
    ],
    "msg/s: echoes a second, more is better. CPU us: the server's CPU time for one message in "
    "microseconds, less is better.",
)
UDP_ECHO = udp(
    "udp-echo", 1, (1, 32), "per CPU s: datagrams echoed in a second of the server's CPU time."
)
UDP_SINK = udp(
    "udp-sink",
    0,
    (32,),
    "per CPU s: datagrams received in a second of the server's CPU time. lost: the share of those "
    "that the load sent, which it does as fast as it can; more where others use the server's CPU.",
)
UDP_SOURCE = udp(
    "udp-source", 32, (2,), "per CPU s: datagrams sent in a second of the server's CPU time."
)
LOOKUPS = Alone(
    "lookups",
    "lookups",
    [name for name in LOOPS if name != "selectors"],
    [
        Case(f"{at_once} at once", host, {"host": host, "at_once": at_once})
        for at_once in (1, 16)
        for host in ("127.0.0.1", "::1", "localhost")
    ],
    [Figure("per_second", "lookups/s", "{:,.0f}")],
    "lookups/s: getaddrinfo() for a stream socket, awaited; in uvbind with a callback, but for "
    "numeric hosts, which need no waiting for, without.",
)
INTERFACES = Alone(
    "interfaces",
    "interfaces",
    ["uvbind", "psutil", *(["socket"] if IOCTLS else [])],
    [Case("all interfaces", "", {})],
    [Figure("per_second", "queries/s", "{:,.0f}")],
    "queries/s: interface_addresses(), psutil.net_if_addrs(), and ioctls in pure Python (socket).",
    reference="socket",
)

_ALL: list[Workload] = [TCP_ECHO, UDP_ECHO, UDP_SINK, UDP_SOURCE, LOOKUPS, INTERFACES]
WORKLOADS = {workload.name: workload for workload in _ALL}
NAMES = tuple(dict.fromkeys(name for workload in _ALL for name in workload.contenders))
