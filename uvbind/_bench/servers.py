"""A contender's end of the pipe to the benchmark, which every kind of them shares.

A server takes a free port of 127.0.0.1, prints it as a line of JSON and serves until its stdin
closes. It answers each line on stdin with its tally: the CPU time of its process in nanoseconds,
and how many datagrams it has received, if it counts them.

What needs no load does jobs instead: a line on stdin has the arguments of one, which it does over
and over for some seconds, then answers how often that was.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"


def tell(answer: Any) -> None:
    """Print a line of JSON; the process ends without a word if its parent is gone."""
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        os._exit(1)  # sys.exit() would try to print the line again


def announce(port: int, received: Callable[[], int] = lambda: 0) -> None:
    """Print the port and start answering on stdin."""
    tell({"port": port})
    threading.Thread(target=_answer, args=(received,), daemon=True).start()


def _answer(received: Callable[[], int]) -> None:
    # Blocked in a read it costs the server nothing, and needs no help from the loop under test.
    while sys.stdin.readline():
        tell({"cpu_ns": time.process_time_ns(), "received": received()})
    # Ends every kind of loop alike; there is nothing to save.
    os._exit(0)


def work(run: Callable[..., int]) -> None:
    """Do the jobs that come on stdin with ``run``, which returns how often it has done one."""
    tell({"port": 0})
    for line in sys.stdin:
        cpu, begin = time.process_time_ns(), time.perf_counter()
        done = run(**json.loads(line))
        seconds, cpu_ns = time.perf_counter() - begin, time.process_time_ns() - cpu
        tell({"done": done, "seconds": seconds, "cpu_ns": cpu_ns})
