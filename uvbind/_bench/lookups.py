"""Name lookups: ``python -m uvbind._bench.lookups NAME``. One process that does them, no load."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from uvbind._bench.servers import work

SERVICE = 80
HINTS: dict[str, Any] = {"type": socket.SOCK_STREAM}


def with_protocol(module: str) -> Callable[..., int]:
    """Look names up with a loop for asyncio: that of asyncio, uvbind.aio, uvloop or rloop."""
    loop: asyncio.AbstractEventLoop = importlib.import_module(module).new_event_loop()

    async def look_up(host: str, end: float) -> int:
        done = 0
        while time.monotonic() < end:
            if not await loop.getaddrinfo(host, SERVICE, **HINTS):
                raise LookupError(host)
            done += 1
        return done

    def run(host: str, at_once: int, seconds: float) -> int:
        async def look_up_all() -> int:
            end = time.monotonic() + seconds
            return sum(await asyncio.gather(*[look_up(host, end) for _ in range(at_once)]))

        return loop.run_until_complete(look_up_all())

    return run


def with_uvbind() -> Callable[..., int]:
    """Look names up with callbacks, and numeric hosts, which nobody waits for, without."""
    import uvbind

    loop = uvbind.Loop()

    def run_numeric(host: str, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            if not uvbind.getaddrinfo(loop, host, SERVICE, **HINTS):
                raise LookupError(host)
            done += 1
        return done

    def run(host: str, at_once: int, seconds: float) -> int:
        if host != "localhost":
            return run_numeric(host, seconds)
        done, end = 0, time.monotonic() + seconds

        def look_up() -> None:
            uvbind.getaddrinfo(loop, host, SERVICE, callback=on_results, **HINTS)

        def on_results(request: Any, results: Any, error: uvbind.UVError | None) -> None:
            nonlocal done
            if error is not None:
                raise error
            if not results:
                raise LookupError(host)
            done += 1
            if time.monotonic() < end:
                look_up()

        for _ in range(at_once):
            look_up()
        loop.run()
        return done

    return run


if __name__ == "__main__":
    name = sys.argv[1]
    work(with_uvbind() if name == "uvbind" else with_protocol(name))
