"""The command line: ``uvbind bench`` and ``uvbind info``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code: 0, 1 for a failure, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uvbind", description="libuv for Python")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser(
        "bench",
        help="compare with others on this machine",
        description="Compare uvbind with asyncio and hand-written Python, and with uvloop and "
        "rloop where they are installed. Everything stays on 127.0.0.1.",
    )
    bench.set_defaults(run=_bench)
    bench.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="tcp-echo, udp-echo, ...; without: all"
    )
    bench.add_argument("--quick", action="store_true", help="under 20 s rather than under 90 s")
    bench.add_argument("--only", metavar="NAME,...", help="measure only these contenders")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    bench.add_argument(
        "--seconds", type=float, metavar="S", help="length of one measurement (0.05; quick: 0.02)"
    )
    info = commands.add_parser("info", help="print versions and features")
    info.set_defaults(run=_info)
    return parser


def _bench(arguments: argparse.Namespace) -> int:
    from uvbind._bench import contenders, measure, report
    from uvbind._bench.workloads import NAMES, WORKLOADS

    begin = time.monotonic()
    chosen = list(dict.fromkeys(arguments.workloads or WORKLOADS))
    names = list(dict.fromkeys(arguments.only.split(",") if arguments.only else NAMES))
    for kind, given, known in (("workload", chosen, WORKLOADS), ("contender", names, NAMES)):
        unknown = [name for name in given if name not in known]
        if unknown:
            print(
                f"uvbind bench: no such {kind}: {', '.join(unknown)}; there are {', '.join(known)}",
                file=sys.stderr,
            )
            return 2
    missing = [name for name in names if not contenders.installed(name)]
    for name in missing:
        print(f"{name}: not installed")
    plan = measure.Plan(
        [WORKLOADS[name] for name in chosen], [name for name in names if name not in missing]
    )
    if plan.steps == 0:
        print("uvbind bench: nothing to measure", file=sys.stderr)
        return 1
    if arguments.quick:
        plan = dataclasses.replace(plan, rounds=3, seconds=0.02)
    if arguments.seconds is not None:
        plan = dataclasses.replace(plan, seconds=arguments.seconds)
    try:
        with report.progress(plan.steps) as step:
            samples = measure.measure(plan, step)
    except contenders.BenchError as error:
        print(f"uvbind bench: {error}", file=sys.stderr)
        return 1
    rows = measure.summarise(samples)
    report.print_tables(rows, samples)
    elapsed = time.monotonic() - begin
    if arguments.json:
        data = report.as_json(plan, missing, samples, rows, elapsed)
        arguments.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"It took {elapsed:.0f} s.")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    import cffi

    import uvbind

    print(f"uvbind    {uvbind.__version__}")
    print(f"python    {platform.python_implementation()} {platform.python_version()}")
    print(f"libuv     {uvbind.version_string()}")
    print(f"cffi      {cffi.__version__}")
    print(f"platform  {platform.platform()}")
    for name, value in uvbind.features().items():
        print(f"{name}: {value}")
    return 0
