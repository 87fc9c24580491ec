"""A server's end of the pipe to the benchmark, which every kind of server shares.

A server takes a free port of 127.0.0.1, prints it as a line of JSON and serves until its stdin
closes. It answers each line on stdin with its tally: the CPU time of its process in nanoseconds,
and how many datagrams it has received, if it counts them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

HOST = "127.0.0.1"


def announce(port: int, received: Callable[[], int] = lambda: 0) -> None:
    """Print the port and start answering on stdin."""
    print(json.dumps({"port": port}), flush=True)
    threading.Thread(target=_answer, args=(received,), daemon=True).start()


def _answer(received: Callable[[], int]) -> None:
    # Blocked in a read it costs the server nothing, and needs no help from the loop under test.
    while sys.stdin.readline():
        tally = {"cpu_ns": time.process_time_ns(), "received": received()}
        print(json.dumps(tally), flush=True)
    # Ends every kind of loop alike; there is nothing to save.
    os._exit(0)
