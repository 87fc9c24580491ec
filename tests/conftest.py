"""What every test is held to: it leaves nothing behind.

After each test there is no loop that is not closed, so no live handle and no pending request;
no descriptor and no thread that was not there before; and no exception that went nowhere.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# `python -m pytest` puts the checkout first, where no extension is built: the tests are for the
# installed package.
if Path(sys.path[0] or ".").resolve() == Path(__file__).resolve().parents[1]:
    del sys.path[0]

import uvbind
from uvbind._loop import _loops

PYPY = sys.implementation.name == "pypy"

# libuv's first loop makes a pipe that serves all signals of the process and stays open.
uvbind.Loop().close()


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def pytest_collection_finish() -> None:
    if not PYPY:  # what is imported by now need not be looked through after every test
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    swallowed: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *about: swallowed.append(about))
    descriptors, threads = _descriptors(), set(threading.enumerate())
    earlier = set(_loops)
    yield
    open_loops = [loop for loop in _loops if loop not in earlier and loop._c is not None]
    for loop in open_loops:  # so that this test's fault is not the next one's
        try:
            loop.__exit__(None, None, None)
        except BaseException as exception:
            swallowed.append(exception)
    left = [repr(loop) for loop in open_loops]
    open_loops.clear()
    if not PYPY:  # what lies in a cycle speaks up now
        gc.collect()

    def new_descriptors() -> dict[int, str]:
        return {fd: what for fd, what in _descriptors().items() if descriptors.get(fd) != what}

    for _ in range(3):  # PyPy closes a forgotten socket at its leisure; this is costly there
        if new_descriptors():
            gc.collect()
    assert left == [], "loops that were not closed"
    assert swallowed == [], "exceptions that went nowhere"
    assert set(threading.enumerate()) <= threads, "threads that go on"
    assert new_descriptors() == {}, "descriptors that were not closed"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes that a test starts do not find the checkout either."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loop() -> Iterator[uvbind.Loop]:
    """A loop; the test closes its handles, this fixture checks that it did."""
    loop = uvbind.Loop()
    yield loop
    left = list(loop._handles)
    if left or loop._requests:
        loop.__exit__(None, None, None)
        pytest.fail(f"the test left handles open: {left}")
    loop.close()


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
        while not accepted or listener in loop._handles or loop._requests:
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
