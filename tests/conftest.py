"""What every test is held to: it leaves nothing behind.

After each test there is no loop that is not closed, so no live handle and no pending request;
no descriptor and no thread that was not there before; and no exception that went nowhere.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from forking import Forks

# `python -m pytest` puts the checkout first, where no extension is built: the tests are for the
# installed package. By now pytest has put two folders before it (pythonpath in pyproject.toml).
if Path(sys.path[2] or ".").resolve() == Path(__file__).resolve().parents[1]:
    del sys.path[2]

import uvbind
from uvbind._ownership import _loops

pytest.register_assert_rewrite(
    "besieged",
    "endings",
    "endpoints",
    "plain_sockets",
    "faults",
    "fetching",
    "helpers",
    "namespaces",
    "servers",
    "slow_lookups",
    "streaming",
    "tls_clients",
)

hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

PYPY = sys.implementation.name == "pypy"

# A shell without job control has a command that it starts with `&` ignore SIGINT. The tests of
# Ctrl-C would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# libuv's first loop makes a pipe that serves all signals of the process and stays open.
uvbind.Loop().close()


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture(autouse=True)
def leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not PYPY:  # the collector need not look through modules and earlier tests after each test
        gc.collect()
        gc.freeze()
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
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)  # asyncio's, which has waited for a child, may be about to end
    assert set(threading.enumerate()) <= threads, "threads that go on"
    assert new_descriptors() == {}, "descriptors that were not closed"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes that a test starts do not find the checkout either."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Reference counts alone free the objects that a test drops."""
    if PYPY:
        pytest.skip("PyPy frees nothing without its garbage collector")
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Run scripts as `forks.run(script, times, at_once)`, without an import for each."""
    with Forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks
