"""Scripts in processes of their own, which are forked: uvbind is imported once for all of them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

# Reads a line for each order, and has children run its script as that of a new interpreter: at its
# end a child leaves the loop, and the interpreter ends as any does.
SERVER = """
import json, os, sys, tempfile
import asyncio, contextlib, gc, socket, threading, time, uvbind.aio

gc.collect()
# A script collects only what it has made; PyPy lacks these two.
getattr(gc, "freeze", gc.collect)()
for order in iter(sys.stdin.readline, ""):
    script, times, at_once = json.loads(order)
    answers, outputs = [], {}
    while len(answers) < times:
        if len(answers) + len(outputs) < times and len(outputs) < at_once:
            output = tempfile.TemporaryFile()
            child = os.fork()
            if child == 0:
                break
            outputs[child] = output
        else:
            child, status = os.wait()
            output = outputs.pop(child)
            output.seek(0)
            answers.append((os.waitstatus_to_exitcode(status), output.read().decode()))
            output.close()
    else:
        print(json.dumps(answers), flush=True)
        continue
    nothing = open(os.devnull)
    os.dup2(nothing.fileno(), 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    for opened in (nothing, output, *outputs.values()):
        opened.close()
    del order, times, at_once, answers, outputs, output, child, opened, nothing
    try:
        exec(script)
    finally:  # the end of the interpreter looks at everything
        getattr(gc, "unfreeze", gc.collect)()
    break
"""


class Forks:
    """Has scripts run by children of one process, which has imported uvbind and no more."""

    def __init__(
        self, folder: Path, warnings: str = "ignore", environment: dict[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", warnings, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *about: object) -> None:
        with self._process as process, contextlib.suppress(ProcessLookupError, BrokenPipeError):
            os.killpg(process.pid, signal.SIGKILL)

    def run(self, script: str, times: int = 1, at_once: int = 1) -> list[tuple[int, str]]:
        """Return the exit status of each child, negative for a signal, and what it printed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([script, times, at_once]).encode() + b"\n")
        self._process.stdin.flush()
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(300):
                    os.killpg(self._process.pid, signal.SIGKILL)
                    raise TimeoutError("a script does not end")
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    raise EOFError("the process that forks has ended")
                answer += data
        return [(status, printed) for status, printed in json.loads(answer)]
