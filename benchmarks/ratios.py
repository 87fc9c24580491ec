"""The table of instructions.py, its file of ratios, and the check against that file."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Of each workload, for each contender.
Counts = dict[str, dict[str, float]]

OURS, REFERENCE = "uvbind.aio", "uvloop"
# A ratio that is so much worse than the committed one fails; one so much better is to be committed.
BOUND = 0.05
# A ratio means something only for the versions that it was measured with.
COMPARED = ("CPython", REFERENCE)


def multiples(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of one workload as multiples of the reference's, if that is there."""
    reference = counts.get(REFERENCE)
    return {name: count / reference for name, count in counts.items()} if reference else {}


def table(counts: Counts, titles: Mapping[str, str], contenders: Sequence[str]) -> str:
    """Return a row for each workload: counts, and multiples of the reference's in brackets."""
    lines = [["", *contenders]]
    for name, of_workload in counts.items():
        of_reference = multiples(of_workload)
        line = [f"{name}: {titles[name]}"]
        for contender in contenders:
            cell = f"{of_workload[contender]:,.0f}" if contender in of_workload else ""
            if cell and contender in of_reference and contender != REFERENCE:
                cell += f" ({of_reference[contender]:.2f})"
            line.append(cell)
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in lines
    ]
    return "\n".join([rows[0], "|---|" + "--:|" * len(contenders), *rows[1:]])


def least(runs: Sequence[Counts]) -> Counts:
    """Return the least of each count: an unlucky layout of memory only adds to it."""
    counts: Counts = {}
    for run in runs:
        for name, of_workload in run.items():
            so_far = counts.setdefault(name, {})
            for contender, count in of_workload.items():
                so_far[contender] = min(count, so_far.get(contender, count))
    return counts


def spread(runs: Sequence[Counts]) -> str:
    """Say how far the counts of several runs are apart."""
    apart = {}
    for name, of_workload in runs[0].items():
        for contender in of_workload:
            several = [run[name][contender] for run in runs]
            apart[name, contender] = max(several) / min(several) - 1
    lines = [
        f"{name}, {contender}: {len(runs)} runs differ by {difference:.2%}"
        for (name, contender), difference in apart.items()
        if difference >= 0.001
    ]
    return "\n".join([*lines, f"All others differ by less than 0.1 %; {len(apart)} were counted."])


def here(contenders: Sequence[str]) -> dict[str, str]:
    """Return the versions of all that the counts depend on."""
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout
    return {
        platform.python_implementation(): ".".join(platform.python_version_tuple()[:2]),
        "machine": platform.machine(),
        "valgrind": valgrind.strip().removeprefix("valgrind-"),
        **{
            name: importlib.metadata.version(name)
            for name in contenders
            if not name.startswith("uvbind") and name != "asyncio"
        },
    }


@dataclass(frozen=True)
class Record:
    """Counts, and the versions that they were made with."""

    counts: Counts
    versions: dict[str, str]

    @property
    def ratios(self) -> dict[str, float]:
        """Ours as a multiple of the reference's count, for each workload that has both."""
        return {
            name: round(multiples(counts)[OURS], 4)
            for name, counts in self.counts.items()
            if OURS in multiples(counts)
        }

    @classmethod
    def read(cls, path: Path) -> Record:
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(document["instructions"], document["versions"])

    def write(self, path: Path) -> None:
        document = {
            "versions": self.versions,
            f"{OURS} as a multiple of {REFERENCE}": self.ratios,
            "instructions": {
                name: {contender: round(count, 1) for contender, count in counts.items()}
                for name, counts in self.counts.items()
            },
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def added_to(self, path: Path) -> Record:
        """Return this with the workloads and contenders of a file that this has not counted."""
        if not path.exists():
            return self
        before = Record.read(path)
        counts = {
            name: {**before.counts.get(name, {}), **self.counts.get(name, {})}
            for name in [*self.counts, *before.counts]
        }
        return Record(counts, {**before.versions, **self.versions})


def verdicts(now: Record, committed: Record, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Compare the ratios of the named workloads; return what is wrong, and what has got better."""
    wrong, better = [], []
    for name in COMPARED:
        then, at_present = committed.versions.get(name), now.versions.get(name)
        if then != at_present:
            wrong.append(f"{name}: the file is for version {then}, this is {at_present}")
    for name in names:
        before, after = committed.ratios.get(name), now.ratios.get(name)
        if before is None:
            wrong.append(f"{name}: not in the file")
        elif after is None:
            wrong.append(f"{name}: not counted for both {OURS} and {REFERENCE}")
        else:
            change = f"{after / before - 1:+.1%} from {before:.3f}"
            text = f"{name}: {after:.3f} times {REFERENCE}'s, {change}"
            if after > before * (1 + BOUND):
                wrong.append(text)
            elif after < before * (1 - BOUND):
                better.append(text)
    return wrong, better


def worse(now: Record, committed: Record, names: Sequence[str]) -> list[str]:
    """Return the workloads whose ratio is worse than the bound allows."""
    before, after = committed.ratios, now.ratios
    return [
        name
        for name in names
        if name in before and name in after and after[name] > before[name] * (1 + BOUND)
    ]


def check(now: Record, committed: Record, names: Sequence[str], path: Path) -> int:
    """Print the verdicts; return the exit status, 1 when one is bad."""
    wrong, better = verdicts(now, committed, names)
    for text in better:
        print(f"better: {text}")
    if better:
        print(f"Commit the better ones: --update {path}")
    for text in wrong:
        print(f"WRONG: {text}")
    if not wrong:
        print(f"{len(names)} ratios, none more than {BOUND:.0%} worse than in {path}")
    return 1 if wrong else 0
