"""Each public verb of the low-level layer is in a scenario that is interrupted at every line."""

from __future__ import annotations

import inspect

import interrupted_datagrams
import interrupted_streams
import pytest
from interrupted_lowlevel import SCENARIOS
from interrupting import code_of

import uvbind

CLASSES = [
    uvbind.Async,
    uvbind.Check,
    uvbind.Idle,
    uvbind.Loop,
    uvbind.Pipe,
    uvbind.Poll,
    uvbind.Prepare,
    uvbind.Request,
    uvbind.Signal,
    uvbind.TCP,
    uvbind.Timer,
    uvbind.UDP,
]
# They end a child process's use of a loop, which is another process.
ELSEWHERE = {"fork"}

assert interrupted_datagrams and interrupted_streams  # they add to SCENARIOS


def test_every_handle_class_is_looked_at():
    public = [getattr(uvbind, name) for name in uvbind.__all__]
    handles = {
        thing for thing in public if inspect.isclass(thing) and issubclass(thing, uvbind.Handle)
    }
    assert handles - set(CLASSES) == {uvbind.Handle, uvbind.Stream}  # which nobody makes


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_verb_has_a_scenario(kind):
    covered = {code for scenario in SCENARIOS for code in scenario.verbs}
    for name in dir(kind):
        verb = inspect.getattr_static(kind, name)
        verb = getattr(verb, "__func__", verb)
        if not name.startswith("_") and (inspect.isfunction(verb) or isinstance(verb, property)):
            assert name in ELSEWHERE or code_of(verb) in covered, f"{kind.__name__}.{name}"
