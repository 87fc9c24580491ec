"""An exception between any two lines of uvbind's: the asyncio loop loses and leaves nothing."""

from __future__ import annotations

import functools

import interrupted_asyncio_transports
import pytest
from helpers import Oops
from interrupted_asyncio import SCENARIOS
from interrupted_asyncio_world import play
from interrupting import LONG, interrupt_everywhere, needs_tracing

assert interrupted_asyncio_transports  # it adds to SCENARIOS


@needs_tracing
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # a constructor was interrupted
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # nor a task
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its task is lost
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Oops] if LONG else [Oops])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_exception_at_any_line_loses_and_leaves_nothing(scenario, kind, record_property):
    times, entered = interrupt_everywhere(functools.partial(play, scenario), kind, scenario.name)
    record_property("interruptions", times)
    missing = [verb.co_name for verb in scenario.verbs if verb not in entered]
    assert not missing, "the scenario does not call these"
