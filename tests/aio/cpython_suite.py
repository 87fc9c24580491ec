"""Runs a module of CPython's own asyncio tests on our loop: `python cpython_suite.py MODULE`.

Prints as JSON how many tests ran and which failed. What the tests ask of asyncio (a new loop, a
selector loop, the default policy's loop) they get from uvbind; nothing else is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import sys
import unittest
import warnings

import uvbind

# These run the same tests once for each of Python's selectors, of which we have none.
AGAIN = ("SelectEventLoop", ".PollEventLoop")


class SelectorEventLoop(uvbind.EventLoop):
    """Takes asyncio's argument, and waits for libuv all the same."""

    def __init__(self, selector: object = None) -> None:
        super().__init__()


def take_over() -> None:
    policy = uvbind.EventLoopPolicy
    asyncio.SelectorEventLoop = SelectorEventLoop  # type: ignore
    asyncio.DefaultEventLoopPolicy = policy  # type: ignore
    events = asyncio.events
    if hasattr(events, "_init_event_loop_policy"):  # tests set the policy to None

        def init() -> None:
            if events._event_loop_policy is None:
                events._event_loop_policy = policy()

        events._init_event_loop_policy = init
    uvbind.install()


def tests_of(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found = []
    for test in suite:
        found += tests_of(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)
    take_over()
    module = importlib.import_module(f"test.test_asyncio.{sys.argv[1]}")
    tests = tests_of(unittest.defaultTestLoader.loadTestsFromModule(module))
    chosen = unittest.TestSuite(
        test for test in tests if not any(name in test.id() for name in AGAIN)
    )
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        result = unittest.TextTestRunner(log, verbosity=2).run(chosen)
    failed = {test.id(): text for test, text in result.failures + result.errors}
    json.dump({"run": result.testsRun, "failed": failed}, sys.stdout)


if __name__ == "__main__":
    main()
