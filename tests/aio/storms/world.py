"""What a storm takes place in: servers, and a list of what went wrong."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ends import Connection, Echo, Rude

LONG = 20.0  # seconds: whatever takes longer hangs
FAILURES = ["Transport is closing"]  # RuntimeErrors, beside every OSError


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    pem = str(Path(__file__).with_name("localhost.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=pem)
    return server, client


class World:
    """Servers for storms and bystanders; counts what came out, keeps what went wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.stopping = False
        loop.set_exception_handler(lambda loop, context: self.fault(f"unhandled: {context}"))

    def fault(self, what: str) -> None:
        if len(self.faults) < 20:
            self.faults.append(what)

    async def __aenter__(self) -> World:
        loop = self.loop
        self._folder = tempfile.TemporaryDirectory()
        self.unix = os.path.join(self._folder.name, "echo")
        self.rude_unix = os.path.join(self._folder.name, "rude")
        self.tls_server, self.tls_client = tls_contexts()
        any_port = ("127.0.0.1", 0)
        echo, rude = (lambda: Echo(self)), (lambda: Rude(self))
        self.servers = [
            await loop.create_server(echo, *any_port, backlog=500),
            await loop.create_server(rude, *any_port, backlog=500),
            await loop.create_server(echo, *any_port, backlog=500, ssl=self.tls_server),
            await loop.create_server(rude, *any_port, backlog=500, ssl=self.tls_server),
            await loop.create_unix_server(echo, self.unix),
            await loop.create_unix_server(rude, self.rude_unix),
        ]
        addresses = [server.sockets[0].getsockname() for server in self.servers]
        self.echo, self.rude, self.tls_echo, self.tls_rude = addresses[:4]
        return self

    async def __aexit__(self, *about: object) -> None:
        for server in self.servers:
            server.close()
        await self.until(lambda: not self.connections, self.connections)
        self._folder.cleanup()

    # -- for storms

    async def until(self, what: Callable[[], object], otherwise: object) -> None:
        """Wait for something that has no event."""
        end = time.monotonic() + LONG
        turns = 0
        while not what():
            await asyncio.sleep(0 if turns < 50 else 0.002)
            turns += 1
            if time.monotonic() > end:
                self.fault(f"hangs, waiting for the end of {otherwise}")
                return

    async def gone(self, sock: Any) -> None:
        """Wait until the descriptor of a transport is closed."""
        await self.until(lambda: sock.fileno() == -1, sock)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def cancelled(
        self, coroutine: Coroutine[Any, Any, Any], made: asyncio.Event | None = None
    ) -> Any:
        """Run a coroutine and cancel it at some time, or not; return its result or None.

        What it may raise is CancelledError and what `FAILURES` has.
        """
        chance = self.random
        task = self.loop.create_task(coroutine)
        when = chance.choice(["now", "turns", "turns", "made", "later", "never"])
        if when == "turns":
            await self.turns(chance.randrange(1, 16))
        elif when == "made" and made is not None:
            event = self.loop.create_task(made.wait())
            await asyncio.wait({task, event}, return_when=asyncio.FIRST_COMPLETED, timeout=LONG)
            event.cancel()
            await self.turns(chance.randrange(3))
        elif when in ("later", "made"):
            await asyncio.sleep(chance.random() * 0.003)
        if when != "never":
            task.cancel()
            if chance.random() < 0.2:
                await self.turns(chance.randrange(4))
                task.cancel()
        await asyncio.wait({task}, timeout=LONG)
        return self.outcome(task)

    def outcome(self, task: asyncio.Task[Any]) -> Any:
        if not task.done():
            self.fault(f"hangs: {task!r}")
        elif task.cancelled():
            self.counts["cancelled"] += 1
        elif task.exception() is None:
            self.counts["finished"] += 1
            return task.result()
        else:
            self.counts["failed"] += 1
            if not isinstance(task.exception(), OSError) and str(task.exception()) not in FAILURES:
                self.fault(f"{task!r} raised {task.exception()!r}")
        return None

    async def all_of(self, tasks: list[asyncio.Task[Any]]) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=LONG)
            for task in tasks:
                self.outcome(task)
