"""An exception between any two lines of a verb: nothing crashes, hangs, leaks or is lost."""

from __future__ import annotations

import functools

import interrupted_datagrams
import interrupted_streams
import pytest
from helpers import Oops
from interrupted_lowlevel import SCENARIOS
from interrupted_world import play
from interrupting import LONG, interrupt_everywhere, needs_tracing

assert interrupted_datagrams and interrupted_streams  # they add to SCENARIOS


@needs_tracing
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # a constructor was interrupted
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Oops] if LONG else [Oops])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_exception_at_any_line_loses_and_leaves_nothing(scenario, kind, record_property):
    times, entered = interrupt_everywhere(functools.partial(play, scenario), kind, scenario.name)
    record_property("interruptions", times)
    missing = [verb.co_name for verb in scenario.verbs if verb not in entered]
    assert not missing, "the scenario does not call these"
    assert times > 0
