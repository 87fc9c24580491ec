"""Scenarios that are interrupted at every line of uvbind's in turn.

A signal handler may raise between any two Python lines. `interrupt_everywhere` plays a scenario
again and again, and raises at another line each time, until the scenario has met every line.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import linecache
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from helpers import Oops

import uvbind

# Every executed line, and both kinds of exceptions; else each line once for each of its callers.
LONG = os.environ.get("UVBIND_INTERRUPT_ALL", "") not in ("", "0")
ASYNCIO = str(Path(asyncio.__file__).parent) + os.sep
PACKAGE = str(Path(uvbind.__file__).parent) + os.sep
LIMIT = 60  # seconds: a scenario takes milliseconds

needs_tracing = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="PyPy traces another set of lines"
)

Line = tuple[Any, ...]


class Injector:
    """A trace function that raises `kind` at the line `target`, or at the `nth` line."""

    def __init__(
        self, kind: type[BaseException], target: Line | None = None, nth: int | None = None
    ) -> None:
        self.kind, self.target, self.nth = kind, target, nth
        self.lines: dict[Line, str] = {}  # that were met, and how to name them
        self.count = 0
        self.entered: set[CodeType] = set()
        self.raised: BaseException | None = None
        self.where = "nowhere"
        self.functions: list[str] = []  # of uvbind's that it raised in, the innermost first
        self.callers: set[str] = set()  # asyncio's functions among those that led there
        self.not_begun = False  # it raised before the first line of a function that others call
        self.scenario = ""
        self.outermost: FrameType | None = None  # that is traced
        self.before_raise: Callable[[], object] = lambda: None

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if event == "call":
            self.entered.add(code)
        # Python itself swallows an exception that leaves a __del__.
        if not code.co_filename.startswith(PACKAGE) or _is_in_del(frame, self.outermost):
            return None
        if event == "line" and not (
            _is_with(code.co_filename, frame.f_lineno) or _is_call_of_crossing(frame)
        ):
            self._meet(frame)
        return self

    def _meet(self, frame: FrameType) -> None:
        back = frame.f_back
        assert back is not None
        inside = back.f_code.co_filename.startswith(PACKAGE)
        caller = (back.f_code if inside else self.scenario, back.f_lineno)
        line = (frame.f_code, frame.f_lineno, caller)
        self.count += 1
        if self.raised is None and (line == self.target or self.count == self.nth):
            sys.settrace(None)
            self.where = self.lines[line] = _describe(frame)
            self.functions = list(_functions(frame))
            self.callers = set(_qualified_names(frame))
            self.not_begun = _is_first_line(frame)
            self.raised = self.kind(self.where)
            self.before_raise()
            raise self.raised
        self.lines.setdefault(line, "")


def _is_in_del(frame: FrameType | None, outermost: FrameType | None) -> bool:
    """Tell whether a __del__ method runs, of ours or of a class of asyncio's, inside `outermost`
    if that is in this thread."""
    while frame is not None and frame is not outermost:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _is_first_line(frame: FrameType) -> bool:
    """Tell whether a function has not done anything yet, that asyncio or C calls or that is a
    callback: it is as if the exception came before the call."""
    code, caller = frame.f_code, frame.f_back
    assert caller is not None
    lines = [number for _, _, number in code.co_lines() if number is not None]
    first = min((number for number in lines if number > code.co_firstlineno), default=0)
    calls = (ASYNCIO, PACKAGE + "_callbacks.py", PACKAGE + "_loop.py")
    return frame.f_lineno == first and caller.f_code.co_filename.startswith(calls)


def _functions(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            yield f"{path[len(PACKAGE) :]}:{frame.f_code.co_name}"
        frame = frame.f_back


def _qualified_names(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        if frame.f_code.co_filename.startswith(ASYNCIO):
            yield frame.f_code.co_qualname
        frame = frame.f_back


@functools.cache
def _is_with(path: str, number: int) -> bool:
    """At the end of its block a `with` line is traced once more, and an exception there would keep
    the block from being left. A signal handler is not run there."""
    text = linecache.getline(path, number).lstrip()
    return text.startswith(("with ", "async with "))


def _is_call_of_crossing(frame: FrameType) -> bool:
    """Tell whether a function that C calls is about to call the program's callback, on its last
    line. A signal handler is run after a call, which is on a line before, or in the callback."""
    code = frame.f_code
    return code.co_name.startswith("uvb_on_") and frame.f_lineno == _last_line(code)


@functools.cache
def _last_line(code: CodeType) -> int:
    return max(number for _, _, number in code.co_lines() if number is not None)


def _describe(frame: FrameType) -> str:
    path, number = frame.f_code.co_filename, frame.f_lineno
    name = path[len(PACKAGE) :]
    return f"{name}:{number}: {linecache.getline(path, number).strip()}"


class traced:
    """Trace a block; swallow what the injector raises, and tell in `reached` that it came."""

    def __init__(self, injector: Injector) -> None:
        self.injector = injector
        self.reached = False

    def __enter__(self) -> traced:
        self.before = sys.gettrace()
        self.injector.outermost = sys._getframe(1)
        sys.settrace(self.injector)
        return self

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> bool:
        sys.settrace(self.before)
        self.injector.outermost = None
        self.reached = is_about(exception, self.injector.raised)
        return self.reached


def is_about(exception: BaseException | None, raised: BaseException | None) -> bool:
    """Tell whether `raised` is in the chain of an exception."""
    while exception is not None and raised is not None:
        if exception is raised:
            return True
        exception = exception.__cause__ or exception.__context__
    return False


class Hung(BaseException):
    pass


def give_up(signum: int, frame: FrameType | None) -> None:
    raise Hung


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise Hung in a block that does not end."""
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_known: set[Line] = set()  # that a scenario of this process was interrupted at
Play = Callable[[Injector], object]


def interrupt_everywhere(
    play: Play, kind: type[BaseException], name: str = ""
) -> tuple[int, set[CodeType]]:
    """Play a scenario until it has been interrupted everywhere; return how often that was, and
    the functions it entered."""
    entered: set[CodeType] = set()
    failures: list[str] = []

    def once(target: Line | None, nth: int | None) -> Injector:
        injector = Injector(kind, target, nth)
        injector.scenario = name
        try:
            play(injector)
        except BaseException as exception:
            what = f"{type(exception).__name__}: {exception}"
            if injector.raised is None or isinstance(exception, KeyboardInterrupt):
                raise
            failures.append(f"{injector.where}\n    {what:.500}")
        entered.update(injector.entered)
        return injector

    times = 0
    if LONG:
        while once(None, times + 1).raised is not None:
            times += 1
    else:
        injector, waiting = once(None, None), []
        while True:
            waiting += [line for line in injector.lines if line not in _known]
            _known.update(waiting)
            if not waiting:
                break
            injector = once(waiting.pop(0), None)
            times += injector.raised is not None
    if failures:
        pytest.fail(f"{len(failures)} of {times} interruptions:\n" + "\n".join(failures[:12]))
    return times, entered


def check_scenario(
    play: Callable[[Scenario, Injector], object],
    scenario: Scenario,
    kind: type[BaseException],
    record: Callable[[str, object], object],
) -> int:
    """Play a scenario with all interruptions, whose number is returned; its verbs are called."""
    one = functools.partial(play, scenario)
    times, entered = interrupt_everywhere(one, kind, scenario.name)
    record("interruptions", times)
    codes = [verb for verb in scenario.verbs if isinstance(verb, CodeType)]
    missing = [verb.co_name for verb in codes if verb not in entered]
    assert not missing, "the scenario does not call these"
    return times


def interrupted(scenarios: list[Scenario]) -> Callable[[Any], Any]:
    """Mark a test of `scenario` and `kind`, the class of the exceptions."""
    marks = [
        needs_tracing,
        pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # of a constructor
        pytest.mark.parametrize("kind", [KeyboardInterrupt, Oops] if LONG else [Oops]),
        pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name),
    ]
    return lambda test: functools.reduce(lambda marked, mark: mark(marked), reversed(marks), test)


# -- scenarios

Steps = Generator[None, None, None]


class Scenario:
    """A generator function, which is interrupted after its `yield`, and the verbs it is about."""

    def __init__(self, function: Callable[..., Steps], verbs: tuple[Any, ...]) -> None:
        self.function = function
        self.name = function.__name__
        self.verbs = [code_of(verb) for verb in verbs]


def code_of(verb: Any) -> Any:
    """The code of a function, a method or a property; a method in C, which has none, itself."""
    if isinstance(verb, property):
        assert verb.fget is not None
        verb = verb.fget
    if isinstance(verb, type):
        verb = verb.__init__
    function = inspect.unwrap(getattr(verb, "__func__", verb))
    return getattr(function, "__code__", function)
