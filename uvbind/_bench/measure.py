"""Rounds of measurements, and what they come to."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from uvbind._bench.contenders import Child, Server
from uvbind._bench.load import Load
from uvbind._bench.workloads import Case, Workload


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long."""

    workloads: Sequence[Workload]
    contenders: Sequence[str]
    rounds: int = 7
    seconds: float = 0.05

    def contenders_of(self, workload: Workload) -> list[str]:
        return [name for name in workload.contenders if name in self.contenders]

    @property
    def steps(self) -> int:
        cases = [len(each.cases) * len(self.contenders_of(each)) for each in self.workloads]
        return self.rounds * sum(cases)


@dataclass(frozen=True)
class Sample:
    """One contender in one round of one case."""

    workload: Workload
    contender: str
    case: Case
    round: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """The medians over the rounds; ratios to others are taken within a round, then their median."""

    workload: Workload
    contender: str
    case: Case
    figures: Mapping[str, float]
    ratios: Mapping[str, Mapping[str, float]]


def measure(plan: Plan, step: Callable[[int, str], None]) -> list[Sample]:
    """Run the whole plan; ``step`` is told what is done and what comes next."""
    samples: list[Sample] = []
    with Load() as load:
        for workload in plan.workloads:
            _measure_one(plan, workload, load, samples, step)
    return samples


def _measure_one(
    plan: Plan,
    workload: Workload,
    load: Load,
    samples: list[Sample],
    step: Callable[[int, str], None],
) -> None:
    with contextlib.ExitStack() as stack:
        names = plan.contenders_of(workload)
        servers = [stack.enter_context(workload.server(name)) for name in names]
        _pin(load, servers)
        for server in servers:
            server.ready()
            # Malloc's thresholds move, caches fill, a JIT compiles.
            for case in workload.cases:
                workload.sample(load, server, case.values, plan.seconds / 3)
        for number in range(plan.rounds):
            for index, case in enumerate(workload.cases):
                # Nobody is always first, or always after the same one.
                turn = (number + index) % max(len(servers), 1)
                for server in servers[turn:] + servers[:turn]:
                    text = f"{workload.name}: {server.name}, {case.block}, {case.column}"
                    step(len(samples), text)
                    figures = workload.sample(load, server, case.values, plan.seconds)
                    samples.append(Sample(workload, server.name, case, number, figures))


def _pin(load: Child, servers: Sequence[Server]) -> None:
    """Give the load a CPU of its own; a server that shares it halves what both can do."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS, nor in PyPy
        cpus = os.sched_getaffinity(0)
        if len(cpus) > 1:
            own = {max(cpus)}
            os.sched_setaffinity(load.process.pid, own)
            for server in servers:
                os.sched_setaffinity(server.process.pid, cpus - own)


def summarise(samples: Iterable[Sample]) -> list[Row]:
    """Reduce the rounds of every case and contender to one row each."""
    cases: dict[tuple[str, Case], dict[str, list[Sample]]] = {}
    for sample in samples:
        group = cases.setdefault((sample.workload.name, sample.case), {})
        group.setdefault(sample.contender, []).append(sample)
    rows = []
    for group in cases.values():
        for name, rounds in sorted(
            group.items(), key=lambda item: item[1][0].workload.contenders.index(item[0])
        ):
            others = {other: _ratios(rounds, group[other]) for other in group}
            first = rounds[0]
            rows.append(Row(first.workload, name, first.case, _medians(rounds), others))
    return rows


def _medians(rounds: Sequence[Sample]) -> dict[str, float]:
    return {
        key: statistics.median(sample.figures[key] for sample in rounds)
        for key in rounds[0].figures
    }


def _ratios(rounds: Sequence[Sample], others: Sequence[Sample]) -> dict[str, float]:
    ratios = {}
    for figure in rounds[0].workload.figures:
        pairs = [(a.figures[figure.key], b.figures[figure.key]) for a, b in zip(rounds, others)]
        known = [ours / theirs for ours, theirs in pairs if theirs]  # a coarse CPU clock can say 0
        if figure.compared and known:
            ratios[figure.key] = statistics.median(known)
    return ratios
