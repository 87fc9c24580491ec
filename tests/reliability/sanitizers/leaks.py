"""A plugin of pytest for `sanitizers.py asan`: looks for leaks when the tests have ended.

Only pytest's own processes look: a process that a test started may end with threads at work, which
LeakSanitizer does not survive.

The tests of interruptions raise between any two lines of Python, so also between the line that
allocates C memory and the one that keeps its address. That memory is lost, and nothing else.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Generator

import pytest

sanitizer = ctypes.CDLL(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if "interrupted" not in item.path.name:
        return (yield)
    sanitizer.__lsan_disable()
    try:
        return (yield)
    finally:
        sanitizer.__lsan_enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # each test begins with a freeze
    gc.collect()
    sanitizer.__lsan_do_recoverable_leak_check()  # reports as other findings are reported
