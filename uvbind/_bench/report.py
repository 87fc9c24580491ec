"""A progress bar, the table and the JSON; plain text where ``rich`` is not installed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from uvbind._bench.contenders import REFERENCE
from uvbind._bench.measure import Plan, Row, Sample

try:
    import rich.box
    import rich.console
    import rich.progress
    import rich.table
except ImportError:
    HAVE_RICH = False
else:
    HAVE_RICH = True

NOTE = f"""\
msg/s: echoes a second, more is better. CPU us: the server's CPU time for one message in
microseconds, less is better. Medians over the rounds; "x" is the ratio to {REFERENCE}, the median
of the ratios within each round."""


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
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)


def _draw(filled: int, percent: int, text: str) -> None:
    bar = f"\r[{'#' * filled:<30}] {percent:3d} %  {text:<30}"
    print(bar, end="", file=sys.stderr, flush=True)


def print_table(rows: Sequence[Row], samples: Sequence[Sample]) -> None:
    """Print a block for each message size: contenders down, connections across."""
    ordered = sorted(rows, key=lambda row: row.size)  # stable: contenders keep their order
    for size, block in itertools.groupby(ordered, key=lambda row: row.size):
        _print_block(f"{size // 1024} KiB messages", list(block))
    print(NOTE)
    share = statistics.mean(sample.load_cpu_share for sample in samples)
    if share < 0.95:
        print(f"Other processes took {1 - share:.0%} of the load generator's CPU: measure again.")


def _print_block(title: str, rows: Sequence[Row]) -> None:
    header, units = [""], [""]
    for connections in sorted({row.connections for row in rows}):
        header += [f"{connections} connection{'s' * (connections > 1)}", ""]
        units += ["msg/s", "CPU us"]
    lines: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.connections):
        lines.setdefault(row.contender, [row.contender]).extend(
            [
                f"{row.messages_per_second:,.0f} {_times(row.rate_ratio)}",
                f"{row.cpu_us_per_message:.1f} {_times(row.cpu_ratio)}",
            ]
        )
    if HAVE_RICH:
        _print_rich(title, header, units, list(lines.values()))
    else:
        _print_plain(title, [header, units, *lines.values()])


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x"


def _print_rich(
    title: str, header: Sequence[str], units: Sequence[str], lines: Sequence[Sequence[str]]
) -> None:
    table = rich.table.Table(
        title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 0, 0, 1)
    )
    table.add_column("", no_wrap=True)
    for text, unit in list(zip(header, units))[1:]:
        table.add_column(f"{text}\n{unit}", justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == "uvbind" else None)
    console = rich.console.Console()
    console.width = max(100, console.width)  # cut nothing off: the terminal may wrap
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
        "reference": REFERENCE,
        "plan": dataclasses.asdict(plan),
        "not_installed": list(missing),
        "elapsed_seconds": elapsed,
        "results": [dataclasses.asdict(row) for row in rows],
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
