"""Runs CPython's own tests of asyncio on a loop: `python tests/aio/cpython_suite.py --loop uvloop`.

What the tests ask of asyncio (a new loop, a selector loop, the default policy's loop) they get from
the loop that is named; nothing else is changed. Each module runs in a process of its own, and goes
on in another one when a test takes that down with it or hangs.

Counted are the tests that make such a loop and take it for a black box: exclusions.toml lists what
is not counted, for any loop. With `--page` the totals go into docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import selectors
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LOOPS = ("asyncio", "uvloop", "uvbind")
STREAMS = "uvbind+streams"  # its loop, and its streams for asyncio's
PATIENCE = 60.0  # seconds that a test may take
WORDS = ("passed", "failed", "skipped", "hangs", "crashes")
BAD = ("failed", "hangs", "crashes")
NO_LOOP = "no loop"  # a test that has made none that is ours to choose

EXCLUDED = tomllib.loads((HERE / "exclusions.toml").read_text(encoding="utf-8"))


def counts(name: str) -> bool:
    """Whether a test or a module ("test_events.EventLoopTests.test_x") is none of those."""
    parts = name.split(".")
    prefixes = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return not any(fnmatchcase(prefix, pattern) for prefix in prefixes for pattern in EXCLUDED)


def modules() -> list[str]:
    """The modules of this Python's test.test_asyncio; none where it has no such package."""
    try:
        spec = importlib.util.find_spec("test.test_asyncio")
    except ModuleNotFoundError:
        return []
    folders = [] if spec is None else spec.submodule_search_locations
    names = [module.name for module in pkgutil.iter_modules(folders)]
    return [name for name in names if name.startswith("test_") and counts(name)]


# -- running, in the parent


def run_module(loop: str, module: str, patience: float = PATIENCE) -> dict[str, tuple[str, str]]:
    """Run a module's tests; returns the outcome of each, and what it has to say."""
    results: dict[str, tuple[str, str]] = {}
    while True:
        started, how = run_rest(loop, module, results, patience)
        if started is None:
            return results
        results[started] = (how, "")


def run_rest(
    loop: str, module: str, results: dict[str, tuple[str, str]], patience: float
) -> tuple[str | None, str]:
    """Run what has no result yet; returns the test that has brought it to an end, and how."""
    child = subprocess.Popen(
        [sys.executable, str(HERE / "cpython_suite.py"), "--child", loop, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(list(results)).encode())
    child.stdin.close()
    started, ended, how, lines = None, False, "crashes", b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            # A test has so long; before the first the child starts and imports.
            if not selector.select(patience if started else max(patience, PATIENCE)):
                how = "hangs"
                break
            data = os.read(child.stdout.fileno(), 1 << 20)
            *complete, lines = (lines + data).split(b"\n")
            for line in complete:
                name, outcome, text = json.loads(line)
                if outcome == "started":
                    started = name
                elif outcome == "ended":
                    ended = True
                else:
                    results[name], started = (outcome, text), None
            if not data:
                break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # and what the tests have left
    child.wait()
    child.stdout.close()
    if started is None and not ended:
        raise SystemExit(f"{module} did not run on {loop}")
    return started, how


# -- the child


def take_over(name: str) -> Any:
    """Have asyncio's tests get the loops of that name; returns the class, which counts its own."""
    import asyncio

    if name == "asyncio":
        base: Any = asyncio.SelectorEventLoop
    else:
        package = __import__(name)
        base = getattr(package, "Loop" if name == "uvloop" else "EventLoop")

    class EventLoop(base):  # type: ignore[misc]
        """Takes the argument of asyncio's selector loop, but its waiting is its own."""

        made = 0
        if not issubclass(base, asyncio.BaseEventLoop):
            _default_executor = None  # what ends the tests looks at it, of any loop

        def __init__(self, selector: object = None) -> None:
            EventLoop.made += 1
            super().__init__()

    default: Any = asyncio.DefaultEventLoopPolicy

    class Policy(default):  # type: ignore[misc]
        _loop_factory = EventLoop

    def init() -> None:  # tests set the policy to None
        if events._event_loop_policy is None:
            events._event_loop_policy = Policy()

    events: Any = asyncio.events
    events._event_loop_policy = None
    events._init_event_loop_policy = init
    for alias in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio, alias):
            setattr(asyncio, alias, EventLoop)
    asyncio.DefaultEventLoopPolicy = Policy  # type: ignore
    return EventLoop


def child(loop: str, module: str) -> None:
    import unittest
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)
    report = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    done = set(json.load(sys.stdin))
    kind = take_over("uvbind" if loop == STREAMS else loop)

    class Result(unittest.TestResult):
        """Tells of each test when it starts and when it has ended."""

        outcome, text, made = "passed", "", 0  # Python 3.12.1 does not start what it skips

        def startTest(self, test: unittest.TestCase) -> None:
            super().startTest(test)
            self.outcome, self.text, self.made = "passed", "", kind.made
            self.tell(test, "started")

        def stopTest(self, test: unittest.TestCase) -> None:
            super().stopTest(test)
            if kind.made == self.made and self.outcome in ("passed", "failed"):
                self.outcome = NO_LOOP
            self.tell(test, self.outcome, self.text)

        def tell(self, test: unittest.TestCase, outcome: str, text: str = "") -> None:
            name = test.id().replace("test.test_asyncio.", "")
            report.write(json.dumps([name, outcome, text]) + "\n")

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:
            self.outcome, self.text = "skipped", reason

        def fails(self, test: unittest.TestCase, error: Any) -> None:
            self.outcome, self.text = "failed", self._exc_info_to_string(error, test)  # type: ignore
            if not isinstance(test, unittest.TestCase):  # of a class or the module as a whole
                self.tell(test, "failed", self.text)

        addError = addFailure = fails

        def addSubTest(self, test: unittest.TestCase, subtest: Any, error: Any) -> None:
            if error is not None:
                self.fails(test, error)

    chosen = unittest.TestSuite()
    with contextlib.suppress(unittest.SkipTest):  # the whole module is not for this system
        loaded: Any = importlib.import_module(f"test.test_asyncio.{module}")
        if loop == STREAMS:
            loaded.asyncio = importlib.import_module("cpython_streams").Asyncio()
        for test in tests_of(unittest.defaultTestLoader.loadTestsFromModule(loaded)):
            name = test.id().replace("test.test_asyncio.", "")
            if name not in done and counts(name):
                chosen.addTest(test)
    if hasattr(gc, "freeze"):  # many tests collect; what is loaded by now is not garbage
        gc.collect()
        gc.freeze()
    chosen.run(Result())
    report.write(json.dumps([module, "ended", ""]) + "\n")
    report.close()
    os._exit(0)  # threads that a loop has left keep nobody waiting


def tests_of(suite: Any) -> list[Any]:
    import unittest

    found = []
    for test in suite:
        found += tests_of(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


# -- the totals


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--loop", action="append", choices=(*LOOPS, STREAMS), help="default: all there are"
    )
    parser.add_argument("--page", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("--verbose", action="store_true", help="show why tests failed")
    parser.add_argument("--child", nargs=2, metavar=("LOOP", "MODULE"), help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", help="default: all, but for exclusions.toml")
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    chosen = arguments.loop or [name for name in LOOPS if importlib.util.find_spec(name)]
    totals = {loop: run(loop, arguments.modules or modules(), arguments.verbose) for loop in chosen}
    if arguments.page:
        sys.path.insert(0, str(HERE / "compatibility"))
        write_totals: Any = importlib.import_module("page").write_totals
        write_totals(totals)
    return any(total[word] for total in totals.values() for word in BAD)


def run(loop: str, names: list[str], verbose: bool) -> Counter[str]:
    """Run modules on a loop, and print how each went; returns the sums."""
    total: Counter[str] = Counter()
    for module in names:
        results = run_module(loop, module)
        count = Counter(outcome for outcome, _ in results.values() if outcome != NO_LOOP)
        total += count
        print(f"{loop:<8} {module:<24} {in_words(count)}", flush=True)
        for name, (outcome, text) in results.items():
            if outcome in BAD:
                print(f"    {outcome}: {name}", flush=True)
                if verbose and text:
                    print("        " + text.replace("\n", "\n        "), flush=True)
    print(f"{loop:<8} {'all of them':<24} {in_words(total)}", flush=True)
    return total


def in_words(count: Counter[str]) -> str:
    return f"run {sum(count.values()):>4}, " + ", ".join(f"{word} {count[word]}" for word in WORDS)


if __name__ == "__main__":
    sys.exit(main())
