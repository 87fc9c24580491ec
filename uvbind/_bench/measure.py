"""Rounds of measurements, and what they come to."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from uvbind._bench.contenders import NAMES, REFERENCE, Server
from uvbind._bench.load import Load

SIZES = (1024, 10 * 1024, 100 * 1024)
CONNECTIONS = (1, 10, 100)


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long."""

    contenders: Sequence[str]
    rounds: int = 9
    seconds: float = 0.12
    sizes: Sequence[int] = SIZES
    connections: Sequence[int] = CONNECTIONS

    @property
    def warmup(self) -> float:
        """Seconds of unmeasured load on new connections before each measurement."""
        return self.seconds / 5

    @property
    def steps(self) -> int:
        return self.rounds * len(self.sizes) * len(self.connections) * len(self.contenders)


@dataclass(frozen=True)
class Sample:
    """One contender in one round, at one message size and number of connections."""

    contender: str
    size: int
    connections: int
    round: int
    messages: int
    messages_per_second: float
    cpu_us_per_message: float
    p50_us: float
    p99_us: float
    load_cpu_share: float


@dataclass(frozen=True)
class Row:
    """The medians over the rounds; the ratios are taken within a round, then their median."""

    contender: str
    size: int
    connections: int
    messages_per_second: float
    cpu_us_per_message: float
    rate_ratio: float | None
    cpu_ratio: float | None
    p50_us: float
    p99_us: float


def measure(plan: Plan, step: Callable[[int, str], None]) -> list[Sample]:
    """Run the whole plan; ``step`` is told what is done and what comes next."""
    samples: list[Sample] = []
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(Load())
        servers = [stack.enter_context(Server(name)) for name in plan.contenders]
        _pin(load, servers)
        for server in servers:
            server.ready()
            _prime(plan, load, server)
        cases = [(size, connections) for size in plan.sizes for connections in plan.connections]
        for round_number in range(plan.rounds):
            for index, (size, connections) in enumerate(cases):
                # Nobody is always first, or always after the same one.
                turn = (round_number + index) % len(servers)
                for server in servers[turn:] + servers[:turn]:
                    step(len(samples), f"{server.name}, {size // 1024} KiB x {connections}")
                    samples.append(_sample(plan, load, server, size, connections, round_number))
    return samples


def _pin(load: Load, servers: Sequence[Server]) -> None:
    """Give the load a CPU of its own; a server that shares it halves what both can do."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS, nor in PyPy
        cpus = os.sched_getaffinity(0)
        if len(cpus) > 1:
            own = {max(cpus)}
            os.sched_setaffinity(load.process.pid, own)
            for server in servers:
                os.sched_setaffinity(server.process.pid, cpus - own)


def _prime(plan: Plan, load: Load, server: Server) -> None:
    """Use and end a few connections: malloc's thresholds move, caches fill, a JIT compiles."""
    for size in plan.sizes:
        load.connect(server.name, server.port, connections=8, size=size)
        load.run(plan.seconds)
        load.disconnect()


def _sample(
    plan: Plan, load: Load, server: Server, size: int, connections: int, round_number: int
) -> Sample:
    load.connect(server.name, server.port, connections, size)
    load.run(plan.warmup)
    # A run begins and ends with nothing in flight: this CPU time is that of its messages alone.
    cpu_before = server.cpu_ns()
    result = load.run(plan.seconds)
    cpu_ns = server.cpu_ns() - cpu_before
    load.disconnect()
    messages = int(result["messages"])
    return Sample(
        contender=server.name,
        size=size,
        connections=connections,
        round=round_number,
        messages=messages,
        messages_per_second=messages / result["seconds"],
        cpu_us_per_message=cpu_ns / 1e3 / messages,
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        load_cpu_share=result["cpu_share"],
    )


def summarise(samples: Iterable[Sample]) -> list[Row]:
    """Reduce the rounds of every case and contender to one row each."""
    groups: dict[tuple[str, int, int], list[Sample]] = {}
    for sample in samples:
        key = (sample.contender, sample.size, sample.connections)
        groups.setdefault(key, []).append(sample)
    rows = []
    for contender, size, connections in sorted(groups, key=lambda key: NAMES.index(key[0])):
        rounds = groups[contender, size, connections]
        reference = groups.get((REFERENCE, size, connections))
        rows.append(
            Row(
                contender,
                size,
                connections,
                messages_per_second=_median(rounds, "messages_per_second"),
                cpu_us_per_message=_median(rounds, "cpu_us_per_message"),
                rate_ratio=_ratio(rounds, reference, "messages_per_second"),
                cpu_ratio=_ratio(rounds, reference, "cpu_us_per_message"),
                p50_us=_median(rounds, "p50_us"),
                p99_us=_median(rounds, "p99_us"),
            )
        )
    return rows


def _median(rounds: Sequence[Sample], field: str) -> float:
    return float(statistics.median(getattr(sample, field) for sample in rounds))


def _ratio(
    rounds: Sequence[Sample], reference: Sequence[Sample] | None, field: str
) -> float | None:
    if reference is None:
        return None
    pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(rounds, reference)]
    ratios = [ours / theirs for ours, theirs in pairs if theirs]  # a coarse CPU clock can say 0
    return float(statistics.median(ratios)) if ratios else None
