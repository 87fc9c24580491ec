"""What can be compared here, and the processes it runs in."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvbind


class BenchError(Exception):
    """A contender or the load generator failed; the text says which one and how."""


def installed(name: str) -> bool:
    """Say whether a contender can run here: each has the name of the module it needs."""
    return importlib.util.find_spec(name) is not None


_ChildType = TypeVar("_ChildType", bound="Child")


class Child:
    """A process of ours that speaks lines of JSON and ends when its stdin closes."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        # In a session of its own, so that Ctrl-C reaches only the parent, which ends its children.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            # -m looks here first: let it find the uvbind that we are, not a checkout around us.
            cwd=Path(uvbind.__file__).parents[1],
        )

    def ask(self, message: Any, timeout: float) -> Any:
        """Send a line and return the answer to it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: receive() says so
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        return self.receive(timeout)

    def receive(self, timeout: float) -> Any:
        """Return the next line; a child that is silent for longer is ended and an error."""
        assert self.process.stdout is not None
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
            timer.join()
        if not line:
            self.process.kill()
            code = self.process.wait()
            raise BenchError(f"{self.name}: no answer in {timeout:g} s or less, exit code {code}")
        return json.loads(line)

    def close(self, timeout: float = 10.0) -> int:
        """Close its stdin, wait for it to end, and return its exit code."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()

    def __enter__(self: _ChildType) -> _ChildType:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.process.kill()
        self.close()


class Server(Child):
    """One contender's server: a module of ours and its arguments, perhaps under a tool."""

    def __init__(
        self, name: str, module: str, *arguments: object, tool: Sequence[str] = ()
    ) -> None:
        command = [*tool, sys.executable, "-m", f"uvbind._bench.{module}", name]
        super().__init__(name, [*command, *map(str, arguments)])
        self.port = 0

    def ready(self, timeout: float = 30.0) -> None:
        """Wait until it listens; apart from the constructor so that servers start side by side."""
        self.port = self.receive(timeout)["port"]

    def tally(self) -> dict[str, int]:
        """Return its CPU time and count, once it has received all there is; see servers.py."""
        previous = None
        for _ in range(10_000):
            tally: dict[str, int] = self.ask("tally", timeout=10.0)
            if tally["received"] == previous:
                return tally
            previous = tally["received"]
        raise BenchError(f"{self.name}: goes on receiving when nothing is sent any more")
