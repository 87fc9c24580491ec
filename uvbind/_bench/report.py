"""A progress bar, the table and the JSON; plain text where ``rich`` is not installed."""

from __future__ import annotations

import contextlib
import itertools
import platform
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from uvbind._bench.measure import Plan, Row, Sample
from uvbind._bench.workloads import Workload

try:
    import rich.box
    import rich.console
    import rich.progress
    import rich.table
except ImportError:
    HAVE_RICH = False
else:
    HAVE_RICH = True

OURS = ("uvbind", "uvbind.aio")
RIVALS = ("uvloop",)  # the table tells how ours compare with these as well
NOTE = 'Medians over the rounds; "x" is the ratio to {}, the median of those within each round.'


@contextlib.contextmanager
def progress(steps: int) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on stderr, if that is a terminal, and yield the function that moves it on."""
    if not sys.stderr.isatty():
        yield lambda done, text: None
    elif HAVE_RICH:
        # No refreshing by a thread: it would take turns with the server or the load on two cores.
        with rich.progress.Progress(
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.description}"),
            console=rich.console.Console(stderr=True),
            transient=True,
            auto_refresh=False,
        ) as bar:
            task = bar.add_task("starting servers", total=steps)
            bar.refresh()
            yield lambda done, text: bar.update(
                task, completed=done, description=text, refresh=True
            )
    else:
        yield lambda done, text: _draw(30 * done // steps, 100 * done // steps, text)
        print("\r" + " " * 100 + "\r", end="", file=sys.stderr, flush=True)


def _draw(filled: int, percent: int, text: str) -> None:
    bar = f"\r[{'#' * filled:<30}] {percent:3d} %  {text:<60}"
    print(bar, end="", file=sys.stderr, flush=True)


def print_tables(rows: Sequence[Row], samples: Sequence[Sample]) -> None:
    """Print every workload, a block at a time: contenders down, cases across."""
    for workload, of_workload in itertools.groupby(rows, key=lambda row: row.workload):
        for block, of_block in itertools.groupby(of_workload, key=lambda row: row.case.block):
            _print_block(f"{workload.name}, {block}", workload, list(of_block))
        print(textwrap.fill(f"{workload.note} {NOTE.format(workload.reference)}", 100) + "\n")
    shares = [sample.figures.get("load_cpu_share", 1.0) for sample in samples]
    share = statistics.mean(shares)
    if share < 0.95:
        print(f"Other processes took {1 - share:.0%} of the load generator's CPU: measure again.")


def _print_block(title: str, workload: Workload, rows: Sequence[Row]) -> None:
    header, units = [""], [""]
    for case in dict.fromkeys(row.case for row in rows):
        header += [case.column] + [""] * (len(workload.figures) - 1)
        units += [figure.unit for figure in workload.figures]
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(row.contender, [row.contender]).extend(_cells(row))
    for ours, rival in itertools.product(OURS, RIVALS):
        if ours in lines and rival in lines and rival != workload.reference:
            name = f"{ours} : {rival}"
            lines[name] = [name]
            for row in rows:
                if row.contender == ours:
                    ratios = row.ratios[rival]
                    lines[name] += [_times(ratios.get(figure.key)) for figure in workload.figures]
    if HAVE_RICH:
        _print_rich(title, header, units, list(lines.values()))
    else:
        _print_plain(title, [header, units, *lines.values()])


def _cells(row: Row) -> list[str]:
    ratios = row.ratios.get(row.workload.reference, {})
    return [
        f"{figure.text.format(row.figures[figure.key])} {_times(ratios.get(figure.key))}".rstrip()
        for figure in row.workload.figures
    ]


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x"


def _print_rich(
    title: str, header: Sequence[str], units: Sequence[str], lines: Sequence[Sequence[str]]
) -> None:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for text, unit in list(zip(header, units))[1:]:
        table.add_column(f"{text}\n{unit}", justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*line, style="bold" if line[0] in OURS else None)
    console = rich.console.Console()
    console.width = max(120, console.width)  # cut nothing off: the terminal may wrap
    console.print(title, style="italic", highlight=False)
    console.print(table)


def _print_plain(title: str, lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    print(title)
    for name, *cells in lines:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:])]
        print("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    print()


def as_json(
    plan: Plan,
    missing: Sequence[str],
    samples: Sequence[Sample],
    rows: Sequence[Row],
    elapsed: float,
) -> dict[str, Any]:
    """Return everything that was measured, and on what, as plain data."""
    import uvbind

    return {
        "uvbind": uvbind.__version__,
        "libuv": uvbind.version_string(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "plan": {
            "workloads": [each.name for each in plan.workloads],
            "contenders": list(plan.contenders),
            "rounds": plan.rounds,
            "seconds": plan.seconds,
        },
        "not_installed": list(missing),
        "elapsed_seconds": elapsed,
        "results": [{**_about(row), "ratios": row.ratios} for row in rows],
        "samples": [{**_about(sample), "round": sample.round} for sample in samples],
    }


def _about(it: Row | Sample) -> dict[str, Any]:
    about = {"workload": it.workload.name, "contender": it.contender}
    return {**about, **it.case.values, **it.figures}
