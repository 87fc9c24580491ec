"""The load process, ``python -m uvbind._bench.load``, and the parent's end of it.

The generator itself is C (``load.c``) and polls without pause, so it has a process of its own. It
answers one JSON job a line: connections or a UDP socket are opened, run any number of times, and
closed.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from uvbind import err_name, strerror
from uvbind._bench.contenders import BenchError, Child
from uvbind._bench.servers import tell
from uvbind._uvbind import ffi, lib


class Load(Child):
    """Drives one server at a time; a job that fails is a BenchError naming that server."""

    def __init__(self) -> None:
        super().__init__("load generator", [sys.executable, "-m", "uvbind._bench.load"])
        self.target = ""
        self.timeout = 0.0

    def connect_tcp(
        self,
        target: str,
        port: int,
        connections: int,
        size: int,
        *,
        host: str = "127.0.0.1",
        timeout: float = 5.0,
    ) -> None:
        """Open connections to an echo server; one without progress for ``timeout`` s has failed."""
        self.target, self.timeout = target, timeout
        self._do("connect_tcp", 0.0, host, port, connections, size, timeout)

    def connect_udp(
        self,
        target: str,
        port: int,
        window: int,
        answers: int,
        size: int,
        *,
        host: str = "127.0.0.1",
        timeout: float = 5.0,
    ) -> None:
        """Open a socket to a server that answers each datagram with so many copies."""
        self.target, self.timeout = target, timeout
        self._do("connect_udp", 0.0, host, port, window, answers, size, timeout)

    def run(self, seconds: float, messages: int = 0) -> dict[str, float]:
        """Send and check messages for so long, or until so many; see ``uvb_load_result``."""
        result: dict[str, float] = self._do("run", seconds, messages, seconds)
        if result["mismatches"]:
            raise BenchError(
                f"{self.target}: {result['mismatches']} reads did not hold what was sent"
            )
        return result

    def disconnect(self) -> None:
        """Close the connections."""
        self._do("disconnect", 0.0)

    def _do(self, job: str, seconds: float, *arguments: Any) -> Any:
        # Sending and the wait for the last echoes are both bounded by the generator's timeout.
        answer = self.ask([job, *arguments], seconds + 2 * self.timeout + 10.0)
        if isinstance(answer, str):
            raise BenchError(f"{self.target}: {answer}")
        return answer


class _Generator:
    """The C load generator, in the load process."""

    def __init__(self) -> None:
        self.load: Any = ffi.NULL

    def connect_tcp(self, *arguments: Any) -> Any:
        return self._connect(lib.uvb_load_tcp_open, *arguments)

    def connect_udp(self, *arguments: Any) -> Any:
        return self._connect(lib.uvb_load_udp_open, *arguments)

    def _connect(self, open_load: Any, host: str, *arguments: Any) -> Any:
        opened = ffi.new("uvb_load **")
        error = open_load(host.encode(), *arguments, opened)
        self.load = opened[0]
        return describe(error) if error else None

    def run(self, messages: int, seconds: float) -> Any:
        result: Any = ffi.new("uvb_load_result *")
        cpu_before = time.process_time()
        error = lib.uvb_load_run(self.load, messages, seconds, result)
        cpu = time.process_time() - cpu_before
        if error:
            counts = f"{result.messages} messages, {result.mismatches} wrong reads"
            return f"{describe(error)} after {counts}"
        # It polls all the time, so what is missing from 1 other processes had.
        share = min(1.0, cpu / result.seconds)
        return {"cpu_share": share, **{name: getattr(result, name) for name in dir(result)}}

    def disconnect(self) -> Any:
        lib.uvb_load_close(self.load)
        self.load = ffi.NULL


def describe(error: int) -> str:
    return f"{err_name(error)}: {strerror(error)}"


def main() -> None:
    generator = _Generator()
    for line in sys.stdin:
        job, *arguments = json.loads(line)
        tell(getattr(generator, job)(*arguments))


if __name__ == "__main__":
    main()
