"""Count the user-space instructions an echo server spends on one message, with callgrind.

A count does not depend on what else the machine does, so it shows differences that times on a
shared machine do not. Each server runs under valgrind twice, with a smaller and a larger number of
messages; the difference of the totals over the difference of the messages leaves out starting,
connecting and ending. The load generator runs outside valgrind and is always ahead of the server,
which so finds all its connections readable in each turn of its loop.

    python benchmarks/instructions.py [--messages N] [--size BYTES] [--connections N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from uvbind._bench.contenders import BenchError, Server, installed
from uvbind._bench.load import Load

CONTENDERS = ("uvbind", "rloop", "uvloop", "asyncio")
# By then whatever is made on first use is made, and the interpreter has specialised its code.
FIRST_MESSAGES = 2000
# Under valgrind a start takes seconds.
TIMEOUT = 120.0


def total_instructions(name: str, messages: int, size: int, connections: int) -> int:
    """Return all that the server's process executed to start, serve and end."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "callgrind.out")
        valgrind = [
            "valgrind",
            "--tool=callgrind",
            "--trace-children=no",
            f"--callgrind-out-file={output}",
            f"--log-file={folder}/log",  # it warns of system calls it does not know
        ]
        with Load() as load, Server(name, valgrind) as server:
            server.ready(TIMEOUT)
            load.connect(name, server.port, connections, size, timeout=TIMEOUT)
            result = load.run(seconds=10 * TIMEOUT, messages=messages)
            load.disconnect()
            if result["messages"] != messages or server.close(TIMEOUT) != 0:
                raise BenchError(f"{name}: did not serve {messages} messages and end in order")
        totals = re.search(r"^totals: (\d+)", output.read_text(encoding="utf-8"), re.MULTILINE)
    if totals is None:
        raise BenchError(f"{name}: callgrind wrote no total")
    return int(totals.group(1))


def per_message(name: str, messages: int, size: int, connections: int) -> float:
    """Return the instructions of one message."""
    with Server(name) as server:  # so that both runs below find every module compiled
        server.ready()
    first = total_instructions(name, FIRST_MESSAGES, size, connections)
    both = total_instructions(name, FIRST_MESSAGES + messages, size, connections)
    return (both - first) / messages


def count(arguments: argparse.Namespace) -> dict[str, float]:
    """Count for every contender that is installed, and print each as it comes."""
    print(f"Instructions per {arguments.size}-byte message, {arguments.connections} connections:")
    counts = {}
    for name in CONTENDERS:
        if not installed(name):
            print(f"{name:<10} not installed")
            continue
        counts[name] = per_message(name, arguments.messages, arguments.size, arguments.connections)
        print(f"{name:<10} {counts[name]:>10,.0f}", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--messages", type=int, default=10_000, metavar="N", help="how many more in the second run"
    )
    parser.add_argument("--size", type=int, default=1024, metavar="BYTES", help="of a message")
    parser.add_argument("--connections", type=int, default=10, metavar="N")
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
