"""Loops that cannot wait for ever, peers over TCP and UDP, signals, a slow resolver."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import build_faults, run_with_faults
from forking import Forks
from helpers import HARMLESS, HARMLESS_TOO, Ends, Handler, close_others, start_guard
from preloading import preloaded
from slow_lookups import build_resolver, run_script

import uvbind


@pytest.fixture
def loop() -> Iterator[uvbind.Loop]:
    """A loop that cannot wait for ever; the test closes its handles, this checks that it did."""
    loop = uvbind.Loop()
    guard = start_guard(loop)
    yield loop
    guard.close()
    loop.run(uvbind.RunMode.NOWAIT)
    left = list(loop._handles.values())
    if left or loop._requests:
        loop.__exit__(None, None, None)
        pytest.fail(f"the test left handles open: {left}")
    loop.close()


@pytest.fixture
def bare() -> Iterator[uvbind.Loop]:
    """A loop without a guard, or any other handle."""
    with uvbind.Loop() as loop:
        yield loop


class Peers:
    """Two TCP handles connected over loopback: `server` accepted what `client` connected."""

    def __init__(self, loop: uvbind.Loop) -> None:
        listener = uvbind.TCP(loop)
        listener.bind(("127.0.0.1", 0))
        accepted: list[uvbind.TCP] = []

        def on_connection(listener: uvbind.TCP, error: uvbind.UVError | None) -> None:
            assert error is None
            accepted.append(listener.accept())
            listener.close()

        def on_connect(client: uvbind.TCP, error: uvbind.UVError | None) -> None:
            assert error is None

        listener.listen(on_connection)
        self.client = uvbind.TCP(loop)
        self.client.connect(listener.getsockname(), on_connect)
        while not accepted or id(listener) in loop._handles or loop._requests:
            loop.run(uvbind.RunMode.ONCE)
        self.server = accepted[0]

    def close(self) -> None:
        self.client.close()
        self.server.close()
        self.client.loop.run()


@pytest.fixture
def peers(loop: uvbind.Loop) -> Iterator[Peers]:
    peers = Peers(loop)
    yield peers
    peers.close()


@pytest.fixture(params=[False, True], ids=["recvmsg", "recvmmsg"])
def ends(loop: uvbind.Loop, request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends = Ends(loop, recvmmsg=request.param)
    yield ends
    ends.close()


@pytest.fixture
def pipe(loop: uvbind.Loop) -> Iterator[uvbind.Pipe]:
    pipe = uvbind.Pipe(loop)
    yield pipe
    close_others(loop)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a socket may be: short enough everywhere; the working folder is tmp_path."""
    assert Path.cwd() == tmp_path
    return "socket"


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    before = {signum: signal.signal(signum, handler) for signum in (HARMLESS, HARMLESS_TOO)}
    yield handler
    for signum, disposition in before.items():
        signal.signal(signum, disposition)


@pytest.fixture(scope="session")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_resolver(tmp_path_factory.mktemp("resolver"))


@pytest.fixture(scope="module")
def run_with_resolver(resolver: Path) -> Iterator[Callable[..., None]]:
    """Run a script with the slow resolver, which slow_lookups.PRELUDE talks to."""
    with Forks(resolver.parent, "error", preloaded(resolver)) as forks:
        yield functools.partial(run_script, resolver, forks)


@pytest.fixture(scope="module")
def run_failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], None]]:
    """Run a script in which calls of the extension fail, as faults.PRELUDE asks."""
    folder = tmp_path_factory.mktemp("faults")
    with Forks(folder, environment=preloaded(build_faults(folder))) as forks:
        yield functools.partial(run_with_faults, forks)
