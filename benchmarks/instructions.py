"""Count the user-space instructions of one message of a server or one callback, with callgrind.

A count does not depend on what else the machine does, so it shows differences that times on a
shared machine do not. Each server runs under valgrind twice, with a smaller and a larger number of
messages; the difference of the totals over the difference of the messages leaves out starting,
connecting and ending. The load generator runs outside valgrind and is always ahead of the server,
which so finds all its connections readable in each turn of its loop, or a batch of datagrams.
The workloads of scheduling.py have no load: there a message is a callback.

    python benchmarks/instructions.py [WORKLOAD] [--messages N] [--size BYTES] [--in-flight N]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import scheduling

from uvbind._bench.contenders import BenchError, Server, installed
from uvbind._bench.load import Load
from uvbind._bench.workloads import WORKLOADS, Served

CONTENDERS = ("uvbind", "uvbind.aio", "rloop", "uvloop", "asyncio")
# By then whatever is made on first use is made, and the interpreter has specialised its code.
FIRST_MESSAGES = 2000
# Under valgrind a start takes seconds.
TIMEOUT = 120.0
# What a sink's receive buffer has room for, and how long that may take it.
PORTION, PAUSE = 64, 0.1


def drive(load: Load, server: Server, messages: int) -> int:
    """Have so many messages served; returns how many it were."""
    sent, done = 0, 0
    while sent < messages:
        result = load.run(10 * TIMEOUT, messages - sent if done else min(messages, PORTION))
        sent += int(result["sent"])
        done += int(result["messages"])
        if not done:  # a sink, which nothing comes back from
            time.sleep(PAUSE)
    return done or server.tally()["received"]


def valgrind_in(folder: str) -> tuple[list[str], Path]:
    """Return the command that has valgrind run another command, and the file it writes."""
    output = Path(folder, "callgrind.out")
    command = [
        "valgrind",
        "--tool=callgrind",
        "--trace-children=no",
        f"--callgrind-out-file={output}",
        f"--log-file={folder}/log",  # it warns of system calls it does not know
    ]
    return command, output


def total_in(output: Path, name: str) -> int:
    totals = re.search(r"^totals: (\d+)", output.read_text(encoding="utf-8"), re.MULTILINE)
    if totals is None:
        raise BenchError(f"{name}: callgrind wrote no total")
    return int(totals.group(1))


def total_instructions(
    workload: Served, name: str, values: dict[str, int], messages: int
) -> tuple[int, int]:
    """Return all that the server's process executed to start, serve and end; and the messages."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind, output = valgrind_in(folder)
        with Load() as load, workload.server(name, valgrind) as server:
            server.ready(TIMEOUT)
            workload.connect(load, server, {**values, "timeout": TIMEOUT})
            done = drive(load, server, messages)
            load.disconnect()
            if server.close(TIMEOUT) != 0:
                raise BenchError(f"{name}: did not end in order")
        return total_in(output, name), done


def per_callback(workload: str, name: str, callbacks: int) -> float:
    """Return the instructions of one callback of a program of scheduling.py."""
    totals: list[int] = []
    for count in (FIRST_MESSAGES, FIRST_MESSAGES, FIRST_MESSAGES + callbacks):
        program = [sys.executable, scheduling.__file__, name, workload, str(count)]
        with tempfile.TemporaryDirectory() as folder:
            valgrind, output = valgrind_in(folder)
            done = subprocess.run([*(valgrind if totals else []), *program])
            if done.returncode != 0:
                raise BenchError(f"{name}: did not end in order")
            # The first has every module compiled.
            totals.append(total_in(output, name) if totals else 0)
    return (totals[2] - totals[1]) / callbacks


def per_message(workload: Served, name: str, values: dict[str, int], messages: int) -> float:
    """Return the instructions of one message."""
    with workload.server(name) as server:  # so that both runs below find every module compiled
        server.ready()
    first, first_done = total_instructions(workload, name, values, FIRST_MESSAGES)
    both, both_done = total_instructions(workload, name, values, FIRST_MESSAGES + messages)
    return (both - first) / (both_done - first_done)


def count(arguments: argparse.Namespace) -> dict[str, float]:
    """Count for every contender that is installed, and print each as it comes."""
    if arguments.workload in scheduling.WORKLOADS:
        print(f"Instructions per callback, {arguments.workload}:")
        return each(
            scheduling.CONTENDERS,
            lambda name: per_callback(arguments.workload, name, arguments.messages),
        )
    workload = WORKLOADS[arguments.workload]
    assert isinstance(workload, Served)
    values = dict(workload.cases[0].values)
    varied = next(key for key in values if key != "size")
    values.update({"size": arguments.size, varied: arguments.in_flight})
    print(f"Instructions per message, {workload.name}, {values}:")
    return each(CONTENDERS, lambda name: per_message(workload, name, values, arguments.messages))


def each(contenders: Sequence[str], count: Callable[[str], float]) -> dict[str, float]:
    counts = {}
    for name in contenders:
        if not installed(name):
            print(f"{name:<10} not installed")
            continue
        counts[name] = count(name)
        print(f"{name:<10} {counts[name]:>10,.0f}", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "workload",
        nargs="?",
        default="tcp-echo",
        choices=[
            *(name for name, workload in WORKLOADS.items() if isinstance(workload, Served)),
            *scheduling.WORKLOADS,
        ],
    )
    parser.add_argument(
        "--messages", type=int, default=10_000, metavar="N", help="how many more in the second run"
    )
    parser.add_argument("--size", type=int, default=1024, metavar="BYTES", help="of a message")
    parser.add_argument("--in-flight", type=int, default=10, metavar="N", help="messages at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is missing; install it, as with: apt-get install valgrind", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as cache:
        # What compiling modules and hashing strings cost must not differ between two runs.
        os.environ.update(PYTHONHASHSEED="0", PYTHONPYCACHEPREFIX=cache)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            counts = count(arguments)
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
