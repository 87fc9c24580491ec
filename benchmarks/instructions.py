"""Count the user-space instructions that a message or a callback costs each loop, with callgrind.

A count hardly depends on what else the machine does, so it shows differences that times on a shared
machine do not. Servers run in lockstep with their load: the load sends a message on each of ten
connections, or a batch of datagrams, while the server waits, so each turn of the server's loop
finds all of them. Timers follow a clock that moves with the program alone. So two runs differ by
less than 1 %; --runs 2 shows by how much.

    python benchmarks/instructions.py [WORKLOAD ...] [--contenders NAME ...] [--json FILE]
    python benchmarks/instructions.py --update benchmarks/instructions.json
    python benchmarks/instructions.py --check benchmarks/instructions.json
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import loads
import scheduling
from counting import Counter, Workload
from ratios import OURS, REFERENCE, Counts, Record, check, here, least, spread, table, worse

from uvbind._bench.contenders import BenchError, installed

LOOPS = (OURS, "rloop", REFERENCE, "asyncio")
CONTENDERS = ("uvbind", *LOOPS)
CONNECTIONS = 10
LAYOUTS = 3  # in so many more a ratio that is worse is counted again
KIB = 1024


def served(
    title: str,
    program: str,
    load: Callable[[], loads.Load],
    messages: int = 2000,
    contenders: Sequence[str] = LOOPS,
) -> Workload:
    return Workload(title, tuple(program.split()), tuple(contenders), messages, load)


def alone(title: str, program: str) -> Workload:
    return Workload(title, (program,), LOOPS, 10 * scheduling.AT_ONCE)


ECHO = partial(loads.TCP, CONNECTIONS, KIB)
LARGE = partial(loads.TCP, CONNECTIONS, 100 * KIB)
STREAMS = served("asyncio streams 1 KiB", "streams", ECHO)
WORKLOADS = {
    "tcp-echo": served("TCP echo 1 KiB, Protocol", "protocol", ECHO, contenders=CONTENDERS),
    "tcp-echo-buffered": served("TCP echo 1 KiB, BufferedProtocol", "buffered", ECHO),
    "tcp-echo-100k": served(
        "TCP echo 100 KiB, Protocol", "protocol", LARGE, 500, contenders=CONTENDERS
    ),
    "streams": STREAMS,
    # The other contenders have no streams of their own.
    "own-streams": dataclasses.replace(
        STREAMS, title="uvbind.start_server streams 1 KiB", our_program=("own-streams",)
    ),
    "sockets": served("sock_recv, sock_sendall 1 KiB", "sockets", ECHO),
    "sockets-100k": served("sock_recv, sock_sendall 100 KiB", "sockets", LARGE, 500),
    # rloop has no TLS.
    "tls-echo": served(
        "TLS echo 1 KiB",
        "tls",
        partial(loads.TLS, CONNECTIONS, KIB),
        contenders=(OURS, REFERENCE, "asyncio"),
    ),
    "connect": served(
        "connect, echo 64 B, close",
        "protocol",
        partial(loads.Connections, CONNECTIONS, 64),
        500,
        contenders=CONTENDERS,
    ),
    "udp-echo": served(
        "UDP echo 64 B", "udp", partial(loads.UDP, CONNECTIONS, 64, 1), contenders=CONTENDERS
    ),
    "udp-sink": served(
        "UDP sink 64 B", "udp", partial(loads.UDP, CONNECTIONS, 64, 0), contenders=CONTENDERS
    ),
    "udp-source": served(
        "UDP source 1,200 B",
        "udp",
        partial(loads.UDP, 2, 1200, 32),
        6400,
        contenders=CONTENDERS,
    ),
    "udp-source-connected": served(
        "UDP source 1,200 B, connected", "udp-connected", partial(loads.UDP, 2, 1200, 32), 6400
    ),
    "call-soon": alone("call_soon, 1,000 a turn", "call-soon"),
    "call-soon-one": alone("call_soon, one a turn", "call-soon-one"),
    "sleep-0": alone("sleep(0)", "sleep-0"),
    "timer-fired": alone("call_later, fired, one at a time", "timer-fired"),
    "timers-fired": alone("call_later, fired, 1,000 at once", "timers-fired"),
    "timer-cancelled": alone("call_later, cancelled, one a turn", "timer-cancelled"),
    "timers-cancelled": alone("call_later, cancelled, 1,000 at once", "timers-cancelled"),
    "call-soon-threadsafe": alone("call_soon_threadsafe, 1,000 at once", "call-soon-threadsafe"),
    "reader-once": alone("add_reader, one event, remove_reader", "reader-once"),
    "reader-repeated": alone("a reader's event, one a turn", "reader-repeated"),
}


def count(
    names: Sequence[str], contenders: Sequence[str], jobs: int, layouts: Sequence[int]
) -> list[Counts]:
    """Count the workloads for each contender, in each layout."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(jobs) as pool,
    ):
        counter = Counter(Path(folder))
        pending: list[dict[tuple[str, str], Future[float]]] = []
        for layout in layouts:
            shared: dict[object, Future[float]] = {}  # a contender may do the same in two workloads
            pending.append({})
            for name in names:
                for contender in contenders:
                    workload = dataclasses.replace(WORKLOADS[name].of(contender), layout=layout)
                    if contender not in workload.contenders:
                        continue
                    key = (contender, workload.program, workload.load)
                    if key not in shared:
                        shared[key] = pool.submit(counter.count, workload, contender)
                    pending[-1][name, contender] = shared[key]
        try:
            return [results(run) for run in pending]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def results(pending: dict[tuple[str, str], Future[float]]) -> Counts:
    counts: Counts = {}
    for (name, contender), future in pending.items():
        counts.setdefault(name, {})[contender] = future.result()
        print(f"{name}, {contender}: {future.result():,.0f}", file=sys.stderr, flush=True)
    return counts


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=f"Workloads: {', '.join(WORKLOADS)}. All of them unless some are named.",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        metavar="NAME",
        help=f"some of {', '.join(CONTENDERS)}; all that are installed unless some are named",
    )
    cpus = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cpus, metavar="N", help="programs at a time")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="show how far they differ")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    parser.add_argument(
        "--update", type=Path, metavar="FILE", help="put the counts and ratios into that file"
    )
    parser.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help=f"fail when a ratio of {OURS} to {REFERENCE} is more than 5 %% worse than there",
    )
    parsed = parser.parse_args(arguments)
    for name in parsed.workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
    return parsed


def main() -> int:
    arguments = parse(sys.argv[1:])
    if shutil.which("valgrind") is None:
        print("valgrind is missing; install it, as with: apt-get install valgrind", file=sys.stderr)
        return 2
    wanted = arguments.contenders or ([OURS, REFERENCE] if arguments.check else CONTENDERS)
    contenders = [name for name in CONTENDERS if name in wanted and installed(name)]
    for name in sorted(set(wanted) - set(contenders)):
        print(f"{name} is not installed: left out", file=sys.stderr)
    names = arguments.workloads or list(WORKLOADS)
    try:
        runs = count(names, contenders, arguments.jobs, range(arguments.runs))
        record = Record(least(runs), here(contenders))
        if arguments.check:
            committed = Record.read(arguments.check)
            for layout in range(arguments.runs, arguments.runs + LAYOUTS):
                if again := worse(record, committed, names):
                    more = count(again, contenders, arguments.jobs, [layout])
                    record = Record(least([record.counts, *more]), record.versions)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    titles = {name: WORKLOADS[name].title for name in names}
    print(table(record.counts, titles, contenders))
    if len(runs) > 1:
        print(spread(runs))
    if arguments.json:
        record.write(arguments.json)
    if arguments.update:
        record.added_to(arguments.update).write(arguments.update)
    if arguments.check:
        return check(record, committed, names, arguments.check)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
